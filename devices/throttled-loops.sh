#!/bin/sh
# SPDX-License-Identifier: MIT
# Four loop devices, each with a rate limit of its own, for throttled-loops.toml.  Root only.
#
#   throttled-loops.sh up DIRECTORY [MIB_PER_SECOND]   makes devices, limits, links, layout
#   throttled-loops.sh run DIRECTORY COMMAND...           runs COMMAND where the limits hold
#   throttled-loops.sh down DIRECTORY                     after unmounting: removes what up made
#
# The limits are the block layer's (CONFIG_BLK_DEV_THROTTLING).  Under cgroup v1 they are
# set on the root group, which holds all tasks that nobody put elsewhere, and buffered
# writes count as well.  Under cgroup v2 the root group has no limits, so a group is made
# and the server must be started in it: "run DIRECTORY iomapd mount ...".
set -eu

size=1G
here=$(dirname "$(readlink -f "$0")")
v1=/sys/fs/cgroup/blkio
v2=/sys/fs/cgroup/iomapd-throttled

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

# Which of the two this machine has; says what is missing if neither.
version() {
    if [ -e $v1/blkio.throttle.read_bps_device ]; then
        echo 1
    elif grep -qsw io /sys/fs/cgroup/cgroup.controllers; then
        echo 2
    else
        echo "$0: this machine limits no block device: it has neither the blkio controller of" \
            "cgroup v1 ($v1/blkio.throttle.*) nor the io controller of cgroup v2" >&2
        return 1
    fi
}

# limit MAJOR:MINOR BYTES_PER_SECOND; 0 bytes: no limit
limit() {
    if [ "$cgroup" = 1 ]; then
        echo "$1 $2" >$v1/blkio.throttle.read_bps_device
        echo "$1 $2" >$v1/blkio.throttle.write_bps_device
    elif [ "$2" = 0 ]; then
        echo "$1 rbps=max wbps=max" >$v2/io.max
    else
        echo "$1 rbps=$2 wbps=$2" >$v2/io.max
    fi
}

up() {
    mkdir -p "$directory"
    if [ -e "$directory/throttled-loops.toml" ]; then
        echo "$0: $directory: is up already" >&2
        exit 1
    fi
    trap down EXIT
    if [ "$cgroup" = 2 ]; then
        echo +io >/sys/fs/cgroup/cgroup.subtree_control
        mkdir -p $v2
    fi
    for i in 0 1 2 3; do
        truncate --size=$size "$directory/backing$i"
        device=$(losetup --find --show "$directory/backing$i")
        ln -s "$device" "$directory/loop$i"
        limit "$(lsblk --noheadings --nodeps --output MAJ:MIN "$device" | tr -d ' ')" \
            $(($1 << 20))
    done
    cp "$here/throttled-loops.toml" "$directory/"
    trap - EXIT
    echo "iomapd create $directory/throttled-loops.toml"
}

run() {
    if [ "$cgroup" = 1 ]; then
        echo $$ >$v1/cgroup.procs
    else
        echo $$ >$v2/cgroup.procs
    fi
    exec "$@"
}

is_served() {
    ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF -- "-> $directory/throttled-loops.db"
}

down() {
    for i in 0 1 2 3; do
        # By the file, not by the link: the number may be somebody else's by now.
        losetup --noheadings --output NAME,MAJ:MIN --associated "$directory/backing$i" \
            2>/dev/null | while read -r device number; do
                limit "$number" 0
                losetup --detach "$device"
            done
        rm -f "$directory/loop$i" "$directory/backing$i"
    done
    # Of another directory's devices the group may still be in use.
    [ "$cgroup" = 1 ] || rmdir $v2 2>/dev/null || true
    rm -f "$directory/throttled-loops.toml" "$directory/throttled-loops.db"*
    rmdir --ignore-fail-on-non-empty "$directory"
}

[ $# -ge 2 ] || usage
action=$1
directory=$(readlink -m "$2")
shift 2
case $action in up | run | down) ;; *) usage ;; esac
cgroup=$(version)
case $action in
    up) up "${1:-100}" ;;
    run) [ $# -ge 1 ] || usage; run "$@" ;;
    down)
        if is_served; then
            echo "$0: $directory: the volume is mounted; unmount it first" >&2
            exit 1
        fi
        down
        ;;
esac
