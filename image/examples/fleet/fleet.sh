#!/usr/bin/env bash
# Boots nodes of the profile `fleet` in QEMU from one web server, and reports each when its echo service answers and it has told
# the DHCP server its name. All of it is in namespaces of its own: it needs no root, and leaves nothing behind.
#
# usage: fleet.sh [NODES]    (1 to 8, default 8)
# MEMORY: of a node (default 96M). OUTPUTS: what the build left (default: target/bloomery/ARCH of this checkout).
set -euo pipefail

nodes=${1:-8}
memory=${MEMORY:-96M}
# Seconds without a further node.
silence=${SILENCE:-300}
# Nodes that start at the same time: firmware keeps a processor busy while it waits.
at_once=$(nproc)
here=$(dirname "$(readlink -f "$0")")
case $(uname -m) in
    aarch64) arch=arm64 ;;
    *) arch=x86_64 ;;
esac
outputs=${OUTPUTS:-$here/../../../target/bloomery/$arch}
PATH=$PATH:/usr/sbin:/sbin

stop() {
    printf 'fleet.sh: %s\n' "$1" >&2
    exit 1
}

[[ $nodes == [1-8] ]] || stop "1 to 8 nodes, and not $nodes"
[ -e "$outputs/fleet.efi" ] ||
    stop "there is no $outputs/fleet.efi
hint: BLOOMERY_PROFILE=image/examples/fleet/fleet.toml cargo build -p image --release"
if [ -z "${FLEET_INSIDE:-}" ]; then
    FLEET_INSIDE=1 exec unshare -U -r -n -m -p -f --kill-child --mount-proc "$0" "$@"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"; kill $(jobs -p) 2>/dev/null' EXIT

# A bridge on which the servers are, and a tap for each node.
make_network() {
    ip link set lo up
    ip link add br0 type bridge
    ip address add 192.168.77.1/24 dev br0
    for ((n = 0; n < nodes; n++)); do
        ip tuntap add dev "tap$n" mode tap
        ip link set "tap$n" master br0 up
    done
    ip link set br0 up
}

start_servers() {
    dnsmasq --no-daemon --conf-file="$here/dnsmasq.conf" --dhcp-leasefile="$work/leases" >"$work/dnsmasq.log" 2>&1 &
    python3 -m http.server --bind 192.168.77.1 --directory "$outputs" 80 >"$work/web.log" 2>&1 &
}

# start_node NUMBER
start_node() {
    "$outputs/fleet/run-qemu.sh" --boot http4 --tap "tap$1" --memory "$memory" --snapshot -- \
        -global "virtio-net-pci.mac=52:54:00:77:00:0$1" </dev/null >"$work/node$1.log" 2>&1 &
}

# Whether a node's echo service answers. answers ADDRESS
# shellcheck disable=SC2016 # The inner shell expands it.
answers() {
    timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/7" && echo up >&3 && read -r word <&3 && [ "$word" = up ]' "$1" 2>/dev/null
}

# Whether a node has told its name. is_named NUMBER
is_named() { grep -q "client provides name: node$1\$" "$work/dnsmasq.log"; }

# Starts the nodes, some at a time, and reports every one when it is up; stops when none comes up any more.
run() {
    local up=' ' count=0 started=0 last=$SECONDS n
    while [ "$count" -lt "$nodes" ]; do
        while [ "$started" -lt "$nodes" ] && [ $((started - count)) -lt "$at_once" ]; do
            start_node "$started"
            started=$((started + 1))
        done
        for ((n = 0; n < started; n++)); do
            if [[ $up != *" $n "* ]] && answers "192.168.77.1$n" && is_named "$n"; then
                printf 'node%d 192.168.77.1%d up after %d s\n' "$n" "$n" "$SECONDS"
                up="$up$n "
                count=$((count + 1))
                last=$SECONDS
            fi
        done
        if [ $((SECONDS - last)) -gt "$silence" ]; then
            trap - EXIT
            stop "no further node for $silence s; $work has what servers and nodes said"
        fi
        sleep 0.5
    done
}

make_network
start_servers
run
printf 'all %d nodes are up; %d requests for the file; memory of QEMU in MiB:' "$nodes" "$(grep -c 'GET /fleet.efi' "$work/web.log")"
for pid in $(jobs -p); do
    awk '/^Name:/ { qemu = $2 ~ /^qemu/ } /^VmRSS:/ && qemu { printf " %d", $2 / 1024 }' "/proc/$pid/status"
done
echo
