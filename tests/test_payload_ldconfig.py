"""What the minimal image answers when it is asked for libraries by name."""

import ctypes.util
import io
import os
from pathlib import Path
from typing import Any

import pytest

from dockyard.payload.ldconfig import list_libraries
from tests.elf_files import cache_bytes


def test_libraries_that_are_there(tmp_path: Path) -> None:
    """Each path once, in the cache's order; what the base image has and this one lacks is left out."""
    for name in ("libz.so.1", "libpq.so.5"):
        (tmp_path / name).touch()
    paths = [str(tmp_path / name) for name in ("libpq.so.5", "libgone.so.2", "libz.so.1", "libz.so.1")]
    lines = list_libraries(cache_bytes(*((Path(path).name, path) for path in paths)))
    assert [line.split(" => ")[1] for line in lines] == [paths[0], paths[2]]


@pytest.mark.parametrize("data", [b"", b"no cache at all"])
def test_no_cache(data: bytes) -> None:
    """Then nothing is known."""
    assert list_libraries(data) == []


@pytest.mark.parametrize("name", ["pq", "stdc++"])
def test_python_understands_the_answer(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ctypes.util.find_library reads it as it reads ldconfig's own."""
    (tmp_path / f"lib{name}.so.5").touch()
    said = "\n".join(list_libraries(cache_bytes((f"lib{name}.so.5", str(tmp_path / f"lib{name}.so.5")))))
    asked: list[Any] = []

    class Answer:
        """A process that has printed the lines."""

        def __init__(self, command: Any, **_: Any) -> None:
            asked.append(command)
            self.stdout = io.BytesIO(f"{said}\n".encode())

        def __enter__(self) -> "Answer":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("subprocess.Popen", Answer)
    assert ctypes.util.find_library(name) == f"lib{name}.so.5"
    assert [[os.fspath(word) for word in command] for command in asked] == [["/sbin/ldconfig", "-p"]]
