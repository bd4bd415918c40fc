# The only program of the system: the kernel starts /init from an initramfs.
$CC -Os -Wall -Wextra -o init hello.c
$STRIP init
install -D init "$DESTDIR/init"
