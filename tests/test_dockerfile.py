"""A Dockerfile is read as BuildKit reads it: stages, arguments, instructions."""

from collections import Counter
from pathlib import Path

import pytest

from dockyard.errors import DockyardError
from dockyard.image.build import Request, World, plan_images
from dockyard.image.dockerfile import parse_dockerfile, parse_instructions, read_dockerfile, substitute
from dockyard.settings import Settings

from .random_edits import edit_texts

READ = {
    "plain": ("FROM a AS one\nFROM one\nFROM scratch AS two\n", ("one", "two")),
    "cases": ("from a as One\nFrom one As TWO\n", ("one", "two")),
    "byte order mark, tabs and returns": (
        "\ufeffFROM\ta\tAS\tone\r\nRUN x \\\r\n  y\r\nFROM one AS two\r\n",
        ("one", "two"),
    ),
    "a platform": ("FROM --platform=$BUILDPLATFORM a AS one\n", ("one",)),
    "no name": ("FROM a\nRUN x\n", ()),
    "a comment that looks like a stage": ("FROM a AS one\n# FROM x AS no\nRUN echo FROM x AS no\n", ("one",)),
    "a here-document": ("FROM a AS one\nRUN <<EOF cat\nFROM other AS fake\nEOF\nFROM one AS two\n", ("one", "two")),
    "a quoted end": ("FROM a AS one\nRUN <<'E O F' cat\nFROM x AS no\nE O F\nFROM a AS two\n", ("one", "two")),
    "tabs before the end": ("FROM a AS one\nRUN <<-EOF cat\n\tFROM x AS no\n\tEOF\nFROM a AS two\n", ("one", "two")),
    "two here-documents": (
        "FROM a AS one\nCOPY <<A <<B /\nFROM x AS n\nA\nFROM x AS n\nB\nFROM a AS two\n",
        ("one", "two"),
    ),
    "none within quotes": ("FROM a AS one\nRUN echo '<<EOF'\nFROM a AS two\n", ("one", "two")),
    "none in an ENV": ("FROM a AS one\nENV X=<<EOF\nFROM a AS two\n", ("one", "two")),
    "none in a JSON form": ('FROM a AS one\nRUN ["cat", "<<EOF"]\nFROM a AS two\n', ("one", "two")),
    "a continued line": (
        "FROM a \\\n  AS one\nRUN x \\\n# words\n\n  FROM b AS no\nFROM a AS two\n",
        ("one", "two"),
    ),
    "spaces behind a backslash": ("FROM a AS one\nRUN x \\  \n  FROM b AS no\n", ("one",)),
    "two backslashes": ("FROM a AS one\nRUN x \\\\\nFROM b AS two\n", ("one", "two")),
    "the end in the middle": ("FROM a AS one\nRUN x \\", ("one",)),
    "nothing": ("", ()),
    "a lone backslash": ("\\\nFROM a AS one", ("one",)),
}


@pytest.mark.parametrize(("text", "targets"), READ.values(), ids=READ)
def test_targets(text: str, targets: tuple[str, ...]) -> None:
    """Whatever the form, the stages with a name are those that BuildKit would build."""
    assert parse_dockerfile(text).targets == targets


def test_arguments_before_the_first_stage_fill_in_what_it_stands_on() -> None:
    """Defaults, quotes, arguments made of others, and values that somebody gives; an unknown one is empty."""
    text = "ARG V=3.13 NONE\nARG BASE=\"python:${V}-slim\" RAW='$V'\n"
    text += "FROM ${BASE} AS one\nARG INNER\nFROM $RAW:${NONE:-x} AS two\n"
    found = parse_dockerfile(text)
    assert [stage.base for stage in found.stages] == ["python:3.13-slim", "$V:x"]
    assert found.arguments == {"V", "NONE", "BASE", "RAW", "INNER"}
    assert parse_dockerfile(text, {"V": "3.14"}).stages[0].base == "python:3.14-slim"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", "1-1"),
        ("${B:-x}${C-y}${C:-z}", "xz"),
        ("${A:+x}${B:+y}${C+z}", "xz"),
        ("$D${D}", ""),
        ("${D-y}", "y"),
    ],
)
def test_variables(text: str, expected: str) -> None:
    """As a shell fills them in."""
    assert substitute(text, {"A": "1", "B": "", "C": ""}) == expected


def test_flags_and_here_documents_stand_beside_an_instruction() -> None:
    """So that what is left is what the instruction is about."""
    (one,) = parse_instructions("RUN --mount=type=cache,target=/x --network=none <<A cat\nb\nA\n")
    assert one.flags == ("--mount=type=cache,target=/x", "--network=none")
    assert (one.rest, one.heredocs) == ("<<A cat", ("b",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM a\nFROM", "line 2 of the Dockerfile: FROM takes an image"),
        ("FROM a b c d", "line 1 of the Dockerfile: FROM takes an image"),
        ("FROM a\n\nRUN <<EOF\nno end", "line 3 of the Dockerfile: the here-document EOF has no end"),
    ],
)
def test_what_buildkit_would_not_read(text: str, told: str) -> None:
    """It is told with its line before anything starts."""
    with pytest.raises(DockyardError, match=told) as caught:
        parse_dockerfile(text)
    assert caught.value.hint


@pytest.mark.parametrize(("content", "wrong"), [(None, "there is no Dockerfile"), (b"FROM \xff", "cannot be read")])
def test_a_dockerfile_that_is_none(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    """Missing or unreadable, it is told with its folder."""
    if content is not None:
        (tmp_path / "Dockerfile").write_bytes(content)
    with pytest.raises(DockyardError, match=wrong):
        read_dockerfile(tmp_path)


def test_a_dockerfile_that_is_a_folder(tmp_path: Path) -> None:
    """Told like one that cannot be read."""
    (tmp_path / "Dockerfile").mkdir()
    with pytest.raises(DockyardError, match="cannot be read"):
        read_dockerfile(tmp_path)


PIECES = (
    *(b"\\\n", b"`\n", b"\n", b"\r\n", b"<<EOF", b"EOF\n", b"<<-'E F'", b"'", b'"', b"FROM a AS b\n", b"# x\n"),
    *(b"${A}", b"${A:-", b"$", b"}", b"FROM", b"AS", b"--platform=x ", b"ARG X=1\n", b"ONBUILD "),
    *(b"\\", b" ", b"\t", b"\x00", b"\xff", "\u2028".encode(), "\ufeff".encode(), b"[", b"="),
)


@pytest.mark.host
def test_random_edits_give_a_result_or_a_clear_error(settings: Settings, edits: int) -> None:
    """Whatever stands in a Dockerfile, it is planned from, or the error says what is wrong and what to do."""
    own = (Path(__file__).parents[1] / "Dockerfile").read_bytes()
    seeds = (own, own, *(text.encode() for text, _ in READ.values()))
    outcomes: Counter[str] = Counter()
    for number, text in edit_texts(seeds, PIECES, edits):
        (settings.root / "Dockerfile").write_bytes(text)
        try:
            found = World(None, None, (), read_dockerfile(settings.root))
            plan_images(settings, found, Request())
            outcomes["result"] += 1
        except DockyardError as error:
            outcomes[type(error).__name__ if error.message and error.hint else f"nothing to do in edit {number}"] += 1
    assert set(outcomes) == {"result", "UsageError", "DockyardError"}
