// The parts of UEFI that the loader uses (UEFI Specification 2.10). Members that it does not use stand as words.

typedef unsigned char Byte;
typedef unsigned short Char;
typedef unsigned int Number;
typedef unsigned long long Word;
typedef Word Status;
typedef void *Handle;

// Appendix D. An error has the highest bit set.
enum { SUCCESS = 0 };
#define ERROR(number) (1ULL << 63 | (number))
#define UNSUPPORTED ERROR(3)
#define BUFFER_TOO_SMALL ERROR(5)
#define OUT_OF_RESOURCES ERROR(9)
#define NOT_FOUND ERROR(14)
#define ACCESS_DENIED ERROR(15)
#define SECURITY_VIOLATION ERROR(26)
#define INVALID_PARAMETER ERROR(2)

typedef struct {
    Number a;
    Char b, c;
    Byte d[8];
} Guid;

// Section 10.3. `length` is in two bytes, because a path has no alignment.
typedef struct {
    Byte type, subtype, length[2];
} Node;

// Section 12.4.
typedef struct Output {
    void *reset;
    Status (*print)(struct Output *self, const Char *text);
} Output;

// Section 13.5.
typedef struct File {
    Word revision;
    Status (*open)(struct File *self, struct File **file, const Char *name, Word mode, Word attributes);
    Status (*close)(struct File *self);
    void *delete_file;
    Status (*read)(struct File *self, Word *size, void *buffer);
    void *write;
    Status (*position)(struct File *self, Word *position);
    Status (*set_position)(struct File *self, Word position);
} File;

#define READ 1

// Section 13.4.
typedef struct Volume {
    Word revision;
    Status (*open)(struct Volume *self, File **root);
} Volume;

// Section 13.2.
typedef struct LoadFile2 {
    Status (*load)(struct LoadFile2 *self, Node *path, Byte is_boot, Word *size, void *buffer);
} LoadFile2;

// Section 13.9. Later revisions have more members at the end.
typedef struct {
    Number id;
    Byte is_removable, is_there, is_partition, is_read_only, is_write_cached;
    Number sector, alignment;
    Word last;
} Medium;

typedef struct Disk {
    Word revision;
    const Medium *medium;
    void *reset;
    Status (*read)(struct Disk *self, Number medium, Word sector, Word size, void *buffer);
    Status (*write)(struct Disk *self, Number medium, Word sector, Word size, void *buffer);
    Status (*flush)(struct Disk *self);
} Disk;

// Section 9.1.
typedef struct {
    Number revision;
    Handle parent;
    void *system;
    Handle device;
    Node *path;
    void *reserved;
    Number options_size;
    void *options;
} LoadedImage;

// Section 7.2.3.
typedef struct {
    Number type;
    Word start, virtual_start, pages, attributes;
} MemoryRegion;

// Section 12.9.2. Of pixels' formats, 0 is red, green, blue, and 1 is blue, green, red.
typedef struct {
    Number modes, mode;
    const struct {
        Number version, width, height, format, masks[4], line;
    } *info;
    Word info_size, base, size;
} GraphicsMode;

typedef struct {
    void *query, *set, *blt;
    const GraphicsMode *mode;
} Graphics;

// Section 8.2.
typedef struct {
    Word header[3], to_variables[6];
    Status (*variable)(const Char *name, const Guid *vendor, Number *attributes, Word *size, void *value);
} RunTimeServices;

// Section 4.6.
typedef struct {
    Guid guid;
    const void *content;
} Table;

// Section 4.4. A table's header has three words.
typedef struct {
    Word header[3], to_memory[2];
    Status (*allocate_pages)(Number how, Number type, Word count, Word *address);
    Status (*free_pages)(Word address, Word count);
    Status (*memory_map)(Word *size, MemoryRegion *map, Word *key, Word *step, Number *version);
    Word to_protocols[8];
    Status (*install)(Handle *handle, const Guid *protocol, Number type, void *interface);
    void *reinstall;
    Status (*uninstall)(Handle handle, const Guid *protocol, void *interface);
    Status (*protocol_of)(Handle handle, const Guid *protocol, void **interface);
    Word to_find_on_path[3];
    Status (*find_on_path)(const Guid *protocol, Node **path, Handle *handle); // LocateDevicePath
    void *tables;
    Status (*load_image)(Byte is_boot, Handle parent, Node *path, void *source, Word size, Handle *image);
    Status (*start_image)(Handle image, Word *size, Char **text);
    Word to_exit[2];
    Status (*exit)(Handle image, Word map_key); // ExitBootServices
    void *counter;
    Status (*stall)(Word microseconds);
    Word to_find[8];
    Status (*find_protocol)(const Guid *protocol, void *registration, void **interface);
} BootServices;

// Section 4.3.
typedef struct {
    Word header[3];
    Char *vendor;
    Number vendor_revision;
    Handle in_handle;
    void *in;
    Handle out_handle;
    Output *out;
    Handle error_handle;
    void *error;
    RunTimeServices *run_time;
    BootServices *boot;
    Word tables;
    const Table *table;
} SystemTable;

static const Guid LOADED_IMAGE = {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}},
                  VOLUME = {0x964e5b22, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}},
                  DEVICE_PATH = {0x09576e91, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}},
                  BLOCK_IO = {0x964e5b21, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}},
                  LOAD_FILE2 = {0x4006c0c1, 0xfcb3, 0x403e, {0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d}};

// Section 3.3, section 4.6.2 and section 12.9.2.
static const Guid GLOBAL = {0x8be4df61, 0x93ca, 0x11d2, {0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}},
                  ACPI = {0x8868e871, 0xe4f1, 0x11d3, {0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}},
                  GRAPHICS = {0x9042a9de, 0x23dc, 0x4a38, {0x96, 0xfb, 0x7a, 0xde, 0xd0, 0x80, 0x51, 0x6a}};
