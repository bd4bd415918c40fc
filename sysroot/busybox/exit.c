/*
 * exit(3) for a program that ends children of vfork(2) by it, as busybox does where a child cannot run its program. Such a child
 * has its parent's memory: musl's exit() would leave its lock taken there, on which the parent then crashes (signal 11) when it
 * exits itself, and flush the parent's files. The child has to leave by _exit(2) (vfork(2), "Standard description").
 *
 * The linker puts these in the place of both functions (ld(1), --wrap).
 */
#include <unistd.h>

_Noreturn void __real_exit(int code);
pid_t __real_fork(void);

/* The process whose memory this is. */
static pid_t owner;

__attribute__((constructor)) static void begin(void)
{
	owner = getpid();
}

pid_t __wrap_fork(void)
{
	pid_t pid = __real_fork();
	if (pid == 0)
		owner = getpid();
	return pid;
}

_Noreturn void __wrap_exit(int code)
{
	if (getpid() != owner)
		_exit(code);
	__real_exit(code);
}
