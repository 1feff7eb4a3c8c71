#!/bin/sh
# Runs a program of an image without Gristmill, as root, so that results can be compared with what a network made: plain tar
# unpacks the layers into one folder, and chroot runs the program there.
#
#   direct.sh unpack ARCHIVE ROOT BLOB...               the layers, the lowest first, each by its SHA-256
#   direct.sh run ROOT IN OUT [NAME=VALUE...] PROGRAM [ARG...]  the program finds the folder IN as /iexec_in and OUT as /iexec_out
set -eu

# Takes away what the layer says is gone: `.wh.NAME` the file NAME below, `.wh..wh..opq` all that is in the folder.
forget() {
    root=$1 mark=$2
    folder=$root/$(dirname "$mark")
    name=$(basename "$mark")
    case $name in
    .wh..wh..opq) [ ! -d "$folder" ] || find "$folder" -mindepth 1 -delete ;;
    *) rm -rf "$folder/${name#.wh.}" ;;
    esac
}

unpack() {
    archive=$1 root=$2
    shift 2
    mkdir -p "$root"
    blobs=$(mktemp -d)
    trap 'rm -rf "$blobs"' EXIT
    for blob; do
        tar -C "$blobs" -xf "$archive" "blobs/sha256/$blob"
        layer=$blobs/blobs/sha256/$blob
        printf '%s  %s\n' "$blob" "$layer" | sha256sum --check --quiet
        tar -tf "$layer" | grep -E '(^|/)\.wh\.[^/]*$' | while IFS= read -r mark; do forget "$root" "$mark"; done
        tar -C "$root" --numeric-owner --exclude='.wh.*' -xpf "$layer"
        rm "$layer"
    done
}

run() {
    exec unshare --mount --pid --net --ipc --fork --kill-child --propagation private sh "$0" inside "$@"
}

# In namespaces of its own: what is mounted here is gone with the program.
inside() {
    root=$1
    mkdir -p "$root/proc" "$root/dev" "$root/tmp" "$root/iexec_in" "$root/iexec_out"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$root/dev/${device%:*}" c 1 "${device#*:}"
    done
    mkdir -m 1777 "$root/dev/shm"
    mount --bind "$2" "$root/iexec_in"
    mount --bind "$3" "$root/iexec_out"
    shift 3
    cd /
    exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        IEXEC_IN=/iexec_in IEXEC_OUT=/iexec_out "$@"
}

command=$1
shift
case $command in
unpack | run | inside) "$command" "$@" ;;
*)
    echo "direct.sh: there is no command \`$command\`" >&2
    exit 2
    ;;
esac
