#!/bin/sh
# Boots an image in QEMU with its console on this terminal, and builds it first when it is missing: `cargo bloomery run`
# from any directory and by a symbolic link.
set -eu

root=$(dirname -- "$(readlink -f -- "$0")")
from=$PWD
if ! command -v cargo >/dev/null; then
    printf 'run.sh: cargo is not installed\nhint: ./setup.sh says how to get it\n' >&2
    exit 1
fi
# A relative one counts from here, and cargo runs elsewhere.
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    CARGO_TARGET_DIR=$(realpath -ms -- "$CARGO_TARGET_DIR")
    export CARGO_TARGET_DIR
fi
# Cargo is silent, unless it has to compile the program, which takes a while.
quiet=
program=${CARGO_TARGET_DIR:-$root/target}/release/bloomery
if [ -x "$program" ]; then
    newer=$(cd -- "$root" && find bloomery/src system/src disk/src vendor/src build-support/src -newer "$program" -type f -print -quit) || newer=unknown
    [ -n "$newer" ] || quiet=--quiet
fi
# rustup chooses the compiler by the directory.
cd -- "$root"
exec cargo run ${quiet:+"$quiet"} --release --package bloomery -- -C "$from" run "$@"
