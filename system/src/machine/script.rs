//! The machine as a script that boots the image on any machine with QEMU.

use build_support::Arch;

use super::board::Board;
use super::parts::{self, Part, Piece, When};
use super::{COMMAND_LINE, ESP, GDB_PORT, MOST_PROCESSORS, VARIABLES, kvm, memory, quote};
use crate::Profile;
use crate::outputs::Medium;
use crate::profile::Boot;
use anyhow::Result;

/// The script without what differs between profiles.
const TEMPLATE: &str = include_str!("run-qemu.sh.in");

/// What finds firmware and makes what [`super::Machine::prepare`] makes.
const UEFI: &str = r#"
# Finds firmware on this machine, and gives this image a copy of its variables to write to.
if @uefi_condition@; then
    firmware=
    while IFS='|' read -r code template; do
        if [ -r "$code" ] && [ -r "$template" ]; then
            firmware=$code
            break
        fi
    done <<'FIRMWARE'
@firmware@FIRMWARE
    [ -n "$firmware" ] || stop 1 "no UEFI firmware is installed" "install it (Debian: @package@)"
    variables=$vars
    if [ -n "$vars" ]; then
        [ -e "$vars" ] || stop 1 "there is no file $vars" "\`cargo bloomery keys DIR\` makes variables with a key for Secure Boot"
        if [ "$(wc -c <"$vars")" != "$(wc -c <"$template")" ]; then
            stop 1 "$vars has another size than the variables of the firmware $firmware" "take those of the same architecture and firmware"
        fi
    else
        variables=$own/@variables@
    fi
    # Another size is that of another firmware.
    if [ ! -e "$variables" ] || [ "$(wc -c <"$variables")" != "$(wc -c <"$template")" ]; then
        cp -- "$template" "$variables.$$"
        mv -- "$variables.$$" "$variables"
    fi
fi
"#;

/// The options that only firmware has.
const UEFI_HELP: &str = "  --uefi             the same as --boot uefi
  --vars FILE        UEFI variables to boot with, such as a key for Secure Boot; the machine writes to them
";

/// Refuses words that a signed kernel does not take.
const SIGNED: &str = r#"if [ -n "$append" ]; then
    stop 2 "--append does not go with @profile@: a signed kernel has its command line built in" "leave it out"
fi
"#;

/// Makes the directory that firmware boots an EFI program from.
const ESP_LINK: &str = r#"        esp=$own/@esp@
        mkdir -p -- "$esp/EFI/BOOT"
        ln -sf -- "$@file@" "$esp/EFI/BOOT/@efi@"
"#;

/// The script that boots a profile's outputs, for [`crate::outputs::RUN_SCRIPT`] in its directory. Nothing, when no output
/// of the profile boots.
///
/// # Errors
/// A way to boot that the outputs cannot do.
pub fn script(arch: Arch, profile: &Profile) -> Result<Option<String>> {
    let boots = &profile.boots(arch);
    let Some(first) = boots.first() else { return Ok(None) };
    let uefi: Vec<Boot> =
        boots.iter().copied().filter(|boot| boot.is_by_uefi() || boot.is_by_network_of_uefi()).collect();
    let machine = &profile.machine;
    let smp_help = "1 by emulation, with KVM those of this machine, at most 4".to_string();
    let mut text = TEMPLATE.to_string();
    for (mark, value) in [
        ("@uefi@", if uefi.is_empty() { String::new() } else { uefi_part(arch, &uefi) }),
        ("@arguments@", arguments(arch, profile)?),
        ("@uefi_help@", uefi_help(&uefi).into()),
        ("@signed@", if profile.is_signed() { SIGNED.into() } else { String::new() }),
        ("@boot_help@", boots.iter().map(meaning).collect::<Vec<_>>().join(HELP_LINE)),
        ("@boot_pattern@", joined(boots, |_| true, " | ")),
        ("@boot_list@", joined(boots, |_| true, ", ")),
        ("@words_pattern@", some_pattern(boots, Boot::takes_words)),
        ("@tap_pattern@", some_pattern(boots, Boot::needs_tap)),
        ("@boot@", first.name().into()),
        ("@profile@", profile.name.clone()),
        ("@arch@", arch.name().into()),
        ("@machine@", arch.machine().into()),
        ("@qemu@", arch.qemu().into()),
        ("@package@", Board::of(arch).package.into()),
        ("@memory@", memory(machine.memory)),
        ("@smp@", machine.processors.map_or(String::new(), |count| count.to_string())),
        ("@smp_help@", machine.processors.map_or(smp_help, |count| count.to_string())),
        ("@most_processors@", MOST_PROCESSORS.to_string()),
        ("@gdb_port@", GDB_PORT.to_string()),
        ("@seconds@", kvm::LIMIT.as_secs().to_string()),
        ("@probe@", Board::of(arch).kvm_probe().join(" ")),
    ] {
        text = text.replace(mark, &value);
    }
    Ok(Some(text))
}

/// Between two ways to boot in `--help`.
const HELP_LINE: &str = ";\n                     ";

/// What a way to boot does, for `--help`.
fn meaning(boot: &Boot) -> String {
    format!("{}: {}", boot.name(), boot.meaning())
}

fn uefi_help(uefi: &[Boot]) -> &'static str {
    if uefi.contains(&Boot::Uefi) { UEFI_HELP } else { "" }
}

/// The names of some ways to boot.
fn joined(boots: &[Boot], wanted: impl Fn(Boot) -> bool, between: &str) -> String {
    let names: Vec<&str> = boots.iter().copied().filter(|boot| wanted(*boot)).map(Boot::name).collect();
    names.join(between)
}

/// The same as a pattern of the shell's `case`; one that fits nothing, where there are none.
fn some_pattern(boots: &[Boot], wanted: impl Fn(Boot) -> bool) -> String {
    let names = joined(boots, wanted, " | ");
    if names.is_empty() { "''".into() } else { names }
}

fn uefi_part(arch: Arch, boots: &[Boot]) -> String {
    let condition = match boots {
        [one] => format!("[ \"$boot\" = {} ]", one.name()),
        _ => format!("case $boot in {}) true ;; *) false ;; esac", joined(boots, |_| true, " | ")),
    };
    let board = Board::of(arch);
    let pairs: String = board.firmware.iter().map(|(code, variables)| format!("{code}|{variables}\n")).collect();
    UEFI.replace("@uefi_condition@", &condition)
        .replace("@firmware@", &pairs)
        .replace("@package@", board.firmware_package)
        .replace("@variables@", VARIABLES)
}

/// The lines that put QEMU's arguments together.
fn arguments(arch: Arch, profile: &Profile) -> Result<String> {
    let mut text = String::from("case $boot in\n");
    for boot in &profile.boots(arch) {
        text += &format!("    {})\n", boot.name());
        for file in parts::files(profile, *boot)? {
            text += &format!("        {}=$(output {})\n", variable(&file), quote(file.as_ref()));
        }
        if let Some(Medium::Efi(file)) = parts::medium(profile, *boot).filter(|_| *boot == Boot::Uefi) {
            let link = ESP_LINK.replace("@esp@", ESP).replace("@efi@", arch.efi_file());
            text += &link.replace("@file@", &variable(&file));
        }
        for part in parts::parts(arch, profile, *boot)? {
            text += &lines(arch, profile, &part)?;
        }
        text += "        ;;\n";
    }
    Ok(text + "esac")
}

/// A shell's variable for the path of an output.
fn variable(file: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("file_{}", file.chars().map(plain).collect::<String>())
}

fn lines(arch: Arch, profile: &Profile, part: &Part) -> Result<String> {
    let words: Vec<String> = part.args.iter().map(|arg| word(arg)).collect();
    let set = format!("set -- \"$@\" {}", words.join(" "));
    let (before, condition) = match part.when {
        When::Always => (String::new(), ""),
        When::Kvm => (String::new(), "[ \"$accel\" != kvm ] || "),
        When::Tcg => (String::new(), "[ \"$accel\" != tcg ] || "),
        When::Append => (command_line(arch, profile)?, "[ -z \"$append\" ] || "),
        When::Snapshot => (String::new(), "! $snapshot || "),
        When::Gdb => (String::new(), "! $gdb || "),
        When::User => (String::new(), "[ -n \"$tap\" ] || "),
        When::Tap => (String::new(), "[ -z \"$tap\" ] || "),
    };
    Ok(format!("        # {}\n{before}        {condition}{set}\n", part.why))
}

/// What the kernel gets for `--append`, as `Machine::command_line` makes it.
fn command_line(arch: Arch, profile: &Profile) -> Result<String> {
    let kernel = variable(&parts::kernel_file(profile)?);
    Ok(match arch {
        Arch::X86_64 => "        # It adds them to its built-in line.\n        line=$append\n".into(),
        Arch::Arm64 => format!(
            "        # It takes them in place of its built-in line.\n        \
             [ -z \"$append\" ] || line=\"$(cat \"${{{kernel}%/*}}/{COMMAND_LINE}\") $append\"\n"
        ),
    })
}

/// An argument in the shell's language.
fn word(arg: &[Piece]) -> String {
    let in_option = arg.len() > 1;
    let path = |variable: &str| {
        if in_option { format!("$(commas \"${variable}\")") } else { format!("${variable}") }
    };
    let mut text = String::new();
    let mut plain = true;
    for piece in arg {
        plain &= matches!(piece, Piece::Text(_));
        text += &match piece {
            Piece::Text(text) => text.to_string(),
            Piece::File(file) => path(&variable(file)),
            Piece::Memory => "$memory".into(),
            Piece::Processors => "$smp".into(),
            Piece::Ports => "$ports".into(),
            Piece::Firmware => path("firmware"),
            Piece::Variables => path("variables"),
            Piece::Esp => path("esp"),
            Piece::CommandLine => "$line".into(),
            Piece::Tap => "$tap".into(),
            Piece::Directory(file) => format!("$(commas \"${{{}%/*}}\")", variable(file)),
            Piece::Name(file) => format!("$(commas \"${{{}##*/}}\")", variable(file)),
        };
    }
    if plain { quote(text.as_ref()) } else { format!("\"{text}\"") }
}
