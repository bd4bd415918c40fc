// The EFI program of a hybrid image: starts \KERNEL.EFI of its own volume, or the kernel in a slot of its disk, by the firmware's
// LoadImage, which checks the kernel's signature under Secure Boot, passes its own load options on, and gives the settings as an
// initramfs.
//
// SETTINGS=0 leaves the last part out: a signed kernel takes nothing from outside (docs/secure-boot.md).

#include "efi.h"

#define PAGE 4096ULL
#define PAGES(bytes) (((bytes) + PAGE - 1) / PAGE)
#define IS_END(node) ((node)->type == 0x7f)

static SystemTable *system;
static BootServices *boot;

static void print(const Char *text) {
    if (system->out)
        system->out->print(system->out, text);
}

// Says what is wrong, long enough to be read, and returns to the firmware, which tries its next boot option.
static Status fail(Status status, const Char *text) {
    static Char number[] = u" (status 00)";
    Word code = status & ~ERROR(0);
    number[9] += code / 10 % 10;
    number[10] += code % 10;
    print(u"\r\nBloomery: ");
    print(text);
    print(number);
    print(u"; going on in 10 s\r\n");
    system->boot->stall(10 * 1000 * 1000);
    return status;
}

static void put(Byte *bytes, Word at, Word value, int count) {
    for (int i = 0; i < count; i++)
        bytes[at + i] = value >> (8 * i);
}

static Word get(const Byte *bytes, Word at, int count) {
    Word value = 0;
    for (int i = count; i-- > 0;)
        value = value << 8 | bytes[at + i];
    return value;
}

static void copy(Byte *to, const void *from, Word size) {
    for (Word i = 0; i < size; i++)
        to[i] = ((const Byte *)from)[i];
}

// Pages of the loader's own, filled with zeros; nothing when there are none.
static Byte *pages(Word count) {
    // On x86_64 below 4 GiB (1 is at most that address), where the kernel is entered with 32 bits too; elsewhere anywhere (0). They
    // are data of a loader (2).
#ifdef __x86_64__
    Word address = 0xffffffff, how = 1;
#else
    Word address = 0, how = 0;
#endif
    if (boot->allocate_pages(how, 2, count, &address))
        return 0;
    for (Word i = 0; i < count * PAGE; i++)
        ((Byte *)address)[i] = 0;
    return (Byte *)address;
}

// Bytes of a path before its end, and where its last node begins.
static Word length_of(const Node *path, Word *last) {
    const Byte *from = (const Byte *)path;
    Word length = 0;
    for (; !IS_END((const Node *)(from + length)); length += get(from, length + 2, 2))
        *last = length;
    return length;
}

// The longest path of a device, with a file's name behind it: longer ones than a firmware's are.
#define MOST_PATH 1024
// A file's name on its device (section 10.3.5.4), and the end.
static const struct {
    Node node;
    Char name[12];
    Node end;
} KERNEL = {{4, 4, {4 + 24}}, u"\\KERNEL.EFI", {0x7f, 0xff, {4}}};

// A copy of the first bytes of a path with other nodes behind them; nothing when that is too long.
static Node *joined(Byte *to, const Node *path, Word length, const void *rest, Word rest_length) {
    if (length > MOST_PATH - rest_length)
        return 0;
    copy(to, path, length);
    copy(to + length, rest, rest_length);
    return (Node *)to;
}

// The path of \KERNEL.EFI on a device. Only a path to it, where the kernel is in a slot.
static Node *kernel_on(const Node *device) {
    static Byte path[MOST_PATH];
    Word last;
    return joined(path, device, length_of(device, &last), &KERNEL, sizeof KERNEL);
}

// The path of what a device is a part of.
static Node *without_last(const Node *device) {
    static Byte path[MOST_PATH];
    Word last = 0;
    length_of(device, &last);
    return joined(path, device, last, &KERNEL.end, sizeof KERNEL.end);
}

#include "slots.c"

#if SETTINGS

#define MOST_SETTINGS 16384

// A member of a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst in linux.git): number, mode, owner,
// group, links, time (2026-01-01), size, two devices of two numbers, bytes of the name, checksum; then the name.
#define MEMBER \
    "070701" "00000001" "00008124" "00000000" "00000000" "00000001" "6955b900" "00000000" \
    "00000000" "00000000" "00000000" "00000000" "00000011" "00000000" "etc/bloomery.txt\0"
#define SIZE_AT 54
#define NAME_AT 114
#define TRAILER \
    "070701" "00000000" "00000000" "00000000" "00000000" "00000001" "00000000" "00000000" \
    "00000000" "00000000" "00000000" "00000000" "0000000b" "00000000" "TRAILER!!!\0\0\0"

// Both end at a multiple of four, with the byte that C puts behind a text.
_Static_assert(sizeof MEMBER == 128 && sizeof TRAILER == 124, "the headers of the archive");

// Two members, and the byte by which a text is too long.
static Byte archive[2 * (sizeof MEMBER + MOST_SETTINGS) + sizeof TRAILER];
static Word archive_size;

// What the kernel's EFI stub calls (drivers/firmware/efi/libstub/efi-stub-helper.c): first for the size, then for the bytes.
static Status load(LoadFile2 *self, Node *path, Byte is_boot, Word *size, void *buffer) {
    (void)self, (void)path;
    if (is_boot)
        return UNSUPPORTED;
    if (!size)
        return INVALID_PARAMETER;
    Word has = *size;
    *size = archive_size;
    if (!buffer || has < archive_size)
        return BUFFER_TOO_SMALL;
    copy(buffer, archive, archive_size);
    return SUCCESS;
}

// LINUX_EFI_INITRD_MEDIA_GUID as a path: a node of a medium's vendor (section 10.3.5.3), and the end.
static const struct {
    Node node;
    Guid vendor;
    Node end;
} INITRD = {{4, 3, {20}}, {0x5568e427, 0x68fc, 0x4f3d, {0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68}}, {0x7f, 0xff, {4}}};

// Puts a header before a text that is in its place behind it. The name is etc/NAME.txt, of eight letters.
static void add_member(const char *name, Word size) {
    Byte *member = archive + archive_size;
    copy(member, MEMBER, sizeof MEMBER);
    copy(member + NAME_AT, name, 8);
    for (int i = 0; i < 8; i++)
        member[SIZE_AT + i] = "0123456789abcdef"[size >> (28 - 4 * i) & 15];
    for (archive_size += sizeof MEMBER + size; archive_size & 3; archive_size++)
        archive[archive_size] = 0;
}

// Adds the settings file. A volume without the file gives nothing.
static void add_file(Handle device) {
    Volume *volume;
    File *root, *file;
    if (boot->protocol_of(device, &VOLUME, (void **)&volume) || volume->open(volume, &root))
        return;
    Status status = root->open(root, &file, u"\\BLOOMERY.TXT", READ, 0);
    root->close(root);
    if (status)
        return;
    // One byte more than it may have, into the room of the next.
    Word size = MOST_SETTINGS + 1;
    status = file->read(file, &size, archive + archive_size + sizeof MEMBER);
    file->close(file);
    if (status || size > MOST_SETTINGS)
        print(status ? u"\r\nBloomery: cannot read BLOOMERY.TXT, which is left out\r\n"
                     : u"\r\nBloomery: BLOOMERY.TXT has more than 16 KiB and is left out\r\n");
    else
        add_member("bloomery", size);
}

// Adds the settings that are kept, where there are any.
static void add_kept(void) {
    Word other, size;
    Byte *record = layout.slot ? newest(layout.kept, KEPT_PLACE, "KEPT", &other) : 0;
    if (!record || (size = get(record, CONTENT_SIZE, 4)) > MOST_SETTINGS)
        return;
    copy(archive + archive_size + sizeof MEMBER, record + CONTENT, size);
    add_member("settings", size);
}

// Puts the settings into an archive, and offers that to the kernel.
static void give_settings(Handle device) {
    static LoadFile2 loader = {load};
    Handle handle = 0;
    add_file(device);
    add_kept();
    if (!archive_size)
        return;
    copy(archive + archive_size, TRAILER, sizeof TRAILER);
    archive_size += sizeof TRAILER;
    // 0 is EFI_NATIVE_INTERFACE.
    boot->install(&handle, &DEVICE_PATH, 0, (void *)&INITRD);
    boot->install(&handle, &LOAD_FILE2, 0, &loader);
}

#endif

// The initramfs comes with the settings, and so does all else that does not go together with a signature.
#if SETTINGS && defined(__x86_64__)
#define DIRECT 1
#include "direct.c"

// Reads \KERNEL.EFI of a volume; nothing when it cannot be read.
static Byte *read_file(Handle device, Word *size) {
    Volume *volume;
    File *root, *file;
    if (boot->protocol_of(device, &VOLUME, (void **)&volume) || volume->open(volume, &root))
        return 0;
    if (root->open(root, &file, u"\\KERNEL.EFI", READ, 0))
        return 0;
    // The place at the end of the file is its size.
    Byte *content = 0;
    if (!file->set_position(file, ~0ULL) && !file->position(file, size) && !file->set_position(file, 0))
        content = pages(PAGES(*size));
    if (content && file->read(file, size, content))
        content = 0;
    file->close(file);
    root->close(root);
    return content;
}
#endif

static const Char *reason(Status status) {
    switch (status) {
    case NOT_FOUND:
        return u"the kernel is missing";
    case ACCESS_DENIED:
    case SECURITY_VIOLATION:
        return u"the kernel is not signed by a key that this machine knows";
    default:
        return u"the kernel cannot be loaded: write the image anew";
    }
}

// What is started: the kernel in a slot, or the file where there is no slot.
typedef struct {
    int slot;
    Byte *state;
} Choice;

#if DIRECT
// The kernel once more: kept beside the firmware's copy it would be too much for a small machine.
static Byte *content_of(const Choice *choice, Handle device, Word *size) {
    return choice->slot ? read_slot(choice->slot, choice->state, size) : read_file(device, size);
}
#endif

// Loads the kernel. The firmware reads the file itself; a slot's content is given to it.
static Status load_kernel(Handle self, const Choice *choice, Node *path, Handle *image) {
    if (!choice->slot)
        return boot->load_image(0, self, path, 0, 0, image);
    Word size = 0;
    Byte *content = read_slot(choice->slot, choice->state, &size);
    if (!content)
        return NOT_FOUND;
    Status status = boot->load_image(0, self, path, content, size, image);
    boot->free_pages((Word)content, PAGES(size));
    return status;
}

Status efi_main(Handle self, SystemTable *table) {
    LoadedImage *own, *kernel;
    Node *device;
    Handle image;
    Choice choice = {0, 0};
    int good = 0;
    system = table;
    boot = table->boot;
    Status status = boot->protocol_of(self, &LOADED_IMAGE, (void **)&own);
    if (!status)
        status = boot->protocol_of(own->device, &DEVICE_PATH, (void **)&device);
    if (status)
        return fail(status, u"the firmware does not say where this comes from");
    Node *path = kernel_on(device);
    if (!path)
        return fail(UNSUPPORTED, u"the path of this disk is too long");
    find_slots(own->device);
    if (layout.slot)
        choice.slot = choose_slot(&choice.state, &good);
#if SETTINGS
    give_settings(own->device);
#endif
    status = load_kernel(self, &choice, path, &image);
    if (status && choice.slot != good) {
        print(u"\r\nBloomery: the update cannot be loaded; starting the kernel before it\r\n");
        choice.slot = good;
        status = load_kernel(self, &choice, path, &image);
    }
    if (status)
        return fail(status, reason(status));
    if (!boot->protocol_of(image, &LOADED_IMAGE, (void **)&kernel)) {
        kernel->options = own->options;
        kernel->options_size = own->options_size;
    }
    status = boot->start_image(image, 0, 0);
#if DIRECT
    Word size = 0;
    Byte *content = 0;
    if (status == OUT_OF_RESOURCES)
        content = content_of(&choice, own->device, &size);
    if (content) {
        // The stub's own message says `ERROR` and stands before.
        print(u"\r\nBloomery: too little memory beside the firmware; leaving the firmware first\r\n");
        status = start_directly(self, table, own, content, size, archive, archive_size);
    }
#endif
    return fail(status, u"the kernel did not start");
}
