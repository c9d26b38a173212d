"""The Debian packages that Python packages need: to be compiled, and to run (data, and its reading)."""

from collections.abc import Iterable
from typing import NamedTuple

from dockyard.adopt.model import Dependencies, Found, Libraries
from dockyard.adopt.snapshot import Snapshot

COMPILER = ("gcc", "libc6-dev")
LIBRARY = "/usr/lib/*-linux-gnu*/"


class Needs(NamedTuple):
    """What one Python package needs of Debian's; `keep` are paths that no scan of shared libraries finds."""

    build: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


TABLE: dict[str, Needs] = {
    # These have no wheels for Linux: pip compiles them.
    "mysqlclient": Needs((*COMPILER, "libmariadb-dev", "pkg-config")),
    "psycopg2": Needs((*COMPILER, "libpq-dev")),
    "psycopg-c": Needs((*COMPILER, "libpq-dev")),
    "pycairo": Needs((*COMPILER, "libcairo2-dev", "pkg-config")),
    "python-ldap": Needs((*COMPILER, "libldap2-dev", "libsasl2-dev")),
    "uwsgi": Needs(COMPILER),
    "pygraphviz": Needs((*COMPILER, "libgraphviz-dev")),
    "gdal": Needs((*COMPILER, "g++", "libgdal-dev")),
    "dbus-python": Needs((*COMPILER, "libdbus-1-dev", "pkg-config")),
    "python-snappy": Needs((*COMPILER, "g++", "libsnappy-dev")),
    "xmlsec": Needs((*COMPILER, "libxmlsec1-dev", "pkg-config")),
    # These load a library by its name when they run.
    "python-magic": Needs((), ("libmagic1",), (LIBRARY + "libmagic.so.1", "/usr/share/misc/magic.mgc",
                                               "/usr/lib/file/magic.mgc")),
    "psycopg": Needs((), ("libpq5",), (LIBRARY + "libpq.so.5",)),
    "weasyprint": Needs((), ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core"),
                        (LIBRARY + "libpango-1.0.so.0", LIBRARY + "libpangoft2-1.0.so.0",
                         LIBRARY + "libgobject-2.0.so.0", LIBRARY + "libharfbuzz.so.0",
                         LIBRARY + "libharfbuzz-subset.so.0", LIBRARY + "libfontconfig.so.1",
                         "/etc/fonts/**", "/usr/share/fonts/**", "/usr/share/fontconfig/**")),
    "cairosvg": Needs((), ("libcairo2",), (LIBRARY + "libcairo.so.2",)),
    "pyzbar": Needs((), ("libzbar0",), (LIBRARY + "libzbar.so.0",)),
    "pylibdmtx": Needs((), ("libdmtx0b",), (LIBRARY + "libdmtx.so.0",)),
    "opencv-python": Needs((), ("libgl1", "libglib2.0-0"), (LIBRARY + "libGL.so.1",)),
    "python-sane": Needs((*COMPILER, "libsane-dev")),
    "soundfile": Needs((), ("libsndfile1",), (LIBRARY + "libsndfile.so.1",)),
    "wand": Needs((), ("libmagickwand-7.q16-10",), (LIBRARY + "libMagickWand-7.Q16.so.10",)),
}  # fmt: skip

BROUGHT_BY = {"psycopg": ("psycopg-binary", "psycopg-c")}
"""Packages that bring a library with them, which makes Debian's superfluous."""


def detect_libraries(snapshot: Snapshot, dependencies: Dependencies) -> Found[Libraries]:
    """Return the Debian packages that the dependencies and an Aptfile ask for."""
    named = [
        name
        for name in sorted(dependencies.names & TABLE.keys())
        if not dependencies.names.intersection(BROUGHT_BY.get(name, ()))
    ]
    lines = (line.partition("#")[0].strip() for line in snapshot.text("Aptfile").splitlines())
    apt = tuple(line for line in lines if line and not line.startswith(":") and "/" not in line)
    needs = [TABLE[name] for name in named]
    sources = [*named, *(["Aptfile"] if apt else [])]
    return Found(
        Libraries(
            _once(one for need in needs for one in need.build),
            _once((*(one for need in needs for one in need.run), *apt)),
            _once(one for need in needs for one in need.keep),
        ),
        f"what {', '.join(sources)} need" if sources else "no package that is known to need one",
    )


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
