#!/bin/sh
# SPDX-License-Identifier: MIT
# A place in memory for memory.toml.  Any user.
#
#   memory.sh up DIRECTORY      makes DIRECTORY/memory, a directory on tmpfs, and the layout
#   memory.sh down DIRECTORY    after unmounting: removes both, and what is in memory
set -eu

here=$(dirname "$(readlink -f "$0")")

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

up() {
    if [ "$(stat --file-system --format=%T /dev/shm)" != tmpfs ]; then
        echo "$0: /dev/shm is not a tmpfs: mount one there" >&2
        exit 1
    fi
    mkdir -p "$directory"
    if [ -e "$directory/memory" ]; then
        echo "$0: $directory: is up already" >&2
        exit 1
    fi
    ln -s "$(mktemp --directory /dev/shm/iomapd-XXXXXX)" "$directory/memory"
    cp "$here/memory.toml" "$directory/"
    echo "iomapd create $directory/memory.toml"
}

is_served() {
    ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF -- "-> $directory/memory.db"
}

down() {
    if [ -L "$directory/memory" ]; then
        place=$(readlink "$directory/memory")
        case $place in
            /dev/shm/iomapd-??????) rm -rf "$place" ;;
            *) echo "$0: $place: not made by this recipe; left alone" >&2 ;;
        esac
    fi
    rm -f "$directory/memory" "$directory/memory.toml" "$directory/memory.db"*
    rmdir --ignore-fail-on-non-empty "$directory"
}

[ $# -eq 2 ] || usage
directory=$(readlink -m "$2")
case $1 in
    up) up ;;
    down)
        if is_served; then
            echo "$0: $directory: the volume is mounted; unmount it first" >&2
            exit 1
        fi
        down
        ;;
    *) usage ;;
esac
