// rpmalloc, from LLVM's own tree, in place of musl's malloc: a compiler allocates all the time, and musl's
// allocator is made for small size. docs/allocator.md has the figures.
//
// Upstream starts rpmalloc's threads on Windows only (and by dlsym where there is a dynamic loader). Here the
// linker's --wrap=pthread_create does it. Priority 1 puts the constructor in front of all others, which allocate;
// musl does not run .preinit_array in static programs.
#define ENABLE_OVERRIDE 1
#include "rpmalloc.c"

#include <pthread.h>

__attribute__((constructor(1))) static void start_process(void) { rpmalloc_initialize(); }

struct thread {
  void *(*run)(void *);
  void *argument;
};

static void end_thread(void *unused) {
  (void)unused;
  rpmalloc_thread_finalize(1); // Gives the thread's caches back.
}

static void *run_thread(void *pointer) {
  rpmalloc_thread_initialize();
  const struct thread thread = *(struct thread *)pointer;
  rpfree(pointer);
  void *result;
  pthread_cleanup_push(end_thread, 0);
  result = thread.run(thread.argument);
  pthread_cleanup_pop(1);
  return result;
}

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
  struct thread *thread = rpmalloc(sizeof *thread);
  if (!thread)
    return EAGAIN;
  *thread = (struct thread){run, argument};
  const int error = __real_pthread_create(id, attributes, run_thread, thread);
  if (error)
    rpfree(thread);
  return error;
}
