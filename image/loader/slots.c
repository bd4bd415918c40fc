// A disk with two kernels (slots/src/layout.rs): which of them starts (slots/src/state.rs), and the settings that are kept there. A
// record is replaced by writing it to the other one of its two places (slots/src/record.rs).

#define PLACE 4096ULL
#define STATE_AT 8192ULL
#define KEPT_PLACE 32768ULL
#define TABLE_ENTRY (446 + 16)
#define SLOTS_PARTITION 0xda

// In a record, and in that of the state.
enum { KIND = 4, SEQUENCE = 8, CONTENT_SIZE = 12, CONTENT = 16 };
enum { GOOD = CONTENT, TRIAL, TRIES, KERNEL_SIZE = CONTENT + 4, STATE_CONTENT = 68 };

// The disk, and bytes of its parts. A slot of 0 bytes: the disk has none.
static struct {
    Disk *disk;
    Word slots, slot, kept;
} layout;

// Reads or writes whole sectors of the disk.
static Status transfer(int is_write, Word at, Word size, Byte *buffer) {
    const Medium *medium = layout.disk->medium;
    if (!medium->sector || at % medium->sector || size % medium->sector)
        return UNSUPPORTED;
    Status (*what)(Disk *, Number, Word, Word, void *) = is_write ? layout.disk->write : layout.disk->read;
    return what(layout.disk, medium->id, at / medium->sector, size, buffer);
}

// The disk that a volume is a partition of: its path without the last node.
static Disk *whole_disk(Handle volume) {
    Node *path, *rest;
    Handle handle;
    Disk *disk;
    if (boot->protocol_of(volume, &DEVICE_PATH, (void **)&path))
        return 0;
    rest = without_last(path);
    if (!rest || boot->find_on_path(&BLOCK_IO, &rest, &handle) || !IS_END(rest))
        return 0;
    return boot->protocol_of(handle, &BLOCK_IO, (void **)&disk) ? 0 : disk;
}

// Finds the partition with the slots.
static void find_slots(Handle volume) {
    Byte *sector = pages(1);
    layout.disk = whole_disk(volume);
    if (!layout.disk || !sector || transfer(0, 0, PLACE, sector))
        return;
    Byte *entry = sector + TABLE_ENTRY;
    Word bytes = get(entry, 12, 4) * 512;
    if (sector[510] != 0x55 || sector[511] != 0xaa || entry[4] != SLOTS_PARTITION || bytes <= 2 * KEPT_PLACE)
        return;
    layout.slots = get(entry, 8, 4) * 512;
    layout.slot = (bytes - 2 * KEPT_PLACE) / 2;
    layout.kept = layout.slots + 2 * layout.slot;
}

// The CRC-32 of IEEE 802.3, its bits reversed.
static Number checksum(const Byte *bytes, Word size) {
    Number sum = ~0U;
    for (Word i = 0; i < size; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
    }
    return ~sum;
}

static int is_whole(const Byte *record, const char *kind, Word most) {
    for (int i = 0; i < 4; i++)
        if (record[i] != "BLMY"[i] || record[KIND + i] != kind[i])
            return 0;
    Word size = get(record, CONTENT_SIZE, 4);
    return size <= most && checksum(record, CONTENT + size) == get(record, CONTENT + size, 4);
}

// The newest whole record of two places, and where the other place is; nothing where neither has one.
static Byte *newest(Word at, Word place, const char *kind, Word *other) {
    Word most = place - CONTENT - 4;
    Byte *first = pages(2 * place / PAGE), *second = first + place;
    if (!first)
        return 0;
    int has_first = !transfer(0, at, place, first) && is_whole(first, kind, most);
    int has_second = !transfer(0, at + place, place, second) && is_whole(second, kind, most);
    // The number may have begun anew at 0.
    int is_second = has_second && (!has_first || (int)(get(second, SEQUENCE, 4) - get(first, SEQUENCE, 4)) >= 0);
    *other = is_second ? at : at + place;
    return is_second ? second : has_first ? first : 0;
}

// Takes a try from the slot on trial; whether that is on the disk.
static int take_try(Byte *state, Word other) {
    state[TRIES]--;
    put(state, SEQUENCE, get(state, SEQUENCE, 4) + 1, 4);
    put(state, CONTENT + STATE_CONTENT, checksum(state, CONTENT + STATE_CONTENT), 4);
    return !layout.disk->medium->is_read_only && !transfer(1, other, PLACE, state) && !layout.disk->flush(layout.disk);
}

// Chooses what starts: a slot's number, and the good one's. What is on trial has a try taken away before it is started, so that a kernel
// that never comes so far is started once; where that cannot be written, as on a CD, the good one starts.
static int choose_slot(Byte **state, int *good) {
    Word other;
    *good = 1;
    *state = newest(STATE_AT, PLACE, "SLOT", &other);
    if (!*state)
        return 1;
    *good = (*state)[GOOD];
    int trial = (*state)[TRIAL];
    return trial && (*state)[TRIES] && take_try(*state, other) ? trial : *good;
}

// The kernel in a slot. Without a state its size is not known, and it has all of the slot.
static Byte *read_slot(int slot, const Byte *state, Word *size) {
    *size = state ? get(state, KERNEL_SIZE + 4 * (slot - 1), 4) : layout.slot;
    if (!*size || *size > layout.slot)
        return 0;
    Byte *content = pages(PAGES(*size));
    Word at = layout.slots + (slot - 1) * layout.slot;
    return content && !transfer(0, at, PAGES(*size) * PAGE, content) ? content : 0;
}
