"""The header of a lock: what it is made from."""

from dockyard.locks import check
from dockyard.locks.check import Lock
from dockyard.locks.inputs import Input, parse_input


def read_closure(**files: str) -> tuple[Input, ...]:
    """Return inputs with these texts, in this order."""
    return tuple(parse_input(f"requirements/{name}.in", text.encode()) for name, text in files.items())


def test_a_line_that_moves_to_another_file_is_a_change() -> None:
    """The fingerprint covers names, lines and order, and not only their sum."""
    prints = {
        tuple(Lock("3.13", "a", read_closure(**files), {}).list_origins("uv 1"))
        for files in (
            {"a": "x\ny\n", "b": "z\n"},
            {"a": "x\n", "b": "y\nz\n"},
            {"a": "y\nx\n", "b": "z\n"},
            {"b": "z\n", "a": "x\ny\n"},
            {"a": "x\ny\n", "c": "z\n"},
        )
    }
    assert len(prints) == 5


def test_what_is_written_is_read_back() -> None:
    """Every field of a header is found again with its line, and nothing below the header is one."""
    inputs = read_closure(a="flask\n", b="click\n")
    lock = Lock("3.13", "a", inputs, {"b": "sha256:1"})
    text = lock.write("uv 1", "flask==1\n# for: a comment below\n", ["sail on linux/arm64"])
    fields = check.read_fields(text.encode())
    assert [row for _, row in fields if not row.startswith(check.MADE_OF)] == lock.list_origins("uv 1")
    assert [text.splitlines()[number - 1] for number, _ in fields] == [f"# {row}" for _, row in fields]
    assert [*check.read_built(text.encode())] == [(7, "sail", ("linux/arm64",))]
