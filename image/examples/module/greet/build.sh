# $KERNEL_MAKE is make with all that a module for the profile's kernel needs: sources, configuration, the compiler.
# The file keeps its debug information: the system is one to debug, and GDB reads the symbols from the same file.
$KERNEL_MAKE M="$PWD" -j"$JOBS" modules
install -D -m 644 greet.ko "$DESTDIR/usr/lib/modules/greet.ko"
install -D -m 755 try-greet "$DESTDIR/usr/bin/try-greet"
