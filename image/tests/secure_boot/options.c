// An EFI program that says whether Secure Boot is on and what options it was given, and powers off. Tables are arrays of
// words here; places in them are those of UEFI 2.10, sections 4.3 to 4.5, 9.1 and 12.4. A table's header is three words.

typedef unsigned long long Word;
typedef unsigned short Char;
typedef Word (*Print)(Word *self, const Char *text);
typedef Word (*GetVariable)(const Char *name, const void *owner, void *attributes, Word *size, void *data);
typedef Word (*HandleProtocol)(void *handle, const void *protocol, Word **interface);
typedef Word (*ResetSystem)(int kind, Word status, Word size, void *data);

static const struct {
    unsigned a;
    Char b, c;
    unsigned char d[8];
} GLOBAL = {0x8be4df61, 0x93ca, 0x11d2, {0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}},
  LOADED_IMAGE = {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};

Word efi_main(void *image, Word *system) {
    Word *out = (Word *)system[8], *run_time = (Word *)system[11], *boot = (Word *)system[12];
    Print print = (Print)out[1];
    unsigned char on = 0;
    Word size = sizeof on, *loaded = 0;
    ((GetVariable)run_time[9])(u"SecureBoot", &GLOBAL, 0, &size, &on);
    print(out, on ? u"\r\nSecure Boot is on\r\n" : u"\r\nSecure Boot is off\r\n");
    ((HandleProtocol)boot[19])(image, &LOADED_IMAGE, &loaded);
    print(out, u"options: ");
    if ((unsigned)loaded[6])
        print(out, (const Char *)loaded[7]);
    print(out, u".\r\n");
    ((ResetSystem)run_time[13])(2, 0, 0, 0);
    return 0;
}
