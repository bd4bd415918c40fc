# $LINUX_SOURCE is the kernel's source. nolibc is in its tools/, and the system's headers have the numbers of system calls.
# -fno-builtin-printf: clang would call puts, which nolibc does not have as a symbol. No stack protector and no tables for
# exceptions: there is no run-time that reads them. One segment: two would start on pages of their own.
$CC -Os -Wall -Wextra -ffreestanding -fno-builtin-printf -fno-stack-protector -fno-asynchronous-unwind-tables -ffunction-sections \
    -nostdlib -static -I "$LINUX_SOURCE/tools/include/nolibc" -Wl,--gc-sections -Wl,-z,noseparate-code -o init init.c
$STRIP init
install -D init "$DESTDIR/init"
