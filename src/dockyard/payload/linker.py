"""Find the shared libraries that programs and extension modules load, by the rules of the dynamic linker.

It is not asked itself: it answers for one object at a time, and calls a library missing that the object's loader, or
another package, brings. Here a whole environment is looked at together, in a fraction of the time.
"""

import os
import struct
import sys
import sysconfig
from collections import defaultdict, deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .elf import Object, read_object

CACHE = Path("/etc/ld.so.cache")
CACHE_MAGIC = b"glibc-ld.so.cache1.1"
HWCAPS = "glibc-hwcaps"
"""Folders of this name hold variants of libraries for processors that can do more."""
GIVEN = {"libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1"}
"""Libraries of a driver, which belong to the machine that a container runs on: its engine mounts them."""
BY_NAME = {"libc.so.6": ("libgcc_s.so.1",)}
"""Libraries that others open by name while they run: the C library needs this one to cancel a thread."""


@dataclass(frozen=True)
class System:
    """Where a system's linker looks: `preferred` folders, its cache of paths by name, and folders that it always tries.

    musl's linker, for one, has no cache, and other rules.
    """

    folders: tuple[str, ...]
    cache: Mapping[str, Sequence[str]] = field(default_factory=dict)
    preferred: tuple[str, ...] = ()
    multiarch: str = ""
    musl: bool = False


@dataclass(frozen=True, order=True)
class Missing:
    """An object, and a library that it needs and that is nowhere: not in the system, nor in the environment."""

    path: str
    library: str


@dataclass(frozen=True)
class Scan:
    """What an environment needs of the system: libraries where the linker finds them, with the objects that need each.

    `foreign` are objects for another C library than the system's, which nothing that the system installs could help.
    """

    needed: Mapping[str, frozenset[str]]
    missing: tuple[Missing, ...] = ()
    foreign: tuple[str, ...] = ()


def scan_libraries(objects: Iterable[str], system: System, interpreter: str) -> Scan:
    """Find what objects need besides each other; what `interpreter` itself has loaded counts for none but programs.

    A library that is one of the objects is there: some package may load it by its path before another asks for it.
    """
    return _Linker(system, interpreter).scan(sorted(set(objects)))


def read_system(interpreter: str = "", cache: Path = CACHE) -> System:
    """Return where the linker looks on the system of a Python, this one's if none is named."""
    program = read_object(interpreter or str(Path(sys.executable).resolve()))
    preferred = tuple(filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")))
    if program and "/ld-musl-" in program.interpreter:
        listing = cache.parent / f"{_base(program.interpreter).partition('.so')[0]}.path"
        words = listing.read_text("utf-8").replace(":", "\n").split() if listing.is_file() else []
        return System(tuple(words) or ("/lib", "/usr/local/lib", "/usr/lib"), preferred=preferred, musl=True)
    multiarch = str(sysconfig.get_config_var("MULTIARCH") or "")
    folders = ("/lib", "/usr/lib", *(("/lib64", "/usr/lib64") if sys.maxsize > 1 << 32 else ()))
    triplets = (f"/lib/{multiarch}", f"/usr/lib/{multiarch}") if multiarch else ()
    known = read_cache(cache.read_bytes()) if cache.is_file() else {}
    return System((*triplets, *folders), known, preferred, multiarch)


def read_cache(data: bytes) -> dict[str, list[str]]:
    """Return the paths of every library in glibc's cache by its name, the one that the linker prefers first."""
    start = data.find(CACHE_MAGIC)  # an older format may stand before it
    found: dict[str, list[str]] = {}
    if start < 0:
        return found
    (count,) = struct.unpack_from("=I", data, start + 20)
    for number in range(count):
        name, path = struct.unpack_from("=4xII12x", data, start + 48 + 24 * number)
        texts = [os.fsdecode(data[start + at : data.index(b"\0", start + at)]) for at in (name, path)]
        found.setdefault(texts[0], []).append(texts[1])
    return found


@dataclass(frozen=True)
class _Loaded:
    """An object in a process, and the folders that its own RPATH and those of its loaders name."""

    path: str
    object: Object
    inherited: tuple[str, ...]


class _Linker:
    """The rules of one system, and what was read of its files, each once."""

    def __init__(self, system: System, interpreter: str) -> None:
        self.system = system
        self.known: dict[str, Object | None] = {}
        self.listings: dict[str, tuple[str, frozenset[str]]] = {}
        self.looked_up: dict[tuple[str, str], tuple[str, ...]] = {}
        program = self.read(interpreter)
        if program is None:
            raise ValueError(f"{interpreter} is no program")
        self.kind = program.kind
        self.interpreter = self.loaded(interpreter, program, ())
        self.present = {name for each in self.load(self.interpreter, ())[0] for name in _names(each.path, each.object)}

    def scan(self, objects: Sequence[str]) -> Scan:
        """Load each object as a process would, first those that no other asks for."""
        read = {path: found for path in objects if (found := self.read(path)) and found.kind == self.kind}
        foreign = tuple(path for path, found in read.items() if self.is_foreign(found))
        own = {path: found for path, found in read.items() if path not in set(foreign)}
        there = {name for path, found in own.items() for name in _names(path, found)} | GIVEN
        asked = {name for found in own.values() for name in found.needed}
        needed: dict[str, set[str]] = defaultdict(set)
        missing: set[Missing] = set()
        reached: set[str] = set()
        for path in sorted(own, key=lambda path: not asked.isdisjoint(_names(path, own[path]))):
            if path in reached:
                continue  # what loads it has told where it finds its libraries
            program = bool(own[path].interpreter)
            root = self.loaded(path, own[path], () if program else self.interpreter.inherited)
            process, lacking = self.load(root, () if program else self.present)
            reached |= {each.path for each in process if each.path in own}
            for each in process:
                if each.path not in own:
                    needed[each.path].add(path)
            missing |= {each for each in lacking if each.library not in there}
        return Scan({path: frozenset(needed[path]) for path in sorted(needed)}, tuple(sorted(missing)), foreign)

    def load(self, root: _Loaded, present: Container[str]) -> tuple[list[_Loaded], list[Missing]]:
        """Return the objects of a process, breadth first as the linker loads them, and what it does not find."""
        process, lacking = [root], []
        names = _names(root.path, root.object)
        waiting = deque(process)
        while waiting:
            each = waiting.popleft()
            by_name = BY_NAME.get(_base(each.path), ())
            for name in filter(None, (each.object.interpreter, *each.object.needed, *by_name)):
                if name in names or name in present:
                    continue
                names.add(name)
                paths = self.resolve(name, each)
                if not paths and name not in by_name:
                    lacking.append(Missing(each.path, name))
                for path in paths:
                    found = self.known[path]
                    assert found is not None  # noqa: S101 - resolve() returns what fits
                    child = self.loaded(path, found, each.inherited)
                    names |= _names(path, found)
                    process.append(child)
                    waiting.append(child)
        return process, lacking

    def resolve(self, name: str, loader: _Loaded) -> tuple[str, ...]:
        """Return where the linker finds a library for an object, and its variants for other processors."""
        if "/" in name:
            folder, _, base = self.expand(name, loader.path).rpartition("/")
            return self.look_up(folder, base)
        run = tuple(self.expand(path, loader.path) for path in loader.object.runpath)
        inherited = loader.inherited if self.system.musl or not run else ()
        default = self.system.folders if loader.object.default_paths else ()
        cached = [path.rpartition("/")[0] for path in self.system.cache.get(name, ())]
        if not default:
            cached = [folder for folder in cached if folder not in self.system.folders]
        first = (self.system.preferred, inherited) if self.system.musl else (inherited, self.system.preferred, run)
        for folder in (*(folder for part in first for folder in part), *cached, *default):
            found = self.look_up(folder, name)
            if found:
                return found
        return ()

    def look_up(self, folder: str, name: str) -> tuple[str, ...]:
        """Return the paths of a library in a folder: as it is, and variants for processors that can do more."""
        key = (folder, name)
        if key not in self.looked_up:
            real, names = self.list(folder)
            variants = self.list(f"{real}/{HWCAPS}")[1] if HWCAPS in names else ()
            places = (real, *(f"{real}/{HWCAPS}/{variant}" for variant in sorted(variants)))
            paths = [f"{place}/{name}" for place in places if name in self.list(place)[1]]
            self.looked_up[key] = tuple(path for path in paths if self.fits(path))
        return self.looked_up[key]

    def list(self, folder: str) -> tuple[str, frozenset[str]]:
        """Return a folder's real path and the names in it, none where it cannot be read."""
        if folder not in self.listings:
            try:
                with os.scandir(folder) as entries:
                    names = frozenset(entry.name for entry in entries)
            except OSError:
                names = frozenset()
            self.listings[folder] = str(Path(folder).resolve()), names
        return self.listings[folder]

    def loaded(self, path: str, found: Object, inherited: tuple[str, ...]) -> _Loaded:
        """Return an object as part of a process; RUNPATH, unlike RPATH, is for the object's own libraries alone."""
        paths = found.rpath or (found.runpath if self.system.musl else ())
        return _Loaded(path, found, (*(self.expand(each, path) for each in paths), *inherited))

    def expand(self, text: str, path: str) -> str:
        """Return a path from an object's headers without the words that stand for others."""
        multiarch = self.system.multiarch
        words = {
            "ORIGIN": path.rpartition("/")[0],
            "LIB": f"lib/{multiarch}" if multiarch else "lib64",
            "PLATFORM": multiarch.partition("-")[0],
        }
        for word, value in words.items():
            text = text.replace(f"${{{word}}}", value).replace(f"${word}", value)
        return text

    def read(self, path: str) -> Object | None:
        """Return what a file says of itself."""
        if path not in self.known:
            self.known[path] = read_object(path)
        return self.known[path]

    def fits(self, path: str) -> bool:
        """Say whether a file can be loaded here; the linker goes on looking where it cannot."""
        found = self.read(path)
        return found is not None and found.kind == self.kind

    def is_foreign(self, found: Object) -> bool:
        """Say whether an object is for another C library than the system has."""
        names = (found.interpreter, *found.needed)
        if self.system.musl:
            return any(name == "libc.so.6" or "/ld-linux" in name for name in names)
        return any("/ld-musl-" in name or name.startswith("libc.musl-") for name in names)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _names(path: str, found: Object) -> set[str]:
    """Return the names by which other objects may ask for one."""
    return {_base(path), found.soname}
