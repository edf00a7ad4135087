#!/bin/sh
# SPDX-License-Identifier: MIT
# Checks this tree on another Debian release: installs it into a folder (debootstrap), copies the tree's
# own files there, and runs ./run with these words inside.
#
#     tests/debian.sh [SUITE [DIRECTORY [WORD…]]]     default: trixie, a new temporary folder, build
#
# Needs root, debootstrap and about 3 GB. A folder of an earlier run is used again.
set -eu
suite=${1:-trixie}
root=${2:-$(mktemp -d)}
[ $# -le 2 ] && set -- "$suite" "$root" build
shift 2
top=$(cd "$(dirname "$0")/.." && pwd)

if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
    echo "needs root and debootstrap (apt-get install debootstrap)" >&2
    exit 2
fi
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase "$suite" "$root"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/src"
(cd "$top" && PYTHONPATH=tests/lint python3 -B -c 'import tree; print(*tree.files(), sep="\n")' | tar -T - -cf -) |
    tar -C "$root/src" -xf -

# Mounts live in a namespace of their own and end with the command.
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --mount sh -euc '
    root=$1
    shift
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /src/run "$@"' sh "$root" "$@"
