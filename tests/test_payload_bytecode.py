"""Bytecode that is the same whatever else a process has compiled."""

import marshal
import os
import random
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from dockyard.payload import bytecode

pytestmark = pytest.mark.processes  # bytecode is compiled by several processes


def load(source: Path) -> CodeType:
    """Return the code in the bytecode of a file."""
    code = marshal.loads(bytecode.cache(source).read_bytes()[16:])
    assert isinstance(code, CodeType)
    return code


def test_files_are_named_as_if_they_lay_elsewhere(tmp_path: Path) -> None:
    """A traceback in the container names /lib/x.py, not where the layer once lay."""
    source = tmp_path / "layer" / "lib" / "x.py"
    source.parent.mkdir(parents=True)
    source.write_text("def f():\n    pass\n")
    bytecode.compile_folder(source.parent, at=Path("/lib"))
    assert load(source).co_filename == "/lib/x.py"


def test_finished_bytecode_is_kept_only_where_asked_and_fitting(tmp_path: Path) -> None:
    """The base's own may stay; what came with somebody's source code may not."""
    source = tmp_path / "x.py"
    source.write_text("GREETING = 'hello'\n")
    bytecode.compile_folder(tmp_path)
    compiled = bytecode.cache(source)
    marked = compiled.read_bytes() + b"mark"
    compiled.write_bytes(marked)
    bytecode.compile_folder(tmp_path, keep=True)
    assert compiled.read_bytes() == marked
    bytecode.compile_folder(tmp_path)
    assert compiled.read_bytes() == marked.removesuffix(b"mark")
    compiled.write_bytes(marked)
    source.write_text("GREETING = 'other'\n")
    bytecode.compile_folder(tmp_path, keep=True)
    assert not compiled.read_bytes().endswith(b"mark")


@pytest.mark.parametrize("text", [b"{{ name }} :\n", b"print 'x'\n", b"\xff\xfe", b"x = '\0'\n", b"(" * 9999])
def test_what_is_no_source_is_passed_over(tmp_path: Path, text: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """Templates, another Python's source and worse are named, have no bytecode, and the others have theirs."""
    (tmp_path / "wrong.py").write_bytes(text)
    (tmp_path / "right.py").write_text("")
    (tmp_path / "gone.py").symlink_to("nowhere")
    bytecode.compile_folder(tmp_path)
    assert [path.name.split(".")[0] for path in tmp_path.rglob("*.pyc")] == ["right"]
    assert f"without bytecode: {tmp_path / 'wrong.py'}: " in capfd.readouterr().err


def test_a_process_that_ends_early_ends_the_build(tmp_path: Path) -> None:
    """Killed for its memory, say: half of the bytecode is not what anybody wants."""
    with pytest.raises(SystemExit, match="ended early"):
        bytecode.share([1, 2, 3], lambda number: os._exit(9) if number == 2 else None, 2)


WORDS = ("name", "value", "items", "path", "data", "key", "order", "load")


def write_modules(folder: Path, number: int) -> None:
    """Write small modules that share their names, as the parts of an application do."""
    for module in range(number):
        rand = random.Random(module)
        one, two, three = (rand.sample(WORDS, 3) for _ in range(3))
        several, others, more = ("{" + ", ".join(map(repr, words)) + "}" for words in (one, two, three))
        (folder / f"m{module}.py").write_text(
            f"import {one[0]}\nfrom {two[0]} import {two[1]} as {two[2]}\n"
            f"SET = {several}\nAGAIN = {several}\nMANY = {dict.fromkeys(two, module)!r}\n"
            f"class {three[0].title()}({three[1]}):\n"
            f"    {one[1]} = {others}\n"
            f"    class Inner:\n        {two[0]} = {several}, {three!r}, {module}\n"
            f"    def {three[2]}(self, {one[0]}={tuple(one)!r}):\n"
            f"        return self.{two[1]}[1:] if {one[0]} in {more} else [{one[1]} in {more}, {tuple(one)!r}]\n"
        )


def compile_in_parts(tree: Path, parts: Sequence[Sequence[Path]], workers: int) -> dict[str, bytes]:
    """Compile a tree in several steps of one process, and return all its bytecode."""
    for made in tree.rglob("*.pyc"):
        made.unlink()
    for part in parts:
        bytecode.compile_files([(path, Path("/app") / path.relative_to(tree)) for path in part], workers)
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*.pyc")}


@pytest.fixture(scope="module", params=["generated", "real"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree of modules: many small ones that are alike, or those of a large package."""
    folder = tmp_path_factory.mktemp("tree")
    if request.param == "generated":
        write_modules(folder, 150)
    else:
        for package in ("asyncio", "email", "http", "importlib", "json", "multiprocessing"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(Path(sysconfig.get_path("stdlib"), package), folder / package, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def expected(tree: Path) -> dict[str, bytes]:
    """Return the bytecode of each module, compiled for itself."""
    return compile_in_parts(tree, [[path] for path in bytecode.python_files(tree)], 1)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_nothing_but_a_source_says_what_its_bytecode_is(tree: Path, expected: dict[str, bytes], workers: int) -> None:
    """In whatever order, by however many processes, all at once or one after the other, and whatever is alive."""
    files = sorted(bytecode.python_files(tree))
    assert len(expected) == len(files) > 90
    alive = [compile(path.read_bytes(), str(path), "exec") for path in files]
    assert compile_in_parts(tree, [files[::-1]], workers) == expected
    assert compile_in_parts(tree, [files[1::2], files[::2]], workers) == expected
    assert len(alive) == len(files)


def test_a_process_of_its_own_makes_the_same_bytecode(tree: Path) -> None:
    """This one has seen much, another only what it compiles; hashes differ between them."""
    files = sorted(bytecode.python_files(tree))[::20]
    program = f"import sys; sys.path.insert(0, {str(Path(bytecode.__file__).parent)!r}); import bytecode, pathlib"
    program += "; sys.stdout.buffer.write(bytecode.encode(pathlib.Path(sys.argv[1]).read_bytes(), 'x'))"
    for path in files:
        done = subprocess.run([sys.executable, "-I", "-c", program, path], capture_output=True, check=True)
        assert done.stdout == bytecode.encode(path.read_bytes(), "x")


def test_bytecode_runs_as_its_source_does(tmp_path: Path) -> None:
    """Constants, names and lines are what they were."""
    write_modules(tmp_path, 3)
    source = tmp_path / "x.py"
    source.write_text("def f(x):\n    return x[1:], x in {'a', 'b'}, ('a', 1.5, b'c', None)\n\n\ndef g():\n    1 / 0\n")
    bytecode.compile_file(source, source)
    space: dict[str, Any] = {}
    exec(load(source), space)
    assert space["f"]("ab") == ("b", False, ("a", 1.5, b"c", None))
    with pytest.raises(ZeroDivisionError) as caught:
        space["g"]()
    assert (caught.traceback[-1].lineno, caught.traceback[-1].path) == (5, source)
