"""The header of a lock: what it is made from."""

from dockyard.locks import header
from dockyard.locks.header import Made
from dockyard.locks.inputs import Input, parse


def closure(**files: str) -> tuple[Input, ...]:
    """Return inputs with these texts, in this order."""
    return tuple(parse(f"requirements/{name}.in", text.encode()) for name, text in files.items())


def test_a_line_that_moves_to_another_file_is_a_change() -> None:
    """The fingerprint covers names, lines and order, and not only their sum."""
    prints = {
        header.sources(closure(**files))[-1]
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
    """Every field of a header is found again with its line, however many marks there are."""
    inputs = closure(a="".join(f"package{number}\n" for number in range(20)))
    made = Made("Python 3.13", "uv 1", inputs, header.sources(inputs), (("requirements/3.13/b.txt", "sha256:1"),))
    body = "\n".join(f"package{number}==1" for number in range(40))
    text = header.render(made, body)
    fields = header.read(f"{text}\n{body}\n# for: a comment below\n".encode())
    assert [row for _, row in fields if not row.startswith(("pins:", "body:"))] == header.origin(made)
    assert len([row for _, row in fields if row.startswith("from:")]) == 2
    assert [len(row.split()) - 1 for _, row in fields if row.startswith("pins:")] == [16, 16, 8]
    assert [text.splitlines()[number - 1] for number, _ in fields] == [f"# {row}" for _, row in fields]


def test_the_marks_are_short_and_the_fingerprints_are_not() -> None:
    """Four digits find a line; only the whole hash is trusted."""
    assert len(header.mark("flask")) == 4
    assert len(header.fingerprint("flask")) == len("sha256:") + 64
