"""The layers of a minimal image, made on small trees."""

import errno
import os
import stat
import sysconfig
from pathlib import Path

import pytest

from dockyard.payload import bytecode, files, layers

pytestmark = pytest.mark.processes  # the dynamic linker is asked


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
    layers.make_application(layer, tree)
    inside = files.inside(layer, tree)
    assert (mode(inside), mode(inside / "shop")) == (0o755, 0o755)
    assert (mode(inside / "run"), mode(inside / "shop" / "page.html")) == (0o755, 0o644)
    assert (inside / "link").readlink() == Path("run")


@pytest.mark.parametrize("mounted", [False, True])
def test_application_leaves_its_source_alone(
    tree: Path, layer: Path, mounted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a mount, which files cannot be linked out of: they are copied then, and nothing is written to it."""

    def link(_source: str, _target: str) -> None:
        raise OSError(errno.EXDEV, "another file system")

    if mounted:
        monkeypatch.setattr(os, "link", link)
    before = sorted(tree.rglob("*"))
    layers.make_application(layer, tree)
    assert sorted(tree.rglob("*")) == before
    assert (files.inside(layer, tree) / "shop" / "__init__.py").read_text() == "GREETING = 'hello'\n"
    assert mode(tree / "shop" / "page.html") == (0o600 if mounted else 0o644)


def test_application_has_bytecode_that_no_time_invalidates(tree: Path, layer: Path) -> None:
    """Flags of PEP 552: hash-based and unchecked."""
    layers.make_application(layer, tree)
    (compiled,) = files.inside(layer, tree).rglob("*.pyc")
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01


def test_what_does_not_compile_is_named_and_ends_no_build(
    tree: Path, layer: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A template, or source for another Python: whoever verifies the image is told, if it matters."""
    (tree / "shop" / "template.py").write_text("{{ name }} :\n")
    layers.make_application(layer, tree)
    assert (files.inside(layer, tree) / "shop" / "template.py").is_file()
    assert f"without bytecode: {tree / 'shop' / 'template.py'}: SyntaxError" in capfd.readouterr().err


def test_two_layers_of_the_same_content_are_the_same(tree: Path, tmp_path: Path) -> None:
    """Names, modes, times and content do not depend on when a layer is made."""
    listings = []
    for number in (1, 2):
        layer = tmp_path / f"layer{number}"
        for path in (*tree.rglob("*.py"), tree / "run"):
            os.utime(path, (number * 10**9, number * 10**9))
        layers.make_application(layer, tree)
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
    assert {time for _, _, time, _ in listings[0]} == {float(files.TIME)}


def test_the_library_comes_without_tests_and_installers(tmp_path: Path, layer: Path) -> None:
    """What a service never imports stays out; modules whose names only resemble it stay in."""
    library = tmp_path / "python3.13"
    for name in ("os.py", "test/x.py", "json/tests/x.py", "json/tool.py", "idlelib/x.py", "ensurepip/x.py",
                 "tkinter/x.py", "site-packages/x.py", "__pycache__/os.pyc", "config-3.13-x/Makefile",
                 "logging/config.py", "lib-dynload/_tkinter.so", "lib-dynload/_testcapi.so", "lib-dynload/_ssl.so",
                 "json/config-x", "EXTERNALLY-MANAGED"):  # fmt: skip
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("")
    layers.copy_library(library, layer)
    there = files.inside(layer, library)
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()) == [
        "json/config-x",
        "json/tool.py",
        "lib-dynload/_ssl.so",
        "logging/config.py",
        "os.py",
    ]


def test_the_user_has_a_number_and_no_shell(layer: Path) -> None:
    """Accounts for root and nonroot, a /tmp that everyone can write and nobody can clear."""
    layers.make_user(layer)
    assert f"nonroot:x:{layers.USER}:{layers.USER}:" in (layer / "etc" / "passwd").read_text()
    assert "/sh" not in (layer / "etc" / "passwd").read_text()
    assert (mode(layer / "tmp"), mode(layer / "root"), mode(layer / "run")) == (0o1777, 0o700, 0o755)


def test_the_library_is_compiled_where_it_lies(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is pip beside it; what is no Python is passed over, and no layer is made."""
    (tree / "shop" / "template.py").write_text("{{ name }} :\n")
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "main.py").write_text("")
    monkeypatch.setattr(sysconfig, "get_path", {"stdlib": str(tree), "purelib": str(tmp_path / "pip")}.get)
    layers.compile_library(tmp_path / "program")
    made = sorted(tmp_path.rglob("*.pyc"))
    assert [path.name.split(".")[0] for path in made] == ["__init__", "main"]


def test_the_program_keeps_its_own_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts for this source alone, since another one may be mounted; where this one is, nothing is written."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "empty"))
    program = tmp_path / "dockyard"
    program.mkdir()
    (program / "verbs.py").write_text("x = 1\n")
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    layers.compile_library(program)
    assert [path.name for path in program.iterdir()] == ["verbs.py"]
    monkeypatch.undo()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "empty"))
    layers.compile_library(program)
    assert int.from_bytes(bytecode.cache(program / "verbs.py").read_bytes()[4:8], "little") == 0b11


def test_bytecode_of_the_library_comes_along(tmp_path: Path, layer: Path) -> None:
    """For modules that were copied, and no others."""
    library = tmp_path / "python3.13"
    library.mkdir()
    for name in ("os", "dropped"):
        (library / f"{name}.py").write_text("")
    bytecode.compile_folder(library)
    there = files.inside(layer, library)
    there.mkdir(parents=True)
    (there / "os.py").write_text("")
    layers.copy_bytecode(library, layer)
    assert [path.name.split(".")[0] for path in there.rglob("*.pyc")] == ["os"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder that stands in for a base image, with some data, a module and stale bytecode."""
    folder = tmp_path / "base"
    for name, text in {
        "share/misc/magic.mgc": "magic",
        "share/misc/.hidden": "x",
        "lib/plugin/__init__.py": "x = 1\n",
        "lib/plugin/template.py": "{{ no python }}\n",
        "lib/plugin/__pycache__/__init__.cpython-30.pyc": "old",
        "lib/alone.py": "y = 2\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "share" / "link").symlink_to("misc/magic.mgc")
    return folder


def kept(layer: Path, patterns: str) -> None:
    """Keep what patterns name."""
    layers.keep_files(layer, [path for pattern in patterns.split(":") for path in layers.matches(pattern)])


def test_files_are_kept_at_their_path(base: Path, layer: Path) -> None:
    """Several patterns, and what a link names; all with the one fixed time."""
    kept(layer, f"{base}/share/li?k:{base}/lib/al*.py")
    assert files.inside(layer, base / "share/link").readlink() == Path("misc/magic.mgc")
    assert files.inside(layer, base / "share/misc/magic.mgc").read_text() == "magic"
    assert not files.inside(layer, base / "share/misc/.hidden").exists()


def test_python_files_have_bytecode_of_their_own_and_no_other(base: Path, layer: Path) -> None:
    """It is made for the path that the file has in the image; what is no Python stays as it is."""
    kept(layer, f"{base}/lib/plugin:{base}/lib/alone.py")
    for name in ("plugin/__init__.py", "alone.py"):
        source = files.inside(layer, base / "lib" / name)
        compiled = bytecode.cache(source)
        assert bytecode.fits(compiled, source)
        assert str(base / "lib" / name).encode() in compiled.read_bytes()
    left = {path.name for path in files.inside(layer, base / "lib/plugin").rglob("*.pyc")}
    assert left == {bytecode.cache(Path("__init__.py")).name}
    assert files.inside(layer, base / "lib/plugin/template.py").exists()


def test_a_pattern_without_a_match_ends_the_build(base: Path) -> None:
    """A misspelt path is no file that happens not to be needed."""
    with pytest.raises(SystemExit, match=r"keep: nothing in the base image matches .*/share/magick\n.*base stage"):
        layers.matches(f"{base}/share/magick")
