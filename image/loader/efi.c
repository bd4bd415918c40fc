// The EFI program of a hybrid image: starts \KERNEL.EFI of its own volume by the firmware's LoadImage, which checks the
// kernel's signature under Secure Boot, passes its own load options on, and gives the settings file as an initramfs.
//
// SETTINGS=0 leaves the last part out: a signed kernel takes nothing from outside (docs/secure-boot.md).

#include "efi.h"

static SystemTable *system;

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

#if SETTINGS

#define MOST_SETTINGS 16384

// A member of a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst in linux.git): number, mode, owner,
// group, links, time (2026-01-01), size, two devices of two numbers, bytes of the name, checksum; then the name.
#define MEMBER \
    "070701" "00000001" "00008124" "00000000" "00000000" "00000001" "6955b900" "00000000" \
    "00000000" "00000000" "00000000" "00000000" "00000011" "00000000" "etc/bloomery.txt\0"
#define SIZE_AT 54
#define TRAILER \
    "070701" "00000000" "00000000" "00000000" "00000000" "00000001" "00000000" "00000000" \
    "00000000" "00000000" "00000000" "00000000" "0000000b" "00000000" "TRAILER!!!\0\0\0"

// Both end at a multiple of four, with the byte that C puts behind a text.
_Static_assert(sizeof MEMBER == 128 && sizeof TRAILER == 124, "the headers of the archive");

static Byte archive[sizeof MEMBER + MOST_SETTINGS + sizeof TRAILER];
static Word archive_size;

static void copy(Byte *to, const void *from, Word size) {
    for (Word i = 0; i < size; i++)
        to[i] = ((const Byte *)from)[i];
}

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

// Puts the settings file into an archive, and offers that to the kernel. A volume without the file gives nothing.
static void give_settings(Handle device) {
    static LoadFile2 loader = {load};
    Volume *volume;
    File *root, *file;
    Handle handle = 0;
    BootServices *boot = system->boot;
    if (boot->protocol_of(device, &VOLUME, (void **)&volume) || volume->open(volume, &root))
        return;
    Status status = root->open(root, &file, u"\\BLOOMERY.TXT", READ, 0);
    root->close(root);
    if (status)
        return;
    // One byte more than it may have, into the room of the trailer.
    Word size = MOST_SETTINGS + 1;
    status = file->read(file, &size, archive + sizeof MEMBER);
    file->close(file);
    if (status || size > MOST_SETTINGS) {
        print(status ? u"\r\nBloomery: cannot read BLOOMERY.TXT, which is left out\r\n"
                     : u"\r\nBloomery: BLOOMERY.TXT has more than 16 KiB and is left out\r\n");
        return;
    }
    copy(archive, MEMBER, sizeof MEMBER);
    for (int i = 0; i < 8; i++)
        archive[SIZE_AT + i] = "0123456789abcdef"[size >> (28 - 4 * i) & 15];
    Byte *end = archive + sizeof MEMBER + size;
    for (; (end - archive) & 3; end++)
        *end = 0;
    copy(end, TRAILER, sizeof TRAILER);
    archive_size = end + sizeof TRAILER - archive;
    // 0 is EFI_NATIVE_INTERFACE.
    boot->install(&handle, &DEVICE_PATH, 0, (void *)&INITRD);
    boot->install(&handle, &LOAD_FILE2, 0, &loader);
}

#endif

// The initramfs comes with the settings, and so does all else that does not go together with a signature.
#if SETTINGS && defined(__x86_64__)
#define DIRECT 1
#include "direct.c"
#endif

#define IS_END(node) ((node)->type == 0x7f)

// The path of \KERNEL.EFI on a device; nothing, when the device's own path is longer than a firmware's are.
static Node *kernel_on(const Node *device) {
    static Byte path[1024];
    // A file's name on its device (section 10.3.5.4), and the end.
    static const struct {
        Node node;
        Char name[12];
        Node end;
    } KERNEL = {{4, 4, {4 + 24}}, u"\\KERNEL.EFI", {0x7f, 0xff, {4}}};
    const Byte *from = (const Byte *)device;
    Word length = 0;
    for (; !IS_END((const Node *)(from + length)); length += from[length + 2] | from[length + 3] << 8)
        if (length > sizeof path - sizeof KERNEL)
            return 0;
    if (length > sizeof path - sizeof KERNEL)
        return 0;
    for (Word i = 0; i < length; i++)
        path[i] = from[i];
    for (Word i = 0; i < sizeof KERNEL; i++)
        path[length + i] = ((const Byte *)&KERNEL)[i];
    return (Node *)path;
}

static const Char *reason(Status status) {
    switch (status) {
    case NOT_FOUND:
        return u"KERNEL.EFI is missing";
    case ACCESS_DENIED:
    case SECURITY_VIOLATION:
        return u"KERNEL.EFI is not signed by a key that this machine knows";
    default:
        return u"KERNEL.EFI cannot be loaded: write the image anew";
    }
}

Status efi_main(Handle self, SystemTable *table) {
    LoadedImage *own, *kernel;
    Node *device;
    Handle image;
    system = table;
    BootServices *boot = table->boot;
    Status status = boot->protocol_of(self, &LOADED_IMAGE, (void **)&own);
    if (!status)
        status = boot->protocol_of(own->device, &DEVICE_PATH, (void **)&device);
    if (status)
        return fail(status, u"the firmware does not say where this comes from");
    Node *path = kernel_on(device);
    if (!path)
        return fail(UNSUPPORTED, u"the path of this disk is too long");
#if SETTINGS
    give_settings(own->device);
#endif
    status = boot->load_image(0, self, path, 0, 0, &image);
    if (status)
        return fail(status, reason(status));
    if (!boot->protocol_of(image, &LOADED_IMAGE, (void **)&kernel)) {
        kernel->options = own->options;
        kernel->options_size = own->options_size;
    }
    status = boot->start_image(image, 0, 0);
#if DIRECT
    if (status == OUT_OF_RESOURCES) {
        // The stub's own message says `ERROR` and stands before.
        print(u"\r\nBloomery: too little memory beside the firmware; leaving the firmware first\r\n");
        status = start_directly(self, table, own, archive, archive_size);
    }
#endif
    return fail(status, u"the kernel did not start");
}
