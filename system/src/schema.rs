//! Every key of a profile, once: its form, its default and its meaning. The parser (`document.rs`), the messages and
//! `docs/profiles.md` ([`crate::reference`]) follow from these tables.

use crate::outputs::KINDS;

/// What a key's value looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// A line of text.
    Line,
    /// A number of bytes with its unit, such as `"64 MiB"`.
    Size,
    /// A whole number from 1.
    Count,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Texts. `[...]` takes the place of what the extended profile has; `{ add = [...], remove = [...] }` changes it.
    List,
    /// Some of these words, as a list.
    Words(&'static [&'static str]),
    /// Permissions in octal, `"0640"` or `0o640`.
    Mode,
    /// The name or the number of a user or a group.
    Account,
    /// A table of these keys, each a path. All of them are stated, by one profile.
    Files(&'static [&'static str]),
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// The value that holds when no profile states one, in TOML.
    pub default: Default,
    /// What it does, for people.
    pub meaning: &'static str,
}

/// The value of a key that no profile states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// This one, in TOML.
    Is(&'static str),
    /// None: the thing is absent, or follows from others as the text says.
    Absent(&'static str),
    /// There is none: a profile, or one that it extends, states it.
    Required,
}

/// A table of a profile.
#[derive(Debug)]
pub struct Table {
    /// `root` for `[root]`; empty for the keys above all tables.
    pub name: &'static str,
    /// What it is about.
    pub meaning: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// A kind of output, a value of `kind` in an `[[output]]`.
#[derive(Debug)]
pub struct OutputKind {
    /// The value.
    pub name: &'static str,
    /// What the build leaves.
    pub meaning: &'static str,
    /// Its keys besides those of every output.
    pub keys: &'static [Key],
}

/// A row of a table.
pub const fn key(name: &'static str, form: Form, default: Default, meaning: &'static str) -> Key {
    Key { name, form, default, meaning }
}

/// The keys above all tables, and the tables.
pub const TABLES: &[Table] = &[
    Table {
        name: "",
        meaning: "Above all tables.",
        keys: &[
            key(
                "extends",
                Form::Line,
                Default::Absent("nothing"),
                "the profile whose values hold where this one states none: a name from `image/profiles/`, or the path of a TOML file from this file's directory",
            ),
            key("description", Form::Line, Default::Required, "one sentence for people; goes into /etc/os-release"),
            key("hostname", Form::Line, Default::Is("\"bloomery\""), "goes into /etc/hostname"),
            key("inittab", Form::List, Default::Is("[]"), "lines added to /etc/inittab"),
            key(
                "console",
                Form::Word(&["shell", "login", "none"]),
                Default::Is("\"shell\""),
                "what a person at a console gets: a root shell without a password, a login, or nothing but what `inittab` says",
            ),
        ],
    },
    Table {
        name: "root",
        meaning: "The root file system.",
        keys: &[
            key(
                "kind",
                Form::Word(&["ext4", "initramfs"]),
                Default::Is("\"ext4\""),
                "where the running system has it: on a partition, or in memory",
            ),
            key(
                "packages",
                Form::List,
                Default::Is("[]"),
                "`busybox`, `init`, `initctl`, `echod`, `dhcpc`, `modprobe`, `ntpc`, `status`, `syslogc`, `updater` and `growfs` (which are linked into `init`), `toolchain`, or the path of a directory with a `build.sh` (docs/packages.md)",
            ),
            key("files", Form::List, Default::Is("[]"), "directories that are laid over the root file system"),
            key(
                "lists",
                Form::List,
                Default::Is("[]"),
                "lists of files, directories, links, devices, pipes and sockets in the grammar of the kernel's `gen_init_cpio` (`file /init ${DIR}/init 0755 0 0`), laid over it last. Paths in a list count from its directory",
            ),
            key(
                "skeleton",
                Form::Flag,
                Default::Is("true"),
                "`false`: without the usual directories, links and files of /etc, so that packages and `files` are all that there is",
            ),
            key(
                "embed",
                Form::Flag,
                Default::Is("false"),
                "`true`: the initramfs is inside the kernel, so that the kernel alone is a whole system",
            ),
            key(
                "update-key",
                Form::Line,
                Default::Absent("one that the build makes, once a store"),
                "a file from this one's directory, of PEM, with the Ed25519 key by which `updater` knows updates. The public key is enough, and no other part of it is in an image ([updates.md](updates.md))",
            ),
            key(
                "update-product",
                Form::Line,
                Default::Absent("the profile's name"),
                "the product whose updates `updater` takes: a system takes those of another profile where both state the same one",
            ),
        ],
    },
    Table {
        name: "kernel",
        meaning: "The kernel. It is compiled once for each combination of these values; profiles with the same ones share it.",
        keys: &[
            key(
                "fragments",
                Form::List,
                Default::Required,
                "names from `image/kernel/` without `.config`, or of a list of them without `.list`, or paths of files of your own; `{arch}` stands for the architecture; of two values for one symbol the later counts",
            ),
            key("command-line", Form::Line, Default::Is("\"\""), "added to the built-in command line"),
            key(
                "boot-config",
                Form::Line,
                Default::Absent("none"),
                "a file from this one's directory with settings `kernel.*`, `init.*` and of programs, in the kernel's grammar of boot configurations. It is checked, built in, and seen in /proc/bootconfig; changing it compiles nothing",
            ),
            key(
                "modules",
                Form::Word(&["none", "plain", "signed"]),
                Default::Is("\"none\""),
                "`none`: `=m` in a fragment is an error. `plain`: such drivers become modules, compressed, in the root file system below /usr/lib/modules, with the tables of modprobe(8), and init loads them for the devices that there are. `signed`: the same, and the kernel loads no others",
            ),
            key(
                "module-key",
                Form::Line,
                Default::Absent("one that the build makes, once a store"),
                "a file from this one's directory, of PEM, with the RSA key that signs modules and its certificate; it is in no image and no log",
            ),
            key(
                "overlay",
                Form::Line,
                Default::Absent("none"),
                "a directory from this one's directory with files that are laid over the kernel's source: new ones, ones in the place of upstream's, and ones called `NAME.append`, which are added to the end of upstream's `NAME`",
            ),
            key(
                "debug",
                Form::Flag,
                Default::Is("false"),
                "`true`: with debug information and GDB's scripts, and a `vmlinux` to open in GDB",
            ),
        ],
    },
    Table {
        name: "service",
        meaning: "The one program that the system is for. It becomes `/etc/services.d/NAME.toml`.",
        keys: &[
            key("name", Form::Line, Default::Is("\"service\""), "its name in `initctl` and in the log"),
            key(
                "program",
                Form::Line,
                Default::Absent("none"),
                "a file from this one's directory that becomes `/usr/bin/` with its name: a static program. `{arch}` stands for the architecture",
            ),
            key(
                "command",
                Form::Line,
                Default::Absent("`program` alone, or no service"),
                "the program with its arguments",
            ),
            key(
                "settings",
                Form::List,
                Default::Is("[]"),
                "further lines of that file, such as `user = \"nobody\"` (services(5))",
            ),
        ],
    },
    Table {
        name: "machine",
        meaning: "The virtual machine that `./run.sh` and the tests boot.",
        keys: &[
            key("memory", Form::Size, Default::Is("\"1 GiB\""), "its memory"),
            key(
                "processors",
                Form::Count,
                Default::Absent("1 by emulation, else those of the host, at most 4"),
                "its processors",
            ),
            key(
                "boots",
                Form::Words(&[
                    "kernel", "uefi", "microvm", "pxe4", "pxe6", "http4", "http6", "ipxe", "bios", "bios-cd",
                    "bios-usb", "uefi-cd", "uefi-usb",
                ]),
                Default::Absent("each that the outputs can do"),
                "the ways to boot: `kernel` hands the kernel to QEMU, `uefi` starts firmware, `microvm` is a machine without PCI, the next five load the system over the network ([netboot.md](netboot.md)), and `bios` starts a BIOS (x86_64). The last four start a hybrid image as a CD or a USB stick ([hybrid.md](hybrid.md)). The first is the default of `./run.sh`",
            ),
        ],
    },
    Table {
        name: "budget",
        meaning: "Limits that fail the build.",
        keys: &[
            key(
                "image",
                Form::Size,
                Default::Absent("none"),
                "the most bytes of each bootable image (disk, efi, iso, hybrid)",
            ),
            key("memory", Form::Size, Default::Absent("none"), "the memory that the boot tests give the system"),
        ],
    },
];

/// A row of /etc/passwd and what belongs to it.
const USER: Table = Table {
    name: "user",
    meaning: "Users of the system, on top of those that the skeleton and `files` have in /etc/passwd. One of them with the same \
              name, such as `root`, is changed by the keys that are stated.",
    keys: &[
        key(
            "name",
            Form::Line,
            Default::Required,
            "its name: small letters, digits, `_` and `-`, at most 32, a letter first",
        ),
        key(
            "uid",
            Form::Count,
            Default::Absent("the first free one from 1000"),
            "its number, and that of its own group",
        ),
        key("groups", Form::List, Default::Is("[]"), "further groups, by name; one that is not there is made"),
        key("home", Form::Line, Default::Absent("`/home/NAME`"), "its home directory, which is made, for it alone"),
        key("shell", Form::Line, Default::Absent("`/bin/sh`"), "the program that it gets, which must be there"),
        key(
            "password",
            Form::Line,
            Default::Absent("none that fits: it comes in by a key or by `su`"),
            "the hash of its password, as `openssl passwd -6` prints it (crypt(5))",
        ),
        key(
            "authorized-keys",
            Form::List,
            Default::Is("[]"),
            "public keys that open the system by SSH, as a line of `~/.ssh/authorized_keys` has them, or files from this one's directory",
        ),
    ],
};

/// Tables besides `[[output]]` that a profile may have several of, in double brackets. Those of the extended profile come
/// first.
pub const ROWS: &[Table] = &[
    USER,
    Table {
        name: "attribute",
        meaning: "Permissions, owners and capabilities of files in the root file system, where those that packages and `files` \
              have on this machine are not the right ones. Of two that fit a file the later one counts.",
        keys: &[
            key(
                "path",
                Form::Line,
                Default::Required,
                "the file, or several by a pattern: `*` and `?` end at a slash, `**` is any directories, `[ab]` one of the letters. One that fits nothing is an error",
            ),
            key(
                "mode",
                Form::Mode,
                Default::Absent("as the file has it"),
                "permissions in octal, with set-id and sticky bits",
            ),
            key(
                "owner",
                Form::Account,
                Default::Absent("root"),
                "a user of /etc/passwd in the root file system, or a number",
            ),
            key(
                "group",
                Form::Account,
                Default::Absent("root"),
                "a group of /etc/group in the root file system, or a number",
            ),
            key(
                "capabilities",
                Form::Line,
                Default::Absent("as the file has them"),
                "what a program may do without root, such as `\"cap_net_raw=ep\"` (capabilities(7), cap_from_text(3))",
            ),
        ],
    },
];

/// Keys of every `[[output]]`.
pub const OUTPUT_KEYS: &[Key] = &[
    key("kind", Form::Line, Default::Required, "what the build leaves; the next tables list the kinds"),
    key(
        "name",
        Form::Line,
        Default::Absent("the kind"),
        "tells two outputs of a kind apart. An output of the same name in the extended profile is changed and not added",
    ),
    key("enabled", Form::Flag, Default::Is("true"), "`false`: drops the output of the extended profile"),
];

/// The file name of an output, in every kind that leaves one.
pub const fn file(default: &'static str) -> Key {
    key(
        "file",
        Form::Line,
        Default::Is(default),
        "where it lies, from `target/bloomery/ARCH/`; `{profile}` stands for the profile's name. A profile that extends this one does not inherit it",
    )
}

/// Values of `output.file` that are not inherited: two profiles must not write one file.
pub const NOT_INHERITED: &[&str] = &["file"];

/// The kinds of output ([`crate::outputs::KINDS`]).
pub fn outputs() -> impl Iterator<Item = &'static OutputKind> {
    KINDS.iter().map(|kind| kind.schema())
}

/// The table of a name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The table of a name in double brackets, but `[[output]]`.
pub fn rows(name: &str) -> Option<&'static Table> {
    ROWS.iter().find(|table| table.name == name)
}

/// The kind of output of a name.
pub fn output(name: &str) -> Option<&'static OutputKind> {
    outputs().find(|kind| kind.name == name)
}

/// The key that stands in a profile as `path`, such as `kernel.debug` or `hostname`.
pub fn key_of(path: &str) -> Option<&'static Key> {
    let (name, key) = path.rsplit_once('.').unwrap_or(("", path));
    table(name)?.keys.iter().find(|known| known.name == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        let tables = TABLES.iter().chain(ROWS).map(|table| (table.name, table.keys));
        let kinds = outputs().map(|kind| (kind.name, kind.keys));
        for (name, keys) in tables.chain(kinds) {
            let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), keys.len(), "[{name}]");
        }
    }
}
