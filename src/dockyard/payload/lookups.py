"""Add to the minimal image what Python and the C library look up by path while they run, which no scan can see.

docs/reference/minimal-image.md has a row for each.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .files import CERTIFICATES, copy, inside, resolve_parents

DATA = (
    str(CERTIFICATES),
    "/etc/ssl/openssl.cnf",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/os-release",
    "/etc/debian_version",
    "/etc/protocols",
    "/etc/services",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ld.so.cache",
    "/lib/terminfo",
    "/usr/share/terminfo",
    "/usr/share/zoneinfo",
    "/usr/lib/*/ossl-modules/*.so",
    "/usr/lib/*/gconv/gconv-modules*",
    *(f"/usr/lib/*/gconv/{name}.so" for name in ("CP1252", "ISO8859-1", "ISO8859-15", "UNICODE", "UTF-16", "UTF-32")),
)
"""Certificates and OpenSSL's settings and modules, time zones, terminals, names of networks and kinds of files, and the
few charsets of the C library that others than Unicode's are mostly asked for."""

LOCALES = Path("/usr/lib/locale")
LDCONFIG = Path("/sbin/ldconfig")


def add_data(layer: Path, environment: Mapping[str, str], patterns: Sequence[str] = DATA) -> None:
    """Copy what is looked up by path, and what the environment's locale needs."""
    for pattern in patterns:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            copy(path, layer)
    for name in locale_names(environment):
        for path in find_locale(name):
            copy(path, layer)
    link_openssl(layer)
    add_ldconfig(layer)


def locale_names(environment: Mapping[str, str]) -> list[str]:
    """Return the locales that an environment names, without those that the C library itself has (pure)."""
    names = {value for key, value in environment.items() if key == "LANG" or key.startswith("LC_")}
    return sorted(names - {"", "C", "POSIX"})


def find_locale(name: str, folder: Path = LOCALES) -> list[Path]:
    """Return where the C library has a locale: in a folder of its own, in the archive of many, or in neither."""
    found = [
        path
        for path in sorted(folder.glob("*"))
        if path.is_dir() and normalize_locale(path.name) == normalize_locale(name)
    ]
    archive = folder / "locale-archive"
    return found or ([archive] if archive.is_file() else [])


def normalize_locale(locale: str) -> str:
    """Return a locale's name as the C library compares it: C.UTF-8 is C.utf8, whatever follows an @ counts (pure)."""
    language, dot, codeset = locale.partition(".")
    codeset, at, modifier = codeset.partition("@")
    return language + dot + re.sub(r"[^a-z0-9]", "", codeset.lower()) + at + modifier


def link_openssl(root: Path) -> None:
    """Name certificates and settings as OpenSSL looks for them, by file: no folder of hashed links is needed."""
    import ssl

    wanted = Path(ssl.get_default_verify_paths().openssl_cafile)
    for link, path in ((wanted, CERTIFICATES), (wanted.parent / "openssl.cnf", Path("/etc/ssl/openssl.cnf"))):
        there = inside(root, link)
        if not os.path.lexists(there) and inside(root, path).exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(path)


def add_ldconfig(root: Path) -> None:
    """Write the program that answers for the linker's cache."""
    path = inside(root, resolve_parents(LDCONFIG))
    path.parent.mkdir(parents=True, exist_ok=True)
    program = (Path(__file__).parent / "ldconfig.py").read_text("utf-8")
    path.write_text(f"#!{Path(sys.executable).resolve()} -IS\n{program}", "utf-8")
    path.chmod(0o755)
