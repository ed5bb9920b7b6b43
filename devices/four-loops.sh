#!/bin/sh
# SPDX-License-Identifier: MIT
# Four loop devices over sparse files, for four-loops.toml.  Root only.
#
#   four-loops.sh up DIRECTORY      makes DIRECTORY with files, loop devices, links, layout
#   four-loops.sh down DIRECTORY    after unmounting: detaches the devices, removes all that up made
#
# Loop devices get whatever number is free; DIRECTORY/loop0 to loop3 are links to them.
set -eu

size=1G
here=$(dirname "$(readlink -f "$0")")

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

up() {
    mkdir -p "$directory"
    if [ -e "$directory/four-loops.toml" ]; then
        echo "$0: $directory: is up already" >&2
        exit 1
    fi
    # Half a set of devices helps nobody.
    trap down EXIT
    for i in 0 1 2 3; do
        truncate --size=$size "$directory/backing$i"
        device=$(losetup --find --show "$directory/backing$i")
        ln -s "$device" "$directory/loop$i"
    done
    cp "$here/four-loops.toml" "$directory/"
    trap - EXIT
    echo "iomapd create $directory/four-loops.toml"
}

is_served() {
    ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF -- "-> $directory/four-loops.db"
}

down() {
    for i in 0 1 2 3; do
        # By the file, not by the link: the number may be somebody else's by now.
        losetup --noheadings --output NAME --associated "$directory/backing$i" 2>/dev/null |
            while read -r device; do
                losetup --detach "$device"
            done
        rm -f "$directory/loop$i" "$directory/backing$i"
    done
    rm -f "$directory/four-loops.toml" "$directory/four-loops.db"*
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
