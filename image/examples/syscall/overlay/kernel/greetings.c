// greetings(2): writes a greeting to a buffer of the caller's, and returns its length without the zero byte.
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/syscalls.h>
#include <linux/uaccess.h>

SYSCALL_DEFINE2(greetings, char __user *, buffer, size_t, size) {
  char text[32 + TASK_COMM_LEN];
  int length = scnprintf(text, sizeof(text), "Greetings, %s!", current->comm);

  if (size < length + 1)
    return -ERANGE;
  return copy_to_user(buffer, text, length + 1) ? -EFAULT : length;
}
