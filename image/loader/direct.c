// Starts the kernel without its EFI stub, on a machine with too little memory for that: the stub unpacks the kernel while the firmware
// still holds some 16 MB, and wants 14 MB in one piece beside them. Here the firmware is left first, then the kernel unpacks itself
// where the firmware was (Documentation/arch/x86/boot.rst in linux.git, "64-bit Boot Protocol").
//
// The firmware does not check the kernel's signature on this way, so it is none under Secure Boot.

// Offsets in `struct boot_params` (Documentation/arch/x86/zero-page.rst), which begins as the kernel's file does.
enum {
    RSDP = 0x70,
    INITRD_HIGH = 0xc0,
    COMMAND_LINE_HIGH = 0xc8,
    EFI_INFO = 0x1c0,
    E820_COUNT = 0x1e8,
    SECURE_BOOT = 0x1ec,
    HEADER = 0x1f1,
    HEADER_END = 0x201,
    MAGIC = 0x202,
    LOADER_TYPE = 0x210,
    INITRD_AT = 0x218,
    INITRD_SIZE = 0x21c,
    COMMAND_LINE = 0x228,
    ALIGNMENT = 0x230,
    LOAD_FLAGS = 0x236,
    INIT_SIZE = 0x260,
    E820 = 0x2d0,
};

#define MOST_E820 128
// The longest command line of the kernel with its end (COMMAND_LINE_SIZE).
#define LONGEST_COMMAND_LINE 2048

// Memory that is the kernel's when the firmware is left. The loader's own is not among it.
enum { BOOT_CODE = 3, BOOT_DATA = 4, CONVENTIONAL = 7 };

static int is_secure(SystemTable *table) {
    Byte value = 0;
    Word size = 1;
    return !table->run_time->variable(u"SecureBoot", &GLOBAL, 0, &size, &value) && value;
}

// The firmware's map of memory.
static struct {
    Byte *at;
    Word room, size, key, step;
    Number version;
} map;

static Status read_map(void) {
    map.size = map.room;
    return boot->memory_map(&map.size, (MemoryRegion *)map.at, &map.key, &map.step, &map.version);
}

static MemoryRegion *region(Word number) {
    return (MemoryRegion *)(map.at + number * map.step);
}

static Word regions(void) {
    return map.size / map.step;
}

static int is_free(const MemoryRegion *region) {
    return region->type == BOOT_CODE || region->type == BOOT_DATA || region->type == CONVENTIONAL;
}

// Whether all of a range will be free.
static int all_free(Word from, Word to) {
    while (from < to) {
        Word next = 0;
        for (Word i = 0; i < regions() && !next; i++) {
            MemoryRegion *some = region(i);
            Word end = some->start + some->pages * PAGE;
            if (is_free(some) && some->start <= from && from < end)
                next = end;
        }
        if (!next)
            return 0;
        from = next;
    }
    return 1;
}

// Where the kernel unpacks itself: in one piece, and not over the stack that this code stands on.
static Word place(Word size, Word alignment) {
    Word stack = (Word)__builtin_frame_address(0);
    for (Word at = alignment; at + size < 1ULL << 32; at += alignment)
        if (all_free(at, at + size) && (stack + (64 << 10) < at || stack - (64 << 10) > at + size))
            return at;
    return 0;
}

// Types of the table e820 (zero-page.rst): memory, reserved, ACPI's tables, ACPI's own memory.
static Number e820_type(const MemoryRegion *region) {
    switch (region->type) {
    case 1: case 2: case BOOT_CODE: case BOOT_DATA: case CONVENTIONAL:
        return 1;
    case 9:
        return 3;
    case 10:
        return 4;
    default:
        return 2;
    }
}

static void write_e820(Byte *params) {
    Byte *entry = 0, *end = params + E820;
    for (Word i = 0; i < regions(); i++) {
        MemoryRegion *some = region(i);
        Word bytes = some->pages * PAGE;
        Number type = e820_type(some);
        if (entry && get(entry, 16, 4) == type && get(entry, 0, 8) + get(entry, 8, 8) == some->start) {
            put(entry, 8, get(entry, 8, 8) + bytes, 8);
            continue;
        }
        if (params[E820_COUNT] == MOST_E820)
            return;
        entry = end;
        end += 20;
        params[E820_COUNT]++;
        put(entry, 0, some->start, 8);
        put(entry, 8, bytes, 8);
        put(entry, 16, type, 4);
    }
}

// The frame buffer (`struct screen_info`), if there is one with pixels of four bytes.
static void write_screen(Byte *params) {
    Graphics *graphics;
    if (boot->find_protocol(&GRAPHICS, 0, (void **)&graphics) || graphics->mode->info->format > 1)
        return;
    const GraphicsMode *mode = graphics->mode;
    int is_blue_first = mode->info->format;
    params[0x0f] = 0x70; // VIDEO_TYPE_EFI
    put(params, 0x12, mode->info->width, 2);
    put(params, 0x14, mode->info->height, 2);
    put(params, 0x16, 32, 2);
    put(params, 0x18, mode->base, 4);
    put(params, 0x1c, mode->size, 4);
    put(params, 0x24, mode->info->line * 4, 2);
    // Bits and places of red, green, blue and what is not used.
    const Byte colours[] = {8, is_blue_first ? 16 : 0, 8, 8, 8, is_blue_first ? 0 : 16, 8, 24};
    for (int i = 0; i < 8; i++)
        params[0x26 + i] = colours[i];
    put(params, 0x36, 2, 4); // VIDEO_CAPABILITY_64BIT_BASE
    put(params, 0x3a, mode->base >> 32, 4);
}

static void write_acpi(Byte *params, const SystemTable *table) {
    for (Word i = 0; i < table->tables; i++) {
        const Word *guid = (const Word *)&table->table[i].guid, *wanted = (const Word *)&ACPI;
        if (guid[0] == wanted[0] && guid[1] == wanted[1])
            put(params, RSDP, (Word)table->table[i].content, 8);
    }
}

static void write_command_line(Byte *params, const LoadedImage *own) {
    Byte *line = pages(1);
    const Char *options = own->options;
    for (Word i = 0; line && i < own->options_size / 2 && i < LONGEST_COMMAND_LINE - 1 && options[i]; i++)
        line[i] = options[i] < 0x7f ? options[i] : '?';
    put(params, COMMAND_LINE, (Word)line, 4);
    put(params, COMMAND_LINE_HIGH, (Word)line >> 32, 4);
}

static void write_firmware(Byte *params, SystemTable *table) {
    put(params, EFI_INFO, 0x34364c45, 4); // "EL64"
    put(params, EFI_INFO + 4, (Word)table, 4);
    put(params, EFI_INFO + 8, map.step, 4);
    put(params, EFI_INFO + 12, map.version, 4);
    put(params, EFI_INFO + 16, (Word)map.at, 4);
    put(params, EFI_INFO + 20, map.size, 4);
    put(params, EFI_INFO + 24, (Word)table >> 32, 4);
    put(params, EFI_INFO + 28, (Word)map.at >> 32, 4);
    params[SECURE_BOOT] = 2; // efi_secureboot_mode_disabled
}

// Tables that map the first 4 GiB to themselves in pieces of 2 MiB: the firmware's own lie where the kernel goes.
static Word *identity(void) {
    Word *tables = (Word *)pages(7), four_levels;
    if (!tables)
        return 0;
    Word *top = tables, *thousand = tables + 512, *pieces = tables + 1024, *fifth = tables + 6 * 512;
    enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };
    *top = (Word)thousand | PRESENT_WRITABLE;
    for (Word i = 0; i < 4; i++)
        thousand[i] = (Word)(pieces + 512 * i) | PRESENT_WRITABLE;
    for (Word i = 0; i < 2048; i++)
        pieces[i] = i << 21 | LARGE | PRESENT_WRITABLE;
    __asm__("mov %%cr4, %0" : "=r"(four_levels));
    // LA57: the processor walks one level more.
    if (!(four_levels >> 12 & 1))
        return top;
    *fifth = (Word)top | PRESENT_WRITABLE;
    return fifth;
}

// Segments as the protocol wants them: flat code at 0x10, flat data at 0x18.
static const Word SEGMENTS[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

__attribute__((noreturn)) static void jump(Word entry, const Byte *params, const Word *tables, const Byte *stack) {
    struct __attribute__((packed)) {
        Char limit;
        Word base;
    } descriptor = {sizeof SEGMENTS - 1, (Word)SEGMENTS};
    __asm__ volatile("cli\n\tcld\n\t"
                     "lgdt %0\n\t"
                     "mov %1, %%cr3\n\t"
                     "mov %2, %%rsp\n\t"
                     "mov $0x18, %%eax\n\t"
                     "mov %%eax, %%ds\n\tmov %%eax, %%es\n\tmov %%eax, %%ss\n\t"
                     "pushq $0x10\n\tpushq %3\n\tlretq"
                     :
                     : "m"(descriptor), "r"(tables), "r"(stack), "r"(entry), "S"(params)
                     : "rax", "memory");
    __builtin_unreachable();
}

// Returns only when the kernel cannot be started in this way either.
static Status start_directly(
    Handle self, SystemTable *table, const LoadedImage *own, const Byte *kernel, Word size, const void *initrd, Word initrd_size
) {
    if (is_secure(table))
        return OUT_OF_RESOURCES;
    Byte *params = pages(1), *stack = pages(1);
    Word *tables = identity();
    // The kernel frees whole pages of an initramfs, and warns of one that begins within a page.
    Byte *aligned = pages(PAGES(initrd_size) + 1);
    map.room = 16 * PAGE;
    map.at = pages(16);
    if (!kernel || !params || !stack || !tables || !aligned || !map.at)
        return OUT_OF_RESOURCES;
    for (Word i = 0; i < initrd_size; i++)
        aligned[i] = ((const Byte *)initrd)[i];
    Word setup = (kernel[HEADER] + 1) * 512;
    // HdrS, and a kernel that can be entered with 64 bits (XLF_KERNEL_64).
    if (get(kernel, MAGIC, 4) != 0x53726448 || !(kernel[LOAD_FLAGS] & 1) || setup >= size)
        return UNSUPPORTED;
    for (Word i = HEADER; i < MAGIC + (Word)kernel[HEADER_END]; i++)
        params[i] = kernel[i];
    params[LOADER_TYPE] = 0xff; // Of no known kind.
    put(params, INITRD_AT, (Word)aligned, 4);
    put(params, INITRD_SIZE, initrd_size, 4);
    put(params, INITRD_HIGH, (Word)aligned >> 32, 4);
    write_command_line(params, own);
    write_screen(params);
    write_acpi(params, table);
    // A map that is older than the last allocation is not taken.
    Word at = 0;
    for (int tries = 0; tries < 8; tries++) {
        Status status = read_map();
        if (status)
            return status;
        at = place(get(params, INIT_SIZE, 4), get(params, ALIGNMENT, 4));
        if (!at)
            return OUT_OF_RESOURCES;
        if (!boot->exit(self, map.key))
            break;
        at = 0;
    }
    if (!at)
        return OUT_OF_RESOURCES;
    write_firmware(params, table);
    write_e820(params);
    for (Word i = 0; i < size - setup; i++)
        ((Byte *)at)[i] = kernel[setup + i];
    jump(at + 0x200, params, tables, stack + PAGE);
}
