#!/usr/bin/env bash
# Boots an image in QEMU with its console on this terminal, and builds it first when it is missing.
#
# The machine is described by the argument files beside the image, which image/src/machine.rs writes: this script
# puts them together and replaces their @WORDS@. Messages go to standard error; standard output is the guest's console.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(realpath -ms "${CARGO_TARGET_DIR:-$root/target}")
# A relative one counts from here, and the build runs elsewhere.
[ -z "${CARGO_TARGET_DIR:-}" ] || export CARGO_TARGET_DIR=$target

usage() {
    cat <<'USAGE'
Boot a Bloomery image in QEMU, with its console on this terminal. What is missing is built first.

usage: ./run.sh ARCH [options] [-- QEMU ARGUMENTS]

  ARCH               x86_64 or arm64

  --profile NAME     the profile to boot: a name from image/profiles/, or your own TOML file (default: full)
  --uefi             boot from the disk by UEFI firmware (default: start the kernel directly)
  --append WORDS     add to the kernel's command line (not with --uefi)
  --memory SIZE      memory, such as 512M or 2G (default: 1G)
  --smp N            processors (default: 1; with KVM those of this machine, at most 4)
  --port HOST:GUEST  forward a TCP port of this machine (127.0.0.1) to the guest; can be repeated
  --snapshot         forget everything that the guest writes to its disk
  --gdb              wait for a debugger on port 1234 before the first instruction
  --accel NAME       kvm, tcg (emulation) or auto (default: KVM when it works here)
  --build            check for changes and build even when the image is there
  --no-build         build nothing
  --dry-run          print the QEMU command, build and boot nothing
  --help             print this text

The disk keeps what the guest writes until the image is built anew. Ctrl-A X ends QEMU.
USAGE
}

say() { printf 'run.sh: %s\n' "$1" >&2; }

# stop STATUS MESSAGE HINT
stop() {
    say "$2"
    printf 'hint: %s\n' "$3" >&2
    exit "$1"
}

arch=
profile=full
boot=kernel
append=
memory=1G
smp=
ports=
snapshot=()
gdb=()
accel=auto
build=missing
dry_run=false
extra=()

parse_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --profile | --append | --memory | --smp | --port | --accel)
                [ $# -ge 2 ] || stop 2 "$1 needs a value" "see ./run.sh --help"
                set_value "$1" "$2"
                shift
                ;;
            --uefi) boot=uefi ;;
            --snapshot) snapshot=(-snapshot) ;;
            # On the loopback address alone: whoever reaches the port owns the guest.
            --gdb) gdb=(-gdb tcp:127.0.0.1:1234 -S) ;;
            --build) build=always ;;
            --no-build) build=never ;;
            --dry-run) dry_run=true ;;
            --help | -h) usage && exit 0 ;;
            --)
                shift
                extra=("$@")
                break
                ;;
            -*) stop 2 "unknown option $1" "see ./run.sh --help" ;;
            *)
                [ -z "$arch" ] || stop 2 "one architecture at a time, and not \`$arch\` and \`$1\`" "./run.sh $arch"
                arch=$1
                ;;
        esac
        shift
    done
    [ "$boot" = kernel ] || [ -z "$append" ] ||
        stop 2 "--append does not go with --uefi: firmware starts the kernel with its built-in command line" "leave one of them out"
}

# set_value OPTION VALUE
set_value() {
    case $1 in
        --profile) profile=$2 ;;
        --append) append=$2 ;;
        --memory) memory=$(matching "$1" "$2" '^[1-9][0-9]*[MG]?$' '512M or 2G') ;;
        --smp) smp=$(matching "$1" "$2" '^[1-9][0-9]*$' 2) ;;
        --accel) accel=$(matching "$1" "$2" '^(kvm|tcg|auto)$' 'kvm, tcg or auto') ;;
        --port)
            matching "$1" "$2" '^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$' 8080:80 >/dev/null
            if [ "${2%:*}" -gt 65535 ] || [ "${2#*:}" -gt 65535 ]; then
                stop 2 "--port cannot be \`$2\`: there is no port above 65535" "such as --port 8080:80"
            fi
            ports+=",hostfwd=tcp:127.0.0.1:${2%:*}-:${2#*:}"
            ;;
    esac
}

# matching OPTION VALUE PATTERN EXAMPLE
matching() {
    [[ $2 =~ $3 ]] || stop 2 "$1 cannot be \`$2\`" "such as $1 $4"
    printf '%s' "$2"
}

choose_arch() {
    case $arch in
        x86_64 | amd64) arch=x86_64 ;;
        arm64 | aarch64) arch=arm64 ;;
        '') stop 2 "which architecture?" "./run.sh x86_64, or ./run.sh --help" ;;
        *) stop 2 "unknown architecture \`$arch\`" "use x86_64 or arm64" ;;
    esac
}

choose_profile() {
    case $profile in
        */* | *.toml)
            [ -f "$profile" ] || stop 2 "there is no profile file $profile" "write one like those in image/profiles/"
            recipe=$(cd "$(dirname "$profile")" && pwd)/$(basename "$profile")
            profile=$(basename "$profile" .toml)
            ;;
        *)
            recipe=$profile
            [ -f "$root/image/profiles/$profile.toml" ] || stop 2 "unknown profile \`$profile\`" "there are $(profiles)"
            ;;
    esac
}

profiles() {
    local files=("$root"/image/profiles/*.toml)
    files=("${files[@]##*/}")
    printf '%s' "${files[*]%.toml}"
}

build_image() {
    local command="BLOOMERY_ARCH=$arch BLOOMERY_PROFILE=$recipe cargo build -p image --release"
    if is_built && [ "$build" != always ]; then return; fi
    if $dry_run; then
        [ "$build" != always ] || return 0
        say "the image is not built yet, so its QEMU command is not known; this would build it:"
        printf '%s\n' "$command"
        exit 0
    fi
    [ "$build" != never ] || stop 1 "there is no image $dir/$profile.qcow2" "$command"
    command -v cargo >/dev/null || stop 1 "cargo is not installed" "./setup.sh says how to get it"
    say "$command"
    # Cargo watches the key alone: a guest changes its disk's time. Without the key, all is laid out again.
    is_built || rm -f "$dir/$profile/key"
    # Standard output is the guest's alone.
    (cd "$root" && BLOOMERY_ARCH=$arch BLOOMERY_PROFILE=$recipe cargo build -p image --release) >&2
    is_built || stop 1 "the build left no $dir/$profile.qcow2" "is BLOOMERY_SKIP set?"
}

is_built() { [ -f "$dir/$profile.qcow2" ] && [ -f "$dir/$profile/qemu.args" ]; }

# Reads an argument file into the array `args`.
read_args() {
    local line in_option
    # A comma in a value of a QEMU option is written twice; arguments that are plain paths are not options.
    while IFS= read -r line; do
        in_option=$dir
        [[ $line != *=* ]] || in_option=${dir//,/,,}
        line=${line//@DIR@/"$in_option"}
        line=${line//@MEMORY@/"$memory"}
        line=${line//@SMP@/"$smp"}
        line=${line//@NETDEV_EXTRA@/"$ports"}
        line=${line//@FIRMWARE@/"${firmware//,/,,}"}
        line=${line//@VARS@/"${vars//,/,,}"}
        args+=("$line")
    done < <(grep -v -e '^#' -e '^$' "$dir/$profile/$1")
}

# Says on standard output why KVM cannot be used, or nothing. A /dev/kvm alone proves nothing: nested ones refuse
# the host's processor or take seconds for the firmware, so a machine without disk is run to its end.
kvm_refusal() {
    local status=0 output host
    host=$(uname -m)
    if [ "${host/aarch64/arm64}" != "$arch" ]; then
        echo "this machine is $host, and KVM runs guests of its own architecture"
        return
    elif [ ! -e /dev/kvm ]; then
        echo "there is no /dev/kvm"
        return
    elif [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
        echo "/dev/kvm is not yours to open; joining the group kvm may help"
        return
    fi
    ulimit -c 0 # An emulator that aborts leaves no core file behind.
    args=()
    read_args qemu-kvm-probe.args
    output=$(printf 'quit\n' | timeout 3 "${args[@]}" 2>&1) || status=$?
    case $status in
        0) ;;
        124) echo "/dev/kvm is slower than emulation" ;;
        *) echo "/dev/kvm does not run a guest: $(printf '%s' "$output" | grep -m 1 error || echo "status $status")" ;;
    esac
}

choose_accel() {
    [ "$accel" != tcg ] || return 0
    local refusal
    refusal=$(kvm_refusal 2>/dev/null) # The shell remarks on standard error when an emulator aborts.
    if [ -z "$refusal" ]; then
        accel=kvm
    elif [ "$accel" = kvm ]; then
        stop 1 "KVM does not work here: $refusal" "--accel tcg, or leave --accel out"
    else
        accel=tcg
        reason=" ($refusal)"
    fi
}

# By emulation every processor costs boot time and few programs gain from it.
choose_smp() {
    [ -z "$smp" ] || return 0
    smp=1
    [ "$accel" = tcg ] || smp=$(($(nproc) < 4 ? $(nproc) : 4))
}

# Finds firmware on this machine, and gives this image a copy of its variables to write to.
choose_firmware() {
    local code template found=
    while IFS=$'\t' read -r code template; do
        [ ! -r "$code" ] || [ ! -r "$template" ] || { found=yes && break; }
    done <"$dir/$profile/qemu-firmware.tsv"
    [ -n "$found" ] || stop 1 "no UEFI firmware is installed" "./setup.sh installs it; known places are in $dir/$profile/qemu-firmware.tsv"
    firmware=$code
    vars=$dir/$profile/uefi-vars.fd
    # Another size is that of another firmware. In a dry run too: the command that it prints is one to use.
    if [ "$(stat -c %s "$vars" 2>/dev/null)" != "$(stat -c %s "$template")" ]; then
        cp "$template" "$vars.$$"
        mv "$vars.$$" "$vars"
    fi
}

# What the kernel gets for --append: on x86_64 it adds that to its built-in line, on arm64 it takes that instead.
command_line() {
    case $arch in
        x86_64) printf '%s' "$append" ;;
        arm64) printf '%s %s' "$(cat "$dir/$profile/cmdline")" "$append" ;;
    esac
}

# An argument as a person would type it. bash's own %q puts a backslash before every comma.
quote() {
    case $1 in
        '' | *[!A-Za-z0-9_./:,=+@%-]*) printf "'%s' " "${1//\'/\'\\\'\'}" ;;
        *) printf '%s ' "$1" ;;
    esac
}

explain() {
    case $accel in
        kvm) say "booting $arch $profile by $boot with KVM" ;;
        tcg) say "booting $arch $profile by $boot by emulation${reason:-}" ;;
    esac
    if [ ${#gdb[@]} != 0 ]; then
        say "waiting for a debugger; in another terminal: gdb -ex 'target remote 127.0.0.1:1234'"
    fi
    say "Ctrl-A X ends QEMU, Ctrl-A C opens its monitor, Ctrl-A A types a Ctrl-A; \`poweroff\` in the guest ends it cleanly"
}

parse_options "$@"
choose_arch
choose_profile
dir=$target/bloomery/$arch
build_image
program=$(head -n 1 "$dir/$profile/qemu.args")
command -v "$program" >/dev/null || stop 1 "$program is not installed" "run ./setup.sh"
firmware='' vars=''
[ "$boot" = kernel ] || choose_firmware
choose_accel
choose_smp
args=()
read_args qemu.args
read_args "qemu-$accel.args"
read_args "qemu-$boot.args"
[ -z "$append" ] || args+=(-append "$(command_line)")
args+=("${snapshot[@]}" "${gdb[@]}" "${extra[@]}")
if $dry_run; then
    for arg in "${args[@]}"; do quote "$arg"; done
    echo
    exit 0
fi
explain
exec "${args[@]}"
