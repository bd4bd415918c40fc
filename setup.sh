#!/bin/sh
# Installs what building and booting Bloomery needs on Debian and Ubuntu; elsewhere it prints what to install.
# Says what it will do before it does it, and does nothing when nothing is missing.
set -eu

# Package, a program of it (or - when it has none), and what it is for. The first part is the list that
# build-support/src/preflight.rs checks before a build (a test compares the two).
packages() {
    sed 's/^ *//' <<'LIST'
        clang-22 clang-22 first compiler
        lld-22 ld.lld-22 first linker
        llvm-22 llvm-ar-22 first binutils
        cmake cmake configures LLVM
        ninja-build ninja builds LLVM
        make make builds musl, busybox and the kernel
        flex flex kernel configuration
        bison bison kernel configuration
        bc bc kernel build
        perl perl kernel build
        python3 python3 LLVM build
        rsync rsync kernel headers
        cpio cpio kernel build
        tar tar unpacks sources
        xz-utils xz unpacks sources
        bzip2 bzip2 unpacks sources
        zstd zstd compresses the kernel
        curl curl downloads sources
        e2fsprogs mke2fs makes the root file system
        qemu-utils qemu-img converts the disk
        libelf-dev - header for the kernel's own tools
        libssl-dev - header for the kernel's own tools
        gcc gcc the linker that cargo calls for its build scripts
        libc6-dev - what that linker links against
        ca-certificates - lets curl trust upstream's addresses
        git git clones the project in tests
        ccache ccache makes a second build of LLVM or the kernel fast
        qemu-system-x86 qemu-system-x86_64 boots the images
        ovmf - UEFI firmware for x86_64
        qemu-system-arm qemu-system-aarch64 boots the arm64 images
        qemu-efi-aarch64 - UEFI firmware for arm64
        qemu-user-static qemu-aarch64-static runs arm64 programs in a chroot
        libncurses-dev - menuconfig
        dosfstools fsck.fat checks the EFI system partition in tests
        gdisk sgdisk checks the partition table in tests
        sbsigntool sbverify checks signatures of EFI programs in tests
        xorriso xorriso writes a CD, where a profile asks for one
        mtools mcopy edits FAT file systems in tests
        gdb-multiarch gdb-multiarch debugs kernels of both architectures
        iproute2 ip makes the networks of tests
        dnsmasq-base dnsmasq serves DHCP and network boots in tests
        radvd radvd sends router advertisements in tests
        rsyslog rsyslogd receives logs in tests
        chrony chronyd serves the time in tests
        crun crun starts containers on board in tests
        nftables nft filters packets on board in tests
        pkg-config pkg-config finds the target's libraries for packages that ask it
        meson meson builds packages that use it, as one of the tests does
        shellcheck shellcheck checks the scripts in CI
LIST
}

usage() {
    cat <<'USAGE'
Install what building and booting Bloomery needs (Debian and Ubuntu; elsewhere: print the list).

usage: ./setup.sh [--dry-run] [--servers]
       ./setup.sh --list | --help

  --dry-run  say what would be done, and do nothing
  --servers  install radvd, rsyslog and chrony too where that starts them as services of this machine
  --list     print every package with its purpose
USAGE
}

say() { printf 'setup.sh: %s\n' "$1"; }

stop() {
    printf 'setup.sh: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

# This checkout, also when a symbolic link leads here.
root=$(dirname -- "$(readlink -f -- "$0")")
# Programs of the system administration lie where an ordinary user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin
dry_run=false
# Debian's packages of these servers start them at each boot, and chrony takes the place of another time service. A container has
# no systemd to do so. Without them the tests that use them are skipped.
servers='radvd rsyslog chrony'
if [ -d /run/systemd/system ]; then with_servers=false; else with_servers=true; fi

has() { command -v "$1" >/dev/null 2>&1; }

# The oldest clang that will do, and the names to look for; as build-support/src/host_clang.rs has them (a test compares).
oldest_clang=21
clang_suffixes='-23 -22 -21 plain -24 -25 -26 -27 -28 -29 -30 -31 -32 -33 -34 -35 -36 -37 -38 -39'

# is_new_enough PROGRAM: whether it is a clang, lld or llvm-ar of that version or a newer one.
is_new_enough() {
    major=$("$1" --version 2>/dev/null | sed -n -e 's/.*version \([0-9][0-9]*\)\..*/\1/p' -e 's/.*LLD \([0-9][0-9]*\)\..*/\1/p' | sed 1q)
    [ "${major:-0}" -ge $oldest_clang ]
}

# has_companion CLANG SUFFIX NAME: beside clang's real file, with its suffix, or plain and new enough.
has_companion() {
    beside=$(dirname "$(readlink -f "$(command -v "$1")")")/$3
    [ -x "$beside" ] || { [ -n "$2" ] && has "$3$2"; } || { has "$3" && is_new_enough "$3"; }
}

# A clang that is new enough, with its lld and binutils, will do by whatever name, whoever installed it.
good_clang() {
    for suffix in $clang_suffixes; do
        [ "$suffix" != plain ] || suffix=
        if has "clang$suffix" && is_new_enough "clang$suffix"; then
            lacking_companion=false
            for name in clang++ ld.lld llvm-ar llvm-ranlib llvm-nm llvm-strip; do
                has_companion "clang$suffix" "$suffix" $name || lacking_companion=true
            done
            $lacking_companion || return 0
        fi
    done
    return 1
}

# missing_packages CHECK: the packages, one a line, that the function CHECK (package, program) does not find.
missing_packages() {
    if good_clang; then compiler=found; else compiler=missing; fi
    packages | while read -r package program _; do
        case $package in
            clang-22 | lld-22 | llvm-22) [ $compiler = missing ] || continue ;;
            radvd | rsyslog | chrony) $with_servers || continue ;;
        esac
        "$1" "$package" "$program" || echo "$package"
    done
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Without dpkg only programs can be looked for.
is_found() { [ "$2" = - ] || has "$2"; }

describe() {
    for package in "$@"; do
        packages | while read -r name _ purpose; do
            [ "$name" != "$package" ] || printf '  %-16s %s\n' "$name" "$purpose"
        done
    done
}

install_packages() {
    # shellcheck disable=SC2046 # One word a package is meant.
    set -- $(missing_packages is_installed)
    if [ $# = 0 ]; then
        say "every package is installed"
        return
    fi
    say "these packages are missing:"
    describe "$@"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        has sudo || stop "installing them needs root, and there is no sudo" "as root: apt-get update && apt-get install $*"
        as_root=sudo
    fi
    say "this will run: ${as_root:+sudo }apt-get update; ${as_root:+sudo }apt-get install -y --no-install-recommends $*"
    ! $dry_run || return 0
    $as_root apt-get update || say "not every package list could be fetched; going on with those that are here"
    check_offered "$@"
    install "$@"
}

# Says which packages this release does not have, before apt stops at the first of them.
check_offered() {
    lacking=
    for package in "$@"; do
        candidate=$(LC_ALL=C apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
        case $candidate in '' | '(none)') lacking="$lacking $package" ;; esac
    done
    case $lacking in
        '') ;;
        *-22*) stop "this release does not offer:$lacking" "https://apt.llvm.org has clang for every release of Debian and Ubuntu" ;;
        *) stop "this release does not offer:$lacking" "use Debian 12 or newer, or Ubuntu 24.04 or newer" ;;
    esac
}

install() {
    # Hooks of packages must not wait for an answer from somebody who may not be there.
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends"
    # A qemu-utils from backports breaks the qemu-system-x86 of this release when the package lists of backports are
    # gone. Apt then refuses to install both, but installs the emulator alone and removes the newer qemu-utils for
    # it. So the emulator may have to come first, and what is missing is asked anew after each step.
    if ! $apt "$@"; then
        say "apt refused; trying qemu-system-x86 by itself, then the rest"
        $apt qemu-system-x86 || stop "apt could not install the packages" "read its messages above"
    fi
    # shellcheck disable=SC2046 # One word a package is meant.
    set -- $(missing_packages is_installed)
    [ $# = 0 ] || $apt "$@" || stop "apt could not install: $*" "read its messages above"
}

print_list() {
    # shellcheck disable=SC2046 # One word a package is meant.
    set -- $(missing_packages is_found)
    say "this is not Debian or Ubuntu; install the like of these packages:"
    packages | while read -r name _ purpose; do printf '  %-16s %s\n' "$name" "$purpose"; done
    say "any clang of version $oldest_clang or newer will do, with its lld and llvm-ar: dnf install clang lld llvm; apk add clang lld llvm; pacman -S clang lld llvm"
    [ $# = 0 ] || stop "programs of these packages were not found: $*" "install them with your system's package manager"
}

# The version that rust-toolchain.toml names, because `std` for PID 1 is built from the library source of that version.
check_rust() {
    wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml")
    if has rustup; then
        case $(rustup toolchain list 2>/dev/null) in
            *"$wanted"*) say "Rust $wanted is installed" ;;
            *)
                say "this will run: rustup toolchain install $wanted --profile minimal --component clippy,rustfmt"
                $dry_run || rustup toolchain install "$wanted" --profile minimal --component clippy,rustfmt
                ;;
        esac
    elif has cargo && has rustc; then
        found=$(rustc --version)
        case $found in
            "rustc $wanted "*) say "Rust $wanted is installed" ;;
            *) stop "Bloomery needs Rust $wanted, and this is $found" "https://rustup.rs installs rustup, which fetches it" ;;
        esac
    else
        stop "Rust is not installed" "https://rustup.rs installs rustup; then run ./setup.sh again"
    fi
}

for option in "$@"; do
    case $option in
        --dry-run) dry_run=true ;;
        --servers) with_servers=true ;;
        --list) packages | while read -r name _ purpose; do printf '%s\t%s\n' "$name" "$purpose"; done && exit 0 ;;
        --help | -h) usage && exit 0 ;;
        *)
            printf 'setup.sh: unknown option %s\nhint: see ./setup.sh --help\n' "$option" >&2
            exit 2
            ;;
    esac
done
if has apt-get && has dpkg-query; then install_packages; else print_list; fi
check_rust
$with_servers || say "without $servers, which would start as services of this machine, some tests are skipped; --servers installs them"
$dry_run || say "ready: cargo build -p image --release, then ./run.sh $(uname -m)"
