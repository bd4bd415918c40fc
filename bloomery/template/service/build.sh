# Runs in a copy of this directory; $CC is the compiler for the system, $DESTDIR becomes its root file system.
$CC -O2 -Wall -Werror hello.c -o hello
install -D hello "$DESTDIR/usr/bin/hello"
