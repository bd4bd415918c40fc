// What a program begins with, in place of musl's crt1.o, rcrt1.o and Scrt1.o. It serves programs at a fixed address and
// position-independent ones alike, because build systems link the latter in two ways: `-static-pie`, for which clang takes
// rcrt1.o, and `-Wl,-pie`, of which it knows nothing, so that it takes crt1.o. There is no dynamic loader to relocate
// such a program, so it does that itself, as musl's rcrt1.o does.
#include <elf.h>
#include <stdint.h>

// ADDRESS gives where a symbol of the linker's lies, the program's header or its dynamic section, by the instruction's own
// place. A compiler takes the address of a weak symbol from a table, whose entries are among what is not relocated yet.
#if defined(__x86_64__)
enum { RELATIVE = R_X86_64_RELATIVE };
#define ADDRESS(symbol, to) __asm__(".weak " #symbol "\n.hidden " #symbol "\nlea " #symbol "(%%rip), %0" : "=r"(to))
// The psABI marks the outermost frame by a zero %rbp, and wants an aligned stack at a call.
__asm__(".text\n.globl _start\n.type _start, %function\n"
        "_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#elif defined(__aarch64__)
enum { RELATIVE = R_AARCH64_RELATIVE };
#define ADDRESS(symbol, to)                                                                                            \
  __asm__(".weak " #symbol "\n.hidden " #symbol "\nadrp %0, " #symbol "\nadd %0, %0, :lo12:" #symbol : "=r"(to))
__asm__(".text\n.globl _start\n.type _start, %function\n"
        "_start: mov x29, #0\n mov x30, #0\n mov x0, sp\n b start\n");
#else
#error "no start for this architecture"
#endif

// A shared library has no such file. crti.o, which it has, needs this symbol: see compat.rs.
__asm__(".globl __program_starts\n.hidden __program_starts\n.set __program_starts, _start\n");

int main(int, char **, char **);
__attribute__((weak)) void _init(void), _fini(void);
int __libc_start_main(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void));

// Adds the address at which the program lies to every pointer of its data. Nothing before its end may need one.
static __attribute__((noinline)) void relocate(uintptr_t base) {
  uintptr_t rela = 0, rela_size = 0, relr = 0, relr_size = 0;
  const Elf64_Dyn *dynamic;
  ADDRESS(_DYNAMIC, dynamic);
  for (const Elf64_Dyn *entry = dynamic; entry->d_tag; ++entry) {
    const uintptr_t value = entry->d_un.d_val;
    if (entry->d_tag == DT_RELA)
      rela = base + value;
    if (entry->d_tag == DT_RELASZ)
      rela_size = value;
    if (entry->d_tag == DT_RELR)
      relr = base + value;
    if (entry->d_tag == DT_RELRSZ)
      relr_size = value;
  }
  for (uintptr_t at = rela; at < rela + rela_size; at += sizeof(Elf64_Rela)) {
    const Elf64_Rela *entry = (const void *)at;
    if (ELF64_R_TYPE(entry->r_info) == RELATIVE)
      *(uintptr_t *)(base + entry->r_offset) = base + entry->r_addend;
  }
  // The packed form (-z pack-relative-relocs): an address, then bitmaps of the 63 words that follow.
  uintptr_t *where = 0;
  for (uintptr_t at = relr; at < relr + relr_size; at += sizeof at) {
    uintptr_t word = *(const uintptr_t *)at;
    if (!(word & 1)) {
      where = (uintptr_t *)(base + word);
      *where++ += base;
      continue;
    }
    for (uintptr_t *next = where; word >>= 1; ++next)
      if (word & 1)
        *next += base;
    where += 63;
  }
}

__attribute__((visibility("hidden"))) void start(long *stack) {
  const Elf64_Ehdr *header;
  ADDRESS(__ehdr_start, header);
  if (header->e_type == ET_DYN)
    relocate((uintptr_t)header);
  __asm__ volatile("" ::: "memory"); // What follows reads pointers.
  __libc_start_main(main, stack[0], (char **)(stack + 1), _init, _fini, 0);
}
