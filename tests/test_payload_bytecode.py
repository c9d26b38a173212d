"""Bytecode that is the same whatever else a process has compiled."""

import marshal
import os
from pathlib import Path
from types import CodeType

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
