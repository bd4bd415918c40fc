// The same program without a C library: the kernel's nolibc is a few headers with the system calls themselves.
#include "nolibc.h"

int main(void) {
  char byte;

  printf("Hello from PID %d, without a C library\n", getpid());
  printf("Enter restarts the machine.\n");
  while (read(0, &byte, 1) == 1 && byte != '\n')
    ;
  reboot(LINUX_REBOOT_CMD_RESTART);
  for (;;)
    sleep(1000); // Without a keyboard, or where the machine cannot restart.
}
