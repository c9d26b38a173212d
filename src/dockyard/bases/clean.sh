#!/bin/sh
# Take from a fresh Debian tree what was unpacked before dpkg knew what to leave out, and what only says when and
# where the tree was made.
# usage: clean.sh TREE
set -eu
tree=$1

find "$tree/usr/share/doc" -type f ! -name copyright -delete
find "$tree/usr/share/doc" -mindepth 2 -type l -delete
for folder in usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug \
    var/cache/apt var/cache/debconf var/cache/ldconfig var/log tmp; do
    if [ -d "$tree/$folder" ]; then
        find "$tree/$folder" -mindepth 1 ! -type d -delete
    fi
done
find "$tree/usr/share/doc" "$tree/usr/share/locale" -mindepth 1 -type d -empty -delete
rm -rf "$tree/root/.cache" "$tree/var/lib/apt/lists" "$tree/var/cache/apt/archives"
rm -f "$tree"/var/lib/dpkg/*-old "$tree"/etc/*- "$tree/etc/.pwd.lock" "$tree/etc/resolv.conf" "$tree/etc/hostname"
