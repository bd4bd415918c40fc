// The first program of a system, and here the only one. It is PID 1: when it ends, the kernel panics.
#include <stdio.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

int main(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now); // Counts from the kernel's start.
  printf("Hello from PID %d, %ld.%03ld s after the kernel started\n", getpid(), (long)now.tv_sec, now.tv_nsec / 1000000);
  printf("Enter restarts the machine.\n");
  while (getchar() != '\n')
    if (feof(stdin))
      pause(); // No console: nothing to wait for.
  reboot(RB_AUTOBOOT);
  for (;;)
    pause();
}
