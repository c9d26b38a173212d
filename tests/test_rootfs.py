"""The layers of a minimal image, made on small trees."""

import os
import ssl
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dockyard import rootfs

pytestmark = pytest.mark.processes  # bytecode is compiled by several processes


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with a module, a script, a template and a link, with modes that a strange umask has shaped."""
    folder = tmp_path / "app"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "__init__.py").write_text("GREETING = 'hello'\n")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "shop" / "page.html").write_text("<p>")
    (folder / "link").symlink_to("run")
    (folder / "run").chmod(0o700)
    (folder / "shop" / "page.html").chmod(0o600)
    (folder / "shop").chmod(0o700)
    return folder


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """Return an empty layer."""
    made = tmp_path / "layer"
    made.mkdir()
    return made


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_application_modes_follow_the_executable_bit(tree: Path, layer: Path) -> None:
    """Folders and programs can be entered and run by everyone, all else can be read, whatever umask there was."""
    rootfs.make_application(layer, tree)
    inside = rootfs.inside(layer, tree)
    assert (mode(inside), mode(inside / "shop")) == (0o755, 0o755)
    assert (mode(inside / "run"), mode(inside / "shop" / "page.html")) == (0o755, 0o644)
    assert (inside / "link").readlink() == Path("run")


def test_application_has_bytecode_that_no_time_invalidates(tree: Path, layer: Path) -> None:
    """Flags of PEP 552: hash-based and unchecked."""
    rootfs.make_application(layer, tree)
    (compiled,) = rootfs.inside(layer, tree).rglob("*.pyc")
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01


def test_application_with_a_syntax_error(tree: Path, layer: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Source code that does not compile fails the build and is named."""
    (tree / "shop" / "wrong.py").write_text("def :\n")
    with pytest.raises(SystemExit, match="do not compile"):
        rootfs.make_application(layer, tree)
    assert "wrong.py" in capfd.readouterr().out


def test_packages_may_hold_what_does_not_compile(tree: Path, layer: Path) -> None:
    """A template of a package that only looks like Python is no error."""
    (tree / "shop" / "template.py").write_text("{{ name }} :\n")
    rootfs.make_packages(layer, tree)
    assert (rootfs.inside(layer, tree) / "shop" / "template.py").is_file()


def test_two_layers_of_the_same_content_are_the_same(tree: Path, tmp_path: Path) -> None:
    """Names, modes, times and content do not depend on when a layer is made."""
    listings = []
    for number in (1, 2):
        layer = tmp_path / f"layer{number}"
        for path in (*tree.rglob("*.py"), tree / "run"):
            os.utime(path, (number * 10**9, number * 10**9))
        assert rootfs.main(["application", str(layer), str(tree)]) == 0
        listings.append(
            [
                (
                    str(path.relative_to(layer)),
                    mode(path),
                    path.lstat().st_mtime,
                    path.read_bytes() if path.is_file() else b"",
                )
                for path in sorted(layer.rglob("*"))
            ]
        )
    assert listings[0] == listings[1]
    assert {time for _, _, time, _ in listings[0]} == {float(rootfs.TIME)}


def test_settle_reaches_the_layer_itself_and_links(layer: Path) -> None:
    """The root folder, links to nowhere and links to folders carry the fixed time too."""
    (layer / "folder").mkdir()
    (layer / "to-folder").symlink_to("folder")
    (layer / "to-nowhere").symlink_to("nowhere")
    rootfs.settle(layer)
    assert {path.lstat().st_mtime for path in (layer, *layer.iterdir())} == {float(rootfs.TIME)}


def test_copy_keeps_links_and_follows_them(tmp_path: Path, layer: Path) -> None:
    """A chain of links arrives with all that it names, at the same paths."""
    source = tmp_path / "lib"
    source.mkdir()
    (source / "lib.so.1.2").write_bytes(b"x")
    (source / "lib.so.1").symlink_to("lib.so.1.2")
    (source / "lib.so").symlink_to(source / "lib.so.1")
    rootfs.copy(source / "lib.so", layer)
    there = rootfs.inside(layer, source)
    assert (there / "lib.so").readlink() == source / "lib.so.1"
    assert (there / "lib.so.1").readlink() == Path("lib.so.1.2")
    assert (there / "lib.so.1.2").read_bytes() == b"x"


def test_copy_without_following(tmp_path: Path, layer: Path) -> None:
    """A link alone, when that is what is wanted; a folder without what is in it."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    rootfs.copy(tmp_path / "link", layer, follow=False)
    rootfs.copy(tmp_path / "folder", layer, follow=False)
    there = rootfs.inside(layer, tmp_path)
    assert (there / "link").is_symlink()
    assert not (there / "file").exists()
    assert list((there / "folder").iterdir()) == []


def test_copy_of_links_that_go_round(tmp_path: Path, layer: Path) -> None:
    """Folders that link to each other or to themselves come to an end."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "self").symlink_to(".")
    (one / "two").symlink_to("../two")
    (two / "one").symlink_to("../one")
    (two / "loop").symlink_to("loop")
    rootfs.copy(one, layer)
    there = rootfs.inside(layer, tmp_path)
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*")) == [
        "one", "one/self", "one/two", "two", "two/loop", "two/one",
    ]  # fmt: skip


def test_copy_through_a_linked_folder(tmp_path: Path, layer: Path) -> None:
    """/lib/x is copied to /usr/lib/x where /lib is a link, as in every merged system."""
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "x").write_text("x")
    (tmp_path / "lib").symlink_to("usr")
    rootfs.copy(tmp_path / "lib" / "x", layer)
    there = rootfs.inside(layer, tmp_path)
    assert (there / "usr" / "x").is_file()
    assert not (there / "lib").exists()


def test_copy_drops_set_user_id(tmp_path: Path, layer: Path) -> None:
    """No program of the image may run as someone else."""
    program = tmp_path / "su"
    program.write_text("x")
    program.chmod(0o6755)
    rootfs.copy(program, layer)
    assert mode(rootfs.inside(layer, program)) == 0o755


def test_copy_of_nothing(tmp_path: Path, layer: Path) -> None:
    """A link to nowhere is kept; what is not there is passed over."""
    (tmp_path / "link").symlink_to("nowhere")
    rootfs.copy(tmp_path / "link", layer)
    rootfs.copy(tmp_path / "absent", layer)
    there = rootfs.inside(layer, tmp_path)
    assert (there / "link").is_symlink()
    assert not os.path.lexists(there / "absent")


def test_the_library_comes_without_tests_and_installers(tmp_path: Path, layer: Path) -> None:
    """What a service never imports stays out; modules whose names only resemble it stay in."""
    library = tmp_path / "python3.13"
    for name in ("os.py", "test/x.py", "json/tests/x.py", "json/tool.py", "idlelib/x.py", "ensurepip/x.py",
                 "tkinter/x.py", "site-packages/x.py", "__pycache__/os.pyc", "config-3.13-x/Makefile",
                 "logging/config.py", "lib-dynload/_tkinter.so", "lib-dynload/_testcapi.so", "lib-dynload/_ssl.so",
                 "json/config-x", "EXTERNALLY-MANAGED"):  # fmt: skip
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("")
    rootfs.copy_library(library, layer)
    there = rootfs.inside(layer, library)
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()) == [
        "json/config-x",
        "json/tool.py",
        "lib-dynload/_ssl.so",
        "logging/config.py",
        "os.py",
    ]


def test_the_user_has_a_number_and_no_shell(layer: Path) -> None:
    """Accounts for root and nonroot, a /tmp that everyone can write and nobody can clear."""
    rootfs.make_user(layer)
    assert f"nonroot:x:{rootfs.USER}:{rootfs.USER}:" in (layer / "etc" / "passwd").read_text()
    assert "/sh" not in (layer / "etc" / "passwd").read_text()
    assert (mode(layer / "tmp"), mode(layer / "root"), mode(layer / "run")) == (0o1777, 0o700, 0o755)


def test_certificates_are_named_as_openssl_looks_for_them(layer: Path) -> None:
    """Where the bundle is in the image, OpenSSL's own name for it links there; where not, no link dangles."""
    wanted = rootfs.inside(layer, Path(ssl.get_default_verify_paths().openssl_cafile))
    rootfs.trust_certificates(layer)
    assert not os.path.lexists(wanted)
    bundle = rootfs.inside(layer, rootfs.CERTIFICATES)
    bundle.parent.mkdir(parents=True)
    bundle.write_text("")
    rootfs.trust_certificates(layer)
    assert wanted.readlink() == rootfs.CERTIFICATES


def test_is_elf(tmp_path: Path) -> None:
    """Programs are told by their first bytes; links and folders are none."""
    (tmp_path / "program").write_bytes(b"\x7fELF\x02")
    (tmp_path / "text").write_text("#!/bin/sh")
    (tmp_path / "empty").write_text("")
    (tmp_path / "link").symlink_to("program")
    names = ("program", "text", "empty", "link", "absent", ".")
    assert [name for name in names if rootfs.is_elf(tmp_path / name)] == ["program"]


def test_libraries_of_this_interpreter() -> None:
    """The loader and the C library are among what a real program needs."""
    found = rootfs.libraries([Path(sys.executable).resolve(), Path(__file__)])
    names = {path.name for path in found}
    assert any(name.startswith("libc.") for name in names)
    assert any(name.startswith("ld-") for name in names)
    assert all(path.exists() for path in found)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build fails with the object, the library and what to do."""
    (tmp_path / "x.so").write_bytes(b"\x7fELF")

    def ldd(arguments: list[str], **_options: object) -> "subprocess.CompletedProcess[str]":
        said = "\tlibpq.so.5 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x0000)\n"
        return subprocess.CompletedProcess(arguments, 0, said)

    monkeypatch.setattr(subprocess, "run", ldd)
    with pytest.raises(SystemExit) as caught:
        rootfs.libraries([tmp_path / "x.so"])
    assert f"{tmp_path / 'x.so'} needs libpq.so.5" in str(caught.value)
    assert "base stage of the Dockerfile" in str(caught.value)


def test_each_missing_library_is_told_with_its_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object is asked about by itself: libraries of one name in two packages are not taken for each other."""
    objects = [tmp_path / "a.so", tmp_path / "b.so"]
    for path in objects:
        path.write_bytes(rootfs.ELF)
    asked: list[list[str]] = []

    def linker(arguments: list[str], **_options: object) -> "subprocess.CompletedProcess[str]":
        asked.append(arguments)
        if arguments[1] == "--list":  # as glibc's does where a library is missing
            return subprocess.CompletedProcess(arguments, 127, "")
        lost = f"\tlib{Path(arguments[-1]).stem}.so.1 => not found\n"
        said = f"{lost}\tlibz.so.1 => /lib/z (0x1)\n\t/lib/ld-linux.so (0x2)\n"
        return subprocess.CompletedProcess(arguments, 0, said)

    monkeypatch.setattr(subprocess, "run", linker)
    with pytest.raises(SystemExit) as caught:
        rootfs.libraries(objects)
    python = str(Path(sys.executable).resolve())
    each = [words for path in objects for words in (["/lib/ld-linux.so", "--list", str(path)], ["ldd", str(path)])]
    assert asked == [["ldd", python], *each]
    assert "a.so needs liba.so.1\n" in str(caught.value)
    assert "b.so needs libb.so.1\n" in str(caught.value)


def test_bytecode_names_files_as_if_the_layer_were_the_root(layer: Path) -> None:
    """A traceback in the container names /lib/x.py, not where the layer once lay."""
    source = layer / "lib" / "x.py"
    source.parent.mkdir()
    source.write_text("def f():\n    pass\n")
    rootfs.compile_bytecode(layer / "lib", layer)
    (compiled,) = layer.rglob("*.pyc")
    script = f"import marshal; print(marshal.loads(open({str(compiled)!r}, 'rb').read()[16:]).co_filename)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "/lib/x.py\n"


def test_finished_bytecode_is_kept_only_where_asked_and_fitting(tree: Path) -> None:
    """The base's own may stay; what came with somebody's source code may not."""
    rootfs.compile_bytecode(tree)
    (compiled,) = tree.rglob("*.pyc")
    marked = compiled.read_bytes() + b"mark"
    compiled.write_bytes(marked)
    rootfs.compile_bytecode(tree, keep=True)
    assert compiled.read_bytes() == marked
    rootfs.compile_bytecode(tree)
    assert compiled.read_bytes() == marked.removesuffix(b"mark")
    compiled.write_bytes(marked)
    (tree / "shop" / "__init__.py").write_text("GREETING = 'other'\n")
    rootfs.compile_bytecode(tree, keep=True)
    assert not compiled.read_bytes().endswith(b"mark")


def test_the_library_is_compiled_where_it_lies(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is pip beside it; what is no Python is passed over, and no layer is made."""
    (tree / "shop" / "template.py").write_text("{{ name }} :\n")
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "main.py").write_text("")
    monkeypatch.setattr(sysconfig, "get_path", {"stdlib": str(tree), "purelib": str(tmp_path / "pip")}.get)
    assert rootfs.main(["library"]) == 0
    assert [path.name.split(".")[0] for path in sorted(tmp_path.rglob("*.pyc"))] == ["__init__", "main"]


def test_many_files_are_compiled_alike(tree: Path, tmp_path: Path) -> None:
    """Several processes make the same bytes as one."""
    for number in range(rootfs.FEW + 1):
        (tree / "shop" / f"m{number}.py").write_text(f"NAMES = ('a', 'b', {number})\n")
    rootfs.compile_bytecode(tree)
    together = {path: path.read_bytes() for path in tree.rglob("*.pyc")}
    rootfs.compile_files(list(rootfs.python_files(tree))[: rootfs.FEW], None, quiet=1)
    assert {path: path.read_bytes() for path in tree.rglob("*.pyc")} == together


def test_bytecode_of_the_library_comes_along(tmp_path: Path, layer: Path) -> None:
    """For modules that were copied, and no others."""
    library = tmp_path / "python3.13"
    library.mkdir()
    for name in ("os", "dropped"):
        (library / f"{name}.py").write_text("")
    rootfs.compile_bytecode(library)
    there = rootfs.inside(layer, library)
    there.mkdir(parents=True)
    (there / "os.py").write_text("")
    rootfs.copy_bytecode(library, layer)
    assert [path.name.split(".")[0] for path in there.rglob("*.pyc")] == ["os"]


def test_it_runs_alone(tmp_path: Path, tree: Path) -> None:
    """Inside a build there is this one file and the standard library, and nothing of Dockyard."""
    script = Path(rootfs.__file__).read_text()
    (tmp_path / "rootfs.py").write_text(script)
    command = [sys.executable, "-I", "-S", str(tmp_path / "rootfs.py"), "application", str(tmp_path / "out"), str(tree)]
    subprocess.run(command, check=True, cwd=tmp_path, env={})
    assert (rootfs.inside(tmp_path / "out", tree) / "shop" / "__init__.py").is_file()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["packages", "x"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage is told, with the code for it."""
    with pytest.raises(SystemExit) as caught:
        rootfs.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


STATUS = """\
Package: libx1
Status: install ok installed
Architecture: amd64
Source: x (1.0)
Version: 1.0-2
Description: first line
 Version: of the description

Package: tables
Status: install ok installed
Version: 3

Package: unused
Status: install ok installed
Version: 4
"""


@pytest.fixture
def dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a system of three packages, whose lists still name /lib, which is a link to usr/lib."""
    system = tmp_path / "system"
    for folder in ("usr/lib", "etc", "dpkg/info"):
        (system / folder).mkdir(parents=True)
    (system / "lib").symlink_to("usr/lib")
    for name in ("usr/lib/libx.so.1", "etc/tables", "etc/made"):
        (system / name).write_text(name)
    lists = {"libx1:amd64": f"/.\n{system}/lib\n{system}/lib/libx.so.1\n", "tables": f"{system}/etc/tables\n"}
    for name, text in {**lists, "unused": f"{system}/etc\n{system}/etc/other\n"}.items():
        (system / "dpkg" / "info" / f"{name}.list").write_text(text)
    (system / "dpkg" / "status").write_text(STATUS)
    monkeypatch.setattr(rootfs, "DPKG", system / "dpkg")
    return system


def recorded(layer: Path) -> dict[str, str]:
    """Return what a layer says of packages."""
    return {path.name: path.read_text() for path in rootfs.inside(layer, rootfs.STATUS).glob("*")}


def test_packages_whose_files_were_copied_are_recorded(dpkg: Path, layer: Path) -> None:
    """Each has a file of its own, with the fields that name it; folders and files that are not there do not count."""
    rootfs.copy(dpkg / "lib" / "libx.so.1", layer)
    (rootfs.inside(layer, dpkg) / "etc").mkdir()
    rootfs.record_packages(layer)
    found = "Package: libx1\nStatus: install ok installed\nArchitecture: amd64\nSource: x (1.0)\nVersion: 1.0-2\n"
    assert recorded(layer) == {"libx1": found}


def test_packages_bring_the_libraries_that_the_runtime_lacks(
    tree: Path, layer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that the interpreter loads, by whatever path they are found, nor the package's own."""
    system = tmp_path / "system"
    (system / "usr" / "lib").mkdir(parents=True)
    (system / "lib").symlink_to("usr/lib")
    for path in (system / "lib" / "libpq.so.5", system / "lib" / "libz.so.1", tree / "shop" / "fast.so"):
        path.write_bytes(rootfs.ELF)
    loads = {
        tree / "shop" / "fast.so": [
            system / "usr" / "lib" / "libz.so.1",
            system / "lib" / "libpq.so.5",
            tree / "shop" / "fast.so",
        ],
        Path(sys.executable): [system / "lib" / "libz.so.1"],
    }
    monkeypatch.setattr(rootfs, "runtime_objects", lambda: [Path(sys.executable)])
    monkeypatch.setattr(rootfs, "libraries", lambda objects: [found for each in objects for found in loads[each]])
    rootfs.make_packages(layer, tree)
    brought = [path.name for path in rootfs.inside(layer, system).rglob("*") if path.is_file()]
    assert brought == ["libpq.so.5"]


def test_files_that_no_list_names(dpkg: Path, layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a package makes at its installation is known by name; a base without dpkg records nothing."""
    rootfs.copy(dpkg / "etc" / "made", layer)
    rootfs.record_packages(layer)
    assert recorded(layer) == {}
    monkeypatch.setattr(rootfs, "GENERATED", {str(dpkg / "etc" / "made"): "tables"})
    rootfs.record_packages(layer)
    assert list(recorded(layer)) == ["tables"]
    monkeypatch.setattr(rootfs, "DPKG", dpkg / "nowhere")
    rootfs.record_packages(layer)


def test_records_carry_modes_of_their_own(dpkg: Path, layer: Path) -> None:
    """The umask of whoever builds has no say."""
    before = os.umask(0o077)
    try:
        rootfs.copy(dpkg / "etc" / "tables", layer)
        rootfs.record_packages(layer)
    finally:
        os.umask(before)
    assert mode(rootfs.inside(layer, rootfs.STATUS) / "tables") == 0o644
