#!/bin/sh
# Give a fresh Debian tree the face of the official python:X-slim image.
# usage: finish.sh TREE PYTHON SOURCES, where SOURCES is the sources.list that stays in the image
set -eu
umask 022
tree=$1 python=$2 sources=$3

inside() {
    chroot "$tree" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin \
        PYTHONDONTWRITEBYTECODE=1 SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@"
}

# As in the official image, sys.prefix is /usr/local and pip installs to its site-packages, with `--prefix` too.
# Debian's own schemes would take /usr/local/lib/…/dist-packages, and PREFIX/local for a prefix.
for name in python python3 "python$python"; do
    ln -s "/usr/bin/python$python" "$tree/usr/local/bin/$name"
done
version=$(inside python -c 'import platform; print(platform.python_version())')
printf 'home = /usr/bin\ninclude-system-site-packages = true\nversion = %s\n' "$version" >"$tree/usr/local/pyvenv.cfg"
mkdir -p "$tree/usr/local/lib/python$python/site-packages"
rm -f "$tree/usr/lib/python$python/EXTERNALLY-MANAGED"

# pip comes from the wheel that Debian ships for ensurepip.
wheels=/usr/share/python-wheels
wheel=$(cd "$tree$wheels" && echo pip-*.whl)
inside python "$wheels/$wheel/pip" install --quiet --no-compile --no-deps --no-index --no-cache-dir \
    --root-user-action=ignore --find-links "$wheels" pip

# Debian compiles at installation, and its bytecode depends on file times; ours is valid whatever they are.
# One process in a fixed order: bytecode may differ with what its process has compiled before.
find "$tree/usr/lib" "$tree/usr/local/lib" -type d -name __pycache__ -prune -exec rm -rf {} +
inside python -m compileall -q --invalidation-mode unchecked-hash \
    "/usr/lib/python$python" "/usr/local/lib/python$python"

# apt stays usable: its sources are the mirror's, and it keeps no downloads, lists or translations.
rm -f "$tree"/etc/apt/sources.list.d/* "$tree/etc/apt/apt.conf.d/99mmdebstrap"
cp "$sources" "$tree/etc/apt/sources.list"
chmod 644 "$tree/etc/apt/sources.list"
cat >"$tree/etc/apt/apt.conf.d/docker-clean" <<'END'
APT::Keep-Downloaded-Packages "false";
APT::AutoRemove::SuggestsImportant "false";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END

sh "$(dirname "$0")/clean.sh" "$tree"
# apt gives these folders to its own user, or not where that one cannot reach the tree: it does so again when used.
mkdir -p "$tree/var/lib/apt/lists/partial" "$tree/var/cache/apt/archives/partial"
