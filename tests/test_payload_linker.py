"""Libraries as the dynamic linker finds them, in systems and environments of tiny ELF files."""

import os
from pathlib import Path

import pytest

from dockyard.payload.files import find_objects
from dockyard.payload.linker import Missing, Scan, System, read_cache, read_system, scan_libraries
from tests.elf_files import AARCH64, FLAGS_1, I386, S390X, cache_bytes, elf_bytes, write_library, write_program

LOADER = "ld-linux-x86-64.so.2"


class Machine:
    """A system with Python in /usr/bin and libraries in /lib, and an environment, all below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lib, self.site = root / "usr/lib/triplet", root / "venv/site"
        self.loader = self.library(LOADER)
        self.library("libc.so.6", LOADER, soname="libc.so.6")
        self.python = write_program(root / "usr/bin/python3", self.loader, "libc.so.6")
        self.system = System((str(self.lib), str(root / "usr/lib")), multiarch="triplet")

    def library(self, name: str, *needed: str, soname: str = "") -> str:
        """Add a library to the system."""
        return write_library(self.lib / name, *needed, soname=soname or name)

    def scan(self, system: System | None = None) -> Scan:
        """Scan the environment."""
        return scan_libraries(find_objects(str(self.site)), system or self.system, self.python)

    def needed(self, system: System | None = None) -> dict[str, list[str]]:
        """Return what the environment needs of the system, and which of its objects do, by short names."""
        scan = self.scan(system)
        assert scan.missing == ()
        return {
            os.path.relpath(path, self.root / "usr"): sorted(os.path.relpath(each, self.site) for each in objects)
            for path, objects in scan.needed.items()
        }

    def missing(self) -> list[tuple[str, str]]:
        """Return what is missing, by short names."""
        return [(os.path.relpath(each.path, self.site), each.library) for each in self.scan().missing]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a system with a C library and Python."""
    return Machine(tmp_path.resolve())


def test_an_extension_module_needs_libraries_and_what_these_need(machine: Machine) -> None:
    """All the way down; what Python itself has loaded is there already."""
    machine.library("libpq.so.5", "libssl.so.3", "libc.so.6")
    machine.library("libssl.so.3", "libc.so.6")
    write_library(machine.site / "driver/_c.so", "libpq.so.5", "libc.so.6")
    write_library(machine.site / "tls/_tls.so", "libssl.so.3")
    assert machine.needed() == {
        "lib/triplet/libpq.so.5": ["driver/_c.so"],
        "lib/triplet/libssl.so.3": ["driver/_c.so", "tls/_tls.so"],
    }


def test_a_bundled_library_finds_its_neighbours_by_its_loader(machine: Machine) -> None:
    """What auditwheel makes: the module alone has an RPATH, and the libraries beside each other have none."""
    libs = machine.site / "imaging.libs"
    write_library(machine.site / "imaging/_core.so", "libtiff-1a.so.6", rpath="$ORIGIN/../imaging.libs")
    write_library(libs / "libtiff-1a.so.6", "libjpeg-2b.so.62", soname="libtiff-1a.so.6")
    write_library(libs / "libjpeg-2b.so.62", soname="libjpeg-2b.so.62")
    assert machine.needed() == {}


def test_a_bundled_library_wins_over_the_systems(machine: Machine) -> None:
    """Where both have one by that name, the RPATH that is inherited decides, and nothing is needed."""
    machine.library("libjpeg.so.62")
    write_library(machine.site / "imaging/core.so", "libtiff.so.6", rpath="$ORIGIN/bundled")
    write_library(machine.site / "imaging/bundled/libtiff.so.6", "libjpeg.so.62")  # by name it comes first
    write_library(machine.site / "imaging/bundled/libjpeg.so.62")
    assert machine.needed() == {}


def test_runpath_is_for_an_object_alone(machine: Machine) -> None:
    """What it loads does not inherit it, and an object that has one takes no notice of its loader's RPATH."""
    machine.library("libdeep.so.1")
    write_library(machine.site / "_runpath.so", "libmid.so.1", runpath="$ORIGIN/libs")
    write_library(machine.site / "libs/libmid.so.1", "libdeep.so.1")
    write_library(machine.site / "libs/libdeep.so.1")
    assert machine.needed() == {"lib/triplet/libdeep.so.1": ["_runpath.so"]}


def test_runpath_shuts_the_loaders_rpath_out(machine: Machine) -> None:
    """The middle library has a RUNPATH of its own, so its library comes from the system; what that loads inherits."""
    machine.library("libdeep.so.1", "liblast.so.1")
    machine.library("liblast.so.1")
    write_library(machine.site / "_rpath.so", "libmid.so.1", rpath="$ORIGIN/libs")
    write_library(machine.site / "libs/libmid.so.1", "libdeep.so.1", runpath="/nowhere")
    write_library(machine.site / "libs/libdeep.so.1")
    write_library(machine.site / "libs/liblast.so.1")
    assert machine.needed() == {"lib/triplet/libdeep.so.1": ["_rpath.so"]}


@pytest.mark.parametrize(
    ("rpath", "folder"),
    [
        ("$ORIGIN/libs", "venv/site/libs"),
        ("${ORIGIN}/../../own", "own"),
        ("$ORIGIN/$LIB", "venv/site/lib/triplet"),
        ("$ORIGIN/${PLATFORM}", "venv/site/triplet"),
        ("/nowhere:relative:$ORIGIN", "venv/site"),
    ],
)
def test_words_in_paths(machine: Machine, rpath: str, folder: str) -> None:
    """Each stands for a folder; the folders are tried in turn."""
    write_library(machine.root / folder / "libx.so.1")
    write_library(machine.site / "_x.so", "libx.so.1", rpath=rpath)
    assert machine.missing() == []


def test_a_program_needs_its_loader_and_all_else(machine: Machine) -> None:
    """It is started apart from Python, so that what Python has loaded is not there for it."""
    machine.library("libstdc++.so.6", "libc.so.6")
    machine.library("libgcc_s.so.1", "libc.so.6")
    write_program(machine.site / "bin/ninja", machine.loader, "libstdc++.so.6")
    assert machine.needed() == {
        f"lib/triplet/{name}": ["bin/ninja"]
        for name in sorted((LOADER, "libc.so.6", "libgcc_s.so.1", "libstdc++.so.6"))
    }


def test_a_program_without_its_loader(machine: Machine) -> None:
    """It would not even start."""
    write_program(machine.site / "bin/tool", "/absent/ld.so", "libc.so.6")
    assert machine.missing() == [("bin/tool", "/absent/ld.so")]


def test_each_missing_library_is_told_with_what_asks_for_it(machine: Machine) -> None:
    """The asking object may be a library that another loads."""
    write_library(machine.site / "_gl.so", "libGL.so.1", "libnoGL.so.2")
    write_library(machine.site / "_cv.so", "libcv.so.1", rpath="$ORIGIN/libs")
    write_library(machine.site / "libs/libcv.so.1", "libGL.so.1")
    assert machine.missing() == [
        ("_gl.so", "libGL.so.1"),
        ("_gl.so", "libnoGL.so.2"),
        ("libs/libcv.so.1", "libGL.so.1"),
    ]


@pytest.mark.parametrize(("name", "soname"), [("libarrow.so.2300", ""), ("arrow.bin", "libarrow.so.2300")])
def test_a_library_that_another_package_brings_is_there(machine: Machine, name: str, soname: str) -> None:
    """Code of one package loads it before the other's extension asks: by the file's name or the library's own."""
    write_library(machine.site / "arrow" / name, soname=soname)
    write_library(machine.site / "odbc/_driver.so", "libarrow.so.2300")
    assert machine.missing() == []


def test_what_a_library_of_another_package_needs_is_needed(machine: Machine) -> None:
    """Only loaded by code, it is an object like any other."""
    machine.library("libz.so.1")
    write_library(machine.site / "arrow/libarrow.so.2300", "libz.so.1")
    write_library(machine.site / "odbc/_driver.so", "libarrow.so.2300")
    assert machine.needed() == {"lib/triplet/libz.so.1": ["arrow/libarrow.so.2300"]}


def test_libraries_that_need_each_other(machine: Machine) -> None:
    """A circle that nothing else loads is looked at once, and its needs are told."""
    machine.library("libz.so.1")
    write_library(machine.site / "liba.so.1", "libb.so.1", rpath="$ORIGIN")
    write_library(machine.site / "libb.so.1", "liba.so.1", "libz.so.1")
    assert machine.needed() == {"lib/triplet/libz.so.1": ["liba.so.1"]}


@pytest.mark.parametrize("form", [(32, "<", I386), (64, "<", AARCH64), (64, ">", S390X)], ids=str)
def test_objects_for_other_processors(machine: Machine, form: tuple[int, str, int]) -> None:
    """They are not loaded here: neither do they need anything, nor do they serve, though first on the way."""
    right = machine.library("libx.so.1")
    write_library(machine.site / "attach_other.so", "libabsent.so.1", form=form)
    write_library(machine.site / "other/libx.so.1", form=form)
    write_library(machine.site / "_x.so", "libx.so.1", rpath="$ORIGIN/other")
    assert machine.scan() == Scan({right: frozenset({str(machine.site / "_x.so")})})


def test_objects_for_another_c_library(machine: Machine) -> None:
    """Packages may bring variants for musl, which are told apart and miss nothing."""
    first = write_library(machine.site / "binding.musl.node", "libc.musl-x86_64.so.1")
    second = write_program(machine.site / "bin/tool", "/lib/ld-musl-x86_64.so.1", "libabsent.so.1")
    assert machine.scan() == Scan({}, (), tuple(sorted((first, second))))


def test_another_c_library_serves_nobody(machine: Machine) -> None:
    """A library for musl is no stand-in for a missing one."""
    write_library(machine.site / "musl/libx.so.1", "libc.musl-x86_64.so.1")
    write_library(machine.site / "_x.so", "libx.so.1")
    assert machine.missing() == [("_x.so", "libx.so.1")]


def test_the_linkers_cache(machine: Machine) -> None:
    """It has folders that are not tried otherwise; the first of its paths that fits is taken, before the default."""
    machine.library("libown.so.1")
    elsewhere = machine.root / "usr/local/lib"
    for number in (1, 2):
        write_library(elsewhere / str(number) / "libown.so.1")
    write_library(elsewhere / "0/libown.so.1", form=(32, "<", I386))
    write_library(machine.site / "_own.so", "libown.so.1")
    paths = [str(elsewhere / number / "libown.so.1") for number in ("gone", "0", "1", "2")]
    system = System(machine.system.folders, {"libown.so.1": paths})
    assert machine.needed(system) == {"local/lib/1/libown.so.1": ["_own.so"]}


def test_the_order_of_folders(machine: Machine) -> None:
    """First RPATH, then the environment's variable, RUNPATH, the cache, and the default."""
    write_library(machine.site / "_rpath.so", "libx.so.1", rpath=str(machine.root / "usr/rpath"))
    write_library(machine.site / "_runpath.so", "libx.so.1", runpath=str(machine.root / "usr/runpath"))
    cached, preferred = machine.root / "usr/cached/libx.so.1", machine.root / "usr/preferred"
    system = System(machine.system.folders, {"libx.so.1": [str(cached)]}, (str(preferred),))
    for folder in ("lib/triplet", "cached", "runpath", "preferred", "rpath"):
        write_library(machine.root / "usr" / folder / "libx.so.1")
        found = machine.needed(system)
        taken = {path.removesuffix("/libx.so.1"): objects for path, objects in found.items()}
        if folder in ("rpath", "runpath"):
            assert taken[folder] == [f"_{folder}.so"]
        else:
            assert taken == {folder: ["_rpath.so", "_runpath.so"]}


def test_variants_for_processors_that_can_do_more(machine: Machine) -> None:
    """The image must run wherever: all come along, whatever this machine would load."""
    machine.library("libblas.so.3")
    for level in ("x86-64-v2", "x86-64-v3"):
        machine.library(f"glibc-hwcaps/{level}/libblas.so.3")
    machine.library("glibc-hwcaps/x86-64-v3/libother.so.1")
    write_library(machine.site / "_blas.so", "libblas.so.3")
    assert set(machine.needed()) == {
        "lib/triplet/libblas.so.3",
        "lib/triplet/glibc-hwcaps/x86-64-v2/libblas.so.3",
        "lib/triplet/glibc-hwcaps/x86-64-v3/libblas.so.3",
    }


def test_paths_through_links(machine: Machine) -> None:
    """A merged /usr has links as folders: paths are told as they really are, links of files stay what they are."""
    (machine.root / "lib").symlink_to("usr/lib")
    machine.library("libx.so.1.2")
    (machine.lib / "libx.so.1").symlink_to("libx.so.1.2")
    write_library(machine.site / "_x.so", "libx.so.1")
    system = System((str(machine.root / "lib/triplet"),))
    assert machine.needed(system) == {"lib/triplet/libx.so.1": ["_x.so"]}


def test_a_library_named_by_its_path(machine: Machine) -> None:
    """Without a search: such is what a build leaves in an object now and then."""
    path = write_library(machine.root / "opt/libx.so")
    write_library(machine.site / "_x.so", path, "$ORIGIN/liby.so", "/absent/libz.so")
    write_library(machine.site / "liby.so")
    scan = machine.scan()
    assert set(scan.needed) == {path}
    assert scan.missing == (Missing(str(machine.site / "_x.so"), "/absent/libz.so"),)


def test_an_object_without_the_default_folders(machine: Machine) -> None:
    """It finds its libraries by its own paths, or in no place at all."""
    cached = machine.library("libx.so.1")
    machine.site.mkdir(parents=True)
    (machine.site / "_x.so").write_bytes(elf_bytes(needed=("libx.so.1",), numbers={FLAGS_1: 0x800}))
    assert machine.missing() == [("_x.so", "libx.so.1")]
    machine.system = System(machine.system.folders, {"libx.so.1": [cached]})
    assert machine.missing() == [("_x.so", "libx.so.1")]


def test_a_library_that_is_loaded_under_another_name(machine: Machine) -> None:
    """Whoever asks by the name that it has for itself gets it, though no file is called so."""
    machine.library("libfoo.so", soname="libfoo.so.1")
    machine.library("libbar.so.1", "libfoo.so.1")
    write_library(machine.site / "_x.so", "libfoo.so", "libbar.so.1")
    assert set(machine.needed()) == {"lib/triplet/libbar.so.1", "lib/triplet/libfoo.so"}


@pytest.mark.parametrize("library", ["libcuda.so.1", "libnvidia-ml.so.1"])
def test_libraries_of_a_driver_are_given_by_the_host(machine: Machine, library: str) -> None:
    """No image has them: the engine mounts the host's."""
    write_library(machine.site / "_gpu.so", library)
    assert machine.missing() == []


def test_what_python_inherits(machine: Machine) -> None:
    """Python's own RPATH serves the extensions that it loads, and what it has loaded is there under its name."""
    own = write_library(machine.root / "usr/python/lib/libpython3.13.so.1.0")
    machine.python = write_program(
        machine.root / "usr/python/bin/python3", machine.loader, "libpython3.13.so.1.0", rpath="$ORIGIN/../lib"
    )
    beside = write_library(machine.root / "usr/python/lib/libbeside.so.1")
    write_library(machine.site / "_x.so", "libpython3.13.so.1.0", "libbeside.so.1")
    assert set(machine.scan().needed) == {beside}
    assert own in scan_libraries([machine.python], machine.system, machine.python).needed


def test_musl_has_rules_of_its_own(tmp_path: Path) -> None:
    """RUNPATH is inherited there as RPATH is, there is no cache, and objects for glibc are the foreign ones."""
    loader = write_library(tmp_path / "lib/ld-musl-x86_64.so.1", soname="libc.musl-x86_64.so.1")
    python = write_program(tmp_path / "usr/bin/python3", loader)
    site = tmp_path / "site"
    write_library(site / "_x.so", "libmid.so.1", "libc.musl-x86_64.so.1", runpath=str(tmp_path / "own"))
    found = {
        write_library(tmp_path / "own/libmid.so.1", "libdeep.so.1"),
        write_library(tmp_path / "own/libdeep.so.1"),
    }
    glibc = write_library(site / "_g.so", "libc.so.6")
    system = System((str(tmp_path / "lib"),), musl=True)
    scan = scan_libraries(find_objects(str(site)), system, python)
    assert scan.foreign == (glibc,)
    assert (set(scan.needed), scan.missing) == (found, ())


def test_what_may_be_an_object(tmp_path: Path) -> None:
    """Every file but those whose name says otherwise; no links, so that a file is met once."""
    for name in ("a/_x.so", "a/b/tool", "a/x.py", "a/data.json", "c/_y.abi3.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a/link").symlink_to("b/tool")
    (tmp_path / "a/folder").symlink_to(tmp_path)
    found = find_objects(str(tmp_path / "a"), str(tmp_path / "c/_y.abi3.so"))
    assert sorted(os.path.relpath(path, tmp_path) for path in found) == ["a/_x.so", "a/b/tool", "c/_y.abi3.so"]


@pytest.mark.parametrize("before", [b"", b"ld.so-1.7.0\0" + bytes(20)], ids=["new", "old before new"])
def test_reading_the_linkers_cache(before: bytes) -> None:
    """Paths by name, in their order, whatever format stands before it."""
    data = cache_bytes(
        ("libz.so.1", "/a/libz.so.1"), ("libx.so.2", "/b/libx.so.2"), ("libz.so.1", "/c/libz.so.1"), before=before
    )
    assert read_cache(data) == {"libz.so.1": ["/a/libz.so.1", "/c/libz.so.1"], "libx.so.2": ["/b/libx.so.2"]}


@pytest.mark.parametrize("data", [b"", b"ld.so-1.7.0\0" + bytes(40), b"something else"])
def test_a_cache_that_is_none(data: bytes) -> None:
    """What is not known has nothing to tell."""
    assert read_cache(data) == {}


def test_this_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this Python's linker looks, with the environment's own folders first."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/one:/opt/two")
    (tmp_path / "ld.so.cache").write_bytes(cache_bytes(("libz.so.1", "/a/libz.so.1")))
    system = read_system(cache=tmp_path / "ld.so.cache")
    assert system.preferred == ("/opt/one", "/opt/two")
    assert "/usr/lib" in system.folders


@pytest.mark.parametrize(
    ("listing", "folders"), [("/lib:/opt/lib\n", ("/lib", "/opt/lib")), (None, ("/lib", "/usr/local/lib", "/usr/lib"))]
)
def test_a_system_with_musl(tmp_path: Path, listing: str | None, folders: tuple[str, ...]) -> None:
    """Its linker reads one file of folders, if there is one."""
    python = write_program(tmp_path / "python3", "/lib/ld-musl-x86_64.so.1")
    if listing:
        (tmp_path / "ld-musl-x86_64.path").write_text(listing)
    system = read_system(python, tmp_path / "ld.so.cache")
    assert (system.musl, system.folders) == (True, folders)
