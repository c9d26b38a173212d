#!/bin/sh
# Make of a fresh Debian tree the image of a database, with an entry point that knows the official image's variables.
# usage: service.sh TREE NAME USER FOLDER SOURCES, where FOLDER holds the data and belongs to USER
set -eu
umask 022
tree=$1 name=$2 user=$3 folder=$4
here=$(dirname "$0")

install -D -m 755 "$here/$name.sh" "$tree/usr/local/bin/docker-entrypoint.sh"
install -D -m 644 "$here/common.sh" "$tree/usr/local/lib/dockyard/common.sh"
mkdir -p "$tree/docker-entrypoint-initdb.d"

# What installation made for one machine: a first database, and the key of a self-signed certificate.
rm -rf "$tree/var/lib/postgresql" "$tree/etc/postgresql" "$tree/var/lib/mysql" "$tree/var/lib/valkey" "$tree/var/lib/redis"
rm -f "$tree/etc/ssl/private/ssl-cert-snakeoil.key" "$tree/etc/ssl/certs/ssl-cert-snakeoil.pem" "$tree/etc/machine-id"
find "$tree/etc/ssl/certs" -xtype l -delete 2>/dev/null || true

# own FOLDER: make a folder that the service alone writes to. A volume that is made from it takes the owner with it.
own() {
    mkdir -p "$tree$1"
    chroot "$tree" chown "$user:$user" "$1"
    chmod "$2" "$tree$1"
}
own "$folder" 0700

case $name in
    postgres)
        own /run/postgresql 0755
        # The compiler of queries is 130 MB for what a service's database never asks for.
        chroot "$tree" dpkg --purge --force-depends libllvm19 libz3-4 >/dev/null
        for program in "$tree"/usr/lib/postgresql/*/bin/*; do
            ln -sf "${program#"$tree"}" "$tree/usr/local/bin/"
        done
        ;;
    mariadb)
        own /run/mysqld 0755
        printf '[mariadbd]\nskip-name-resolve\nskip-log-error\n' >"$tree/etc/mysql/mariadb.conf.d/90-image.cnf"
        sed -i '/^bind-address/d' "$tree/etc/mysql/mariadb.conf.d/50-server.cnf"
        # Compose files in the wild call it by this name.
        printf '#!/bin/sh\nexec mariadb-admin --no-defaults ping --silent\n' >"$tree/usr/local/bin/healthcheck.sh"
        chmod 755 "$tree/usr/local/bin/healthcheck.sh"
        ;;
esac
rm -rf "$tree/var/lib/apt" "$tree/etc/apt"
sh "$here/clean.sh" "$tree"
