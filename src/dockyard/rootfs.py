"""Assemble the layers of a minimal image out of a base image's own files.

This one file runs inside a build stage, so it imports the standard library only and nothing of Dockyard:

    python rootfs.py library                     # no layer: bytecode for this Python's own library
    python rootfs.py runtime LAYER               # Python, its standard library and what these load
    python rootfs.py packages LAYER FOLDER       # installed packages, and libraries the runtime lacks
    python rootfs.py application LAYER FOLDER    # source code

Files keep their path and links stay links, so that the layers work at once as `FROM scratch`. Every layer
depends on its content alone: bytecode is checked by no time (PEP 552), modes follow the executable bit,
and every file carries one fixed time. No exporter has to rewrite anything for two builds to be identical.
"""

import argparse
import compileall
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
from pathlib import Path
from py_compile import PycInvalidationMode

USER = 65532
TIME = 315_532_800
"""1980-01-01, in seconds: the earliest time that a zip archive can hold too."""
ELF = b"\x7fELF"
PRIVILEGED = stat.S_ISUID | stat.S_ISGID
"""Bits that give whoever runs a program the rights of its owner."""
UNWANTED = {
    "__pycache__", "config", "dist-packages", "ensurepip", "idlelib", "pip", "site-packages",
    "test", "tests", "tkinter", "turtledemo", "EXTERNALLY-MANAGED",
}  # fmt: skip
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DATA = (
    str(CERTIFICATES),
    "/etc/ssl/openssl.cnf",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/debian_version",
    "/etc/protocols",
    "/etc/services",
    "/usr/share/zoneinfo",
)
"""Certificates, time zones and the small tables that the standard library reads by path."""
LINKER = re.compile(r"^\s*(/\S+) \(0x", re.MULTILINE)
LOADED = re.compile(r"(/\S+) \(0x")
LOST = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
"""Lines of ldd and of the dynamic linker: the linker itself, a library that is found, and one that is not."""
BY_NAME = ("libgcc_s.so.1",)
"""Libraries that glibc opens by name at run time: thread cancellation needs this one."""
FEW = 20
"""Files that one process compiles in less time than several take to start."""
DPKG = Path("/var/lib/dpkg")
STATUS = Path("/var/lib/dpkg/status.d")
"""Where scanners look for the packages of an image that has no package manager: a file for each."""
FIELDS = ("Package", "Status", "Priority", "Section", "Maintainer", "Architecture", "Source", "Version", "Homepage")
GENERATED = {str(CERTIFICATES): "ca-certificates"}
"""Files that a package makes when it is installed, and so does not list."""


def main(arguments: list[str]) -> int:
    """Make one layer; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command, (_, operands) in COMMANDS.items():
        subparser = commands.add_parser(command)
        for operand in operands:
            subparser.add_argument(operand, type=Path)
    options = vars(parser.parse_args(arguments))
    make, names = COMMANDS[options["command"]]
    folders = [options[name] for name in names]
    for layer in folders[:1]:
        layer.mkdir(parents=True, exist_ok=True)
    make(*folders)
    for layer in folders[:1]:
        settle(layer)
    return 0


def compile_library() -> None:
    """Compile the standard library, and pip, where they lie: every later step that runs Python starts sooner."""
    for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}:
        compile_bytecode(Path(folder), strict=False, keep=True)


def make_runtime(layer: Path) -> None:
    """Fill `layer` with an interpreter, its standard library with bytecode, and a numeric user to run as."""
    for link in ("/bin", "/sbin", "/lib", "/lib64"):
        copy(Path(link), layer, follow=False)
    for program in interpreter():
        copy(program, layer)
    library = Path(sysconfig.get_path("stdlib"))
    copy_library(library, layer)
    for found in libraries(runtime_objects()):
        copy(found, layer)
    for name in DATA:
        if os.path.lexists(name):
            copy(Path(name), layer)
    record_packages(layer)
    trust_certificates(layer)
    make_user(layer)
    copy_bytecode(library, layer)
    compile_bytecode(inside(layer, library), layer, keep=True)


def make_packages(layer: Path, folder: Path) -> None:
    """Compile the packages in `folder`, put them into `layer`, and with them what the runtime lacks.

    What the runtime has is found out anew, where that matters, so that no stage has to wait for its layer.
    """
    compile_bytecode(folder, strict=False)
    objects = sorted(path for path in folder.rglob("*.so*") if is_elf(path))
    needed = [found for found in libraries(objects) if not found.is_relative_to(folder)]
    present = {resolve_parents(found) for found in libraries(runtime_objects())} if needed else set()
    for found in needed:
        if resolve_parents(found) not in present:
            copy(found, layer)
    record_packages(layer)
    link_tree(folder, layer)


def make_application(layer: Path, folder: Path) -> None:
    """Compile the source code in `folder` and put it into `layer` with modes that no umask has shaped."""
    compile_bytecode(folder)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
    link_tree(folder, layer)


def record_packages(layer: Path) -> None:
    """Write down which Debian packages the files in `layer` come from; layers that say the same agree."""
    paths = ["/" + str(path.relative_to(layer)) for path in layer.rglob("*") if path.is_symlink() or path.is_file()]
    if not paths:
        return
    owners = {**package_files(DPKG), **GENERATED}
    wanted = {owners[path] for path in paths if path in owners}
    stanzas = package_stanzas(DPKG / "status") if wanted else {}
    for name in sorted(wanted & stanzas.keys()):
        target = inside(layer, STATUS) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(stanzas[name], encoding="utf-8")
        target.chmod(0o644)


def package_files(dpkg: Path) -> dict[str, str]:
    """Return the package of every path that dpkg's lists name; links in a path's folders are followed."""
    owners: dict[str, str] = {}
    folders: dict[Path, Path] = {}
    for listing in sorted((dpkg / "info").glob("*.list")):
        for line in listing.read_text(encoding="utf-8").splitlines():
            path = Path(line)
            if path.parent not in folders:
                folders[path.parent] = path.parent.resolve()
            owners[str(folders[path.parent] / path.name)] = listing.stem.partition(":")[0]
    return owners


def package_stanzas(status: Path) -> dict[str, str]:
    """Return what dpkg's status file says of every package, reduced to the fields that name it and its source."""
    found: dict[str, str] = {}
    for stanza in status.read_text(encoding="utf-8").split("\n\n") if status.exists() else ():
        lines = [line for line in stanza.splitlines() if line.partition(":")[0] in FIELDS]
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("Package:")]
        found.update({name: "\n".join(lines) + "\n" for name in names})
    return found


def link_tree(folder: Path, layer: Path) -> None:
    """Put a folder at its own path below `layer`, by hard links, so that nothing is copied."""
    target = inside(layer, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, target, symlinks=True, copy_function=os.link, dirs_exist_ok=True)


def settle(layer: Path) -> None:
    """Give every file, folder and link the same fixed time."""
    for folder, _, names in os.walk(layer, topdown=False):
        for name in (*names, "."):
            os.utime(Path(folder) / name, (TIME, TIME), follow_symlinks=False)
    for path in layer.rglob("*"):
        if path.is_symlink():
            os.utime(path, (TIME, TIME), follow_symlinks=False)


def interpreter() -> Iterator[Path]:
    """Yield every name by which the base image calls this interpreter, and what those names link to."""
    real = Path(sys.executable).resolve()
    versions = {"python", "python3", f"python3.{sys.version_info.minor}"}
    for folder in (Path("/usr/local/bin"), Path("/usr/bin")):
        for name in sorted(versions):
            if (folder / name).exists() and (folder / name).resolve() == real:
                yield folder / name
    yield real


def copy_library(library: Path, root: Path) -> None:
    """Copy the standard library without tests, installers, and modules that need a screen."""

    def unwanted(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == library
        found = {name for name in names if name in UNWANTED or (top and name.startswith("config-"))}
        return found | {name for name in names if name.startswith(("_tkinter.", "_testcapi", "_ctypes_test", "_test"))}

    shutil.copytree(library, inside(root, library), symlinks=True, ignore=unwanted, dirs_exist_ok=True)


def libraries(objects: Iterable[Path]) -> list[Path]:
    """Return the shared libraries, loader included, that the dynamic linker finds for `objects`, sorted."""
    found: set[Path] = set()
    missing: list[str] = []
    elves = [path for path in objects if is_elf(path)]
    ask = linker() if elves else ldd
    for path in elves:
        said = ask(str(path))
        found.update(map(Path, LOADED.findall(said)))
        missing += [f"{path} needs {name}" for name in LOST.findall(said)]
    if missing:
        raise SystemExit(
            "the base image lacks shared libraries:\n  "
            + "\n  ".join(sorted(set(missing)))
            + "\ninstall the Debian packages that hold them in the base stage of the Dockerfile"
        )
    folders = {path.parent for path in found}
    found.update(folder / name for folder in folders for name in BY_NAME if (folder / name).exists())
    return sorted(found)


def ldd(path: str) -> str:
    """Return what ldd says of an object: which libraries it loads, and which of them are not there."""
    return subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout


def linker() -> Callable[[str], str]:
    """Return what asks the dynamic linker itself, in a fifth of ldd's time, and ldd where a library is missing.

    The linker ends without a word then. Which linker it is, ldd says of this interpreter.
    """
    found = LINKER.search(ldd(str(Path(sys.executable).resolve())))
    if not found:
        return ldd

    def ask(path: str) -> str:
        done = subprocess.run([found[1], "--list", path], capture_output=True, text=True, check=False)
        return ldd(path) if done.returncode else done.stdout

    return ask


def runtime_objects() -> list[Path]:
    """Return what the runtime has that loads libraries: the interpreter, and the standard library's own."""
    return [Path(sys.executable).resolve(), *Path(sysconfig.get_path("stdlib")).rglob("*.so")]


def copy(source: Path, root: Path, *, follow: bool = True) -> None:
    """Copy a file, folder or link to the same path below `root`; what a link names is copied too."""
    source = resolve_parents(source)
    target = inside(root, source)
    if source.is_symlink():
        if os.path.lexists(target):
            return  # already followed: two links that name each other's folder would go round for ever
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.readlink())
        pointed = (source.parent / source.readlink()).absolute()
        if follow and pointed.exists():
            copy(Path(os.path.normpath(pointed)), root)
    elif source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for child in sorted(source.iterdir()) if follow else ():
            copy(child, root)
    elif source.is_file() and not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
        target.chmod(stat.S_IMODE(source.stat().st_mode) & ~PRIVILEGED)


def resolve_parents(path: Path) -> Path:
    """Return `path` with links in its parents resolved, so that /lib/x becomes /usr/lib/x after the merge."""
    return path.parent.resolve() / path.name


def inside(root: Path, path: Path) -> Path:
    """Return where `path` lies below `root`."""
    return root / path.relative_to("/")


def is_elf(path: Path) -> bool:
    """Say whether a file is a program or shared object of this system."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == ELF


def trust_certificates(root: Path) -> None:
    """Name the bundle as OpenSSL looks for it: by file, so that the folder of hashed links is not needed."""
    import ssl

    wanted = ssl.get_default_verify_paths()
    link = inside(root, Path(wanted.openssl_cafile))
    if not os.path.lexists(link) and inside(root, CERTIFICATES).exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(CERTIFICATES)


def make_user(root: Path) -> None:
    """Write the accounts root and nonroot, and the few folders that every process may expect."""
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/tmp:/sbin/nologin\n"
    )
    (etc / "group").write_text(f"root:x:0:\nnonroot:x:{USER}:\n")
    for name, mode in (
        ("tmp", 0o1777),
        ("root", 0o700),
        ("run", 0o755),
        ("proc", 0o755),
        ("sys", 0o755),
        ("dev", 0o755),
    ):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)


def copy_bytecode(library: Path, root: Path) -> None:
    """Copy the bytecode that lies beside the standard library's files, for those that were copied."""
    for source in python_files(inside(root, library)):
        there = Path(cache_from_source(str(library / source.relative_to(inside(root, library)))))
        if there.is_file():
            target = Path(cache_from_source(str(source)))
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(there, target)


def compile_bytecode(folder: Path, root: Path | None = None, *, strict: bool = True, keep: bool = False) -> None:
    """Compile a folder to bytecode that never depends on a file's time (PEP 552).

    With `root`, tracebacks will name the files as if it were /. Some packages ship files that are no Python
    of this version, templates for instance: `strict` says whether that is an error. `keep` leaves bytecode that fits.
    """
    wanted = [path for path in python_files(folder) if not (keep and fits(Path(cache_from_source(str(path))), path))]
    if not compile_files(wanted, root, quiet=1 if strict else 2) and strict:
        raise SystemExit(f"the Python files named above do not compile: see {folder}")


def compile_files(sources: Sequence[Path], root: Path | None, *, quiet: int) -> bool:
    """Compile files, many of them in several processes; return whether all were Python."""
    work = partial(
        compileall.compile_file,
        quiet=quiet,
        force=True,
        stripdir=str(root) if root else None,
        prependdir="/" if root else None,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    if len(sources) <= FEW:
        done = [work(source) for source in sources]
    else:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor() as pool:
            done = list(pool.map(work, sources, chunksize=FEW))
    return all(done)


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the source files below a folder."""
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in sorted(names) if name.endswith(".py"))


def fits(compiled: Path, source: Path) -> bool:
    """Say whether a file is this Python's bytecode of a source, and valid at all times."""
    head = MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(source.read_bytes())
    try:
        with compiled.open("rb") as file:
            return file.read(16) == head
    except OSError:
        return False


COMMANDS: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
    "library": (compile_library, ()),
    "runtime": (make_runtime, ("layer",)),
    "packages": (make_packages, ("layer", "folder")),
    "application": (make_application, ("layer", "folder")),
}
"""What can be asked for: what does it, and the folders that it needs, the new layer first."""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
