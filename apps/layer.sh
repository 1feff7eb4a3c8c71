#!/bin/sh
# Makes the folder of a layer; `cargo xtask apps images` calls it, as root.
#
#   layer.sh install BASE WORK CACHE PACKAGE...  WORK/upper becomes what installing the packages changes in BASE
#   layer.sh clean ROOT                          takes away what is of no use in an image, or other each time
#
# `install` mounts: call it in a mount namespace of its own (unshare --mount), so that nothing stays mounted whatever happens.
# CACHE keeps the package lists and packages between calls.
set -eu

clean() {
    root=$1
    # A task gets devices of its own.
    rm -rf "$root"/dev/*
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/tmp/* "$root"/run/*
    mkdir -p "$root"/var/lib/apt/lists/partial "$root"/var/cache/apt/archives/partial
    find "$root/var/log" -type f -delete
    rm -f "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
    rm -f "$root"/etc/machine-id "$root"/var/lib/dbus/machine-id "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- \
        "$root"/etc/gshadow-
    # Of the machine that builds.
    rm -f "$root"/etc/resolv.conf "$root"/etc/hostname
    find "$root" -xdev -depth -type d -name __pycache__ -exec rm -rf {} +
}

install() {
    base=$1 work=$2 cache=$3
    shift 3
    root=$work/merged
    mkdir -p "$work/upper" "$work/overlay" "$root" "$cache/lists" "$cache/archives/partial"
    # A folder that is only said to be moved, or a file of which only the mode is there, is no layer.
    mount -t overlay overlay \
        -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/overlay,redirect_dir=off,metacopy=off,index=off" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$root/dev/${device%:*}" c 1 "${device#*:}"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mount --bind "$cache/lists" "$root/var/lib/apt/lists"
    mount --bind "$cache/archives" "$root/var/cache/apt/archives"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # Nobody starts a service in a chroot.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    chroot "$root" apt-get -qq -o APT::Sandbox::User=root update
    # Licences stay, the rest of the documentation does not.
    chroot "$root" apt-get -qq -y --no-install-recommends -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-unsafe-io \
        -o 'Dpkg::Options::=--path-exclude=/usr/share/doc/*' -o 'Dpkg::Options::=--path-include=/usr/share/doc/*/copyright' \
        -o 'Dpkg::Options::=--path-exclude=/usr/share/man/*' -o 'Dpkg::Options::=--path-exclude=/usr/share/info/*' \
        -o 'Dpkg::Options::=--path-exclude=/usr/share/locale/*' \
        install "$@" >"$work/apt.log" 2>&1 || {
        cat "$work/apt.log" >&2
        exit 1
    }
    rm -f "$root/usr/sbin/policy-rc.d"
    umount "$root/var/cache/apt/archives" "$root/var/lib/apt/lists" "$root/dev" "$root/proc"
    clean "$root"
    umount "$root"
}

command=$1
shift
case $command in
install | clean) "$command" "$@" ;;
*)
    echo "layer.sh: there is no command \`$command\`" >&2
    exit 2
    ;;
esac
