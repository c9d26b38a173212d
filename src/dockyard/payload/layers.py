"""Make the layers of a minimal image out of a base image's own files.

Files keep their path and links stay links, so that the layers work at once as `FROM scratch`. Every layer
depends on its content alone: bytecode is checked by no time (PEP 552), modes follow the executable bit,
and every file carries one fixed time. No exporter has to rewrite anything for two builds to be identical.
"""

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import bytecode
from .files import CERTIFICATES, UNWANTED_MODULES, add_tree, copy, find_objects, inside, resolve_parents, settle

USER = 65532
UNWANTED = {
    "__pycache__", "config", "dist-packages", "ensurepip", "idlelib", "pip", "site-packages",
    "test", "tests", "tkinter", "turtledemo", "EXTERNALLY-MANAGED",
}  # fmt: skip
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
ASSIGNED = re.compile(
    r"^\w*version\w*\s*(?::[^=\n]*)?=\s*(?:\w+\s*=\s*)*['\"](\d[^'\"]*)['\"]", re.MULTILINE | re.IGNORECASE
)
MODULE = """\
# Written when the image was built, in the names that setuptools_scm, hatch-vcs and versioneer use.
version = __version__ = {version!r}
version_tuple = __version_tuple__ = {parts!r}
commit_id = __commit_id__ = None


def get_versions():
    return {{"version": version, "full-revisionid": None, "dirty": False, "error": None, "date": None}}
"""


def compile_library(program: Path = Path(__file__).parent) -> None:
    """Compile the standard library, pip and this program where they lie: every later step starts sooner.

    The program's bytecode counts for its very source. Where it is mounted into the step, it stays as it is.
    """
    for folder in {library_folder("stdlib"), library_folder("purelib")}:
        bytecode.compile_folder(folder, keep=True)
    for source in sorted(program.glob("*.py")) if os.access(program, os.W_OK) else ():
        bytecode.write_checked(source)


def library_folder(scheme: str) -> Path:
    """Return where Python's own library lies (stdlib), or what is installed beside it (purelib)."""
    import sysconfig  # every build of a changed line waits for what this module imports

    return Path(sysconfig.get_path(scheme))


def make_runtime(
    layers: Path, keep: str = "", folder: Sequence[Path] = (), writable: Sequence[Path] = (), *, library: bool = False
) -> None:
    """Make a layer of an interpreter, its library and what else it needs, and one of folders that a service writes to.

    The second is made with an owner by `COPY --chown`. With `library` that is apart: layers are packed side by side.
    """
    from .libraries import add_runtime_libraries, this_base  # most applications have nothing that needs a library

    runtime = layers / "runtime"
    kept = [path for pattern in keep.split(":") if pattern for path in matches(pattern)]
    fill_runtime(runtime)
    keep_files(runtime, kept)
    add_runtime_libraries(runtime, kept, this_base())
    if library:
        path = library_folder("stdlib")
        inside(layers / "library", path.parent).mkdir(parents=True)
        inside(runtime, path).rename(inside(layers / "library", path))
        settle(layers / "library")
    for layer, folders in ((runtime, folder), (layers / "writable", writable)):
        for path in folders:
            inside(layer, path).mkdir(parents=True, exist_ok=True)
        settle(layer)


def fill_runtime(layer: Path) -> None:
    """Fill `layer` with an interpreter, its standard library with bytecode, and a numeric user to run as."""
    layer.mkdir(parents=True, exist_ok=True)
    for link in ("/bin", "/sbin", "/lib", "/lib64"):
        copy(Path(link), layer, follow=False)
    for program in interpreter():
        copy(program, layer)
    library = library_folder("stdlib")
    copy_library(library, layer)
    add_data(layer, os.environ)
    make_user(layer)
    copy_bytecode(library, layer)
    bytecode.compile_folder(inside(layer, library), at=library, keep=True)


def make_application(layer: Path, folder: Path) -> None:
    """Put the source code in `folder` into `layer`, with bytecode, and with modes that no umask has shaped.

    The folder, or what is in it, may be a mount that nothing can be written to.
    """
    add_tree(folder, layer)
    there = inside(layer, folder)
    bytecode.compile_folder(there, at=folder)
    for path in (there, *there.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
    if any(find_objects(str(folder))):
        from .libraries import add_libraries, this_base

        add_libraries([layer], folder, this_base(), alone=False)  # the environment is in another stage
    settle(layer)


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
        return found | {name for name in names if name.startswith(UNWANTED_MODULES)}

    shutil.copytree(library, inside(root, library), symlinks=True, ignore=unwanted, dirs_exist_ok=True)


def copy_bytecode(library: Path, root: Path) -> None:
    """Copy the bytecode that lies beside the standard library's files, for those that were copied."""
    for source in bytecode.python_files(inside(root, library)):
        there = bytecode.cache(library / source.relative_to(inside(root, library)))
        if there.is_file():
            target = bytecode.cache(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(there, target)


def make_user(root: Path) -> None:
    """Write the accounts root and nonroot, and the few folders that every process may expect."""
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/tmp:/sbin/nologin\n"
    )
    (etc / "group").write_text(f"root:x:0:\nnonroot:x:{USER}:\n")
    folders = {"tmp": 0o1777, "root": 0o700, "run": 0o755, "proc": 0o755, "sys": 0o755, "dev": 0o755}
    for name, mode in folders.items():
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)


def matches(pattern: str) -> list[Path]:
    """Return what a pattern means in the base image; end the build where that is nothing."""
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    if not found:
        raise SystemExit(
            f"keep: nothing in the base image matches {pattern}\n"
            "correct it in [tool.dockyard], or install the Debian package that holds it in the base stage"
        )
    return found


def keep_files(layer: Path, paths: Sequence[Path]) -> None:
    """Copy what no scan finds, Python files with bytecode of their own."""
    for path in paths:
        copy(path, layer)
    for path in map(resolve_parents, paths):
        there = inside(layer, path)
        if there.is_dir():
            for cache in [*there.rglob("__pycache__")]:
                shutil.rmtree(cache)
            bytecode.compile_folder(there, at=path)
        elif there.suffix == ".py":
            bytecode.compile_file(there, path)


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


def write_metadata(name: str, version: str, project: Path | None, file: list[Path]) -> None:
    """Write the metadata of a project into the current folder, where imports begin, and its version into files."""
    version = read_version(project) if project else version
    folder = Path(f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}.dist-info")
    folder.mkdir(exist_ok=True)
    folder.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    for path in file:
        text = MODULE.format(version=version, parts=split_version(version)) if path.suffix == ".py" else f"{version}\n"
        path.write_text(text, "utf-8")


def read_version(path: Path) -> str:
    """Return the version that a file says: pyproject.toml, setup.cfg, or a module that assigns it."""
    import configparser
    import tomllib

    text = path.read_text("utf-8")
    if path.suffix == ".toml":
        document = tomllib.loads(text)
        said = document.get("project", {}).get("version") or document.get("tool", {}).get("poetry", {}).get("version")
    elif path.suffix == ".cfg":
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(text)
        said = parser.get("metadata", "version", fallback="")
    else:
        found = ASSIGNED.search(text)
        said = found[1] if found else ""
    if not said:
        raise SystemExit(f"{path.name} does not say the project's version: run `dockyard init --diff`")
    return str(said)


def split_version(version: str) -> tuple[int | str, ...]:
    """Return a version's parts as setuptools_scm does: 1.2+4.gabc is (1, 2, "4.gabc")."""
    public, _, local = version.partition("+")
    parts = [int(part) if part.isdecimal() else part for part in public.split(".")]
    return (*parts, *([local] if local else []))
