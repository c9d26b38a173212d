"""What holds for locks whatever the inputs are: hypothesis draws them, and pip and packaging are the judges."""

import string
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement
from pip._internal.req.req_file import preprocess

from dockyard.locks.check import check_project, inspect_locks
from dockyard.locks.inputs import canonicalize_lock, logical_lines, normalize_spaces
from dockyard.locks.pins import parse_pins, render_pins
from dockyard.locks.plan import Wish, plan_batches
from dockyard.settings import Settings
from tests.lock_project import lock_all, pin, write_inputs

PURPOSES = ("base", "production", "test", "lint", "worker")
LINES = (
    "flask",
    "Flask[async] >= 3 , < 4",
    'tomli ; python_version < "3.11"',
    "requests~=2.0  # the client",
    "urllib3 \\\n    >= 2",
    "# nothing but words",
    "",
    "name @ https://host/name-1.0.tar.gz",
    "--index-url https://host/simple",
    "--extra-index-url https://${USER}:${TOKEN}@host/more",
    "--only-binary :all:",
    "\tzipp\t==\t3.*",
)
PINS = tuple(pin(name, version, "flask") for name in ("flask", "idna", "zipp") for version in ("1.0", "2.0.post1"))
PIECES = (
    "a",
    "b==1",
    " ",
    "\t",
    "#",
    " # c",
    "\\",
    "\n",
    "\r\n",
    "\r",
    "\x0c",
    "\\\n",
    "\\ \n",
    "--hash=x",
    "\u00a0",
    "\u2028",
    "é",
)
words = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
requirement = st.sampled_from(
    (
        "flask",
        "flask>=3",
        "flask[async,dotenv]>=3,<4",
        'flask>=3;python_version<"3.12"',
        "a.b-c_d==1.0.*",
        "flask~=3.0;extra=='x' and os_name!='nt'",
        "flask===3",
        "flask@https://host/flask-3.0.tar.gz",
    )
)


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, str]:
    """Draw the .in files of a project: a few purposes, each with lines, and with -r of earlier ones."""
    made: dict[str, str] = {}
    for name in draw(st.lists(st.sampled_from(PURPOSES), min_size=1, unique=True)):
        lines = draw(st.lists(st.sampled_from(LINES), max_size=6))
        included = draw(st.lists(st.sampled_from([*made]), unique=True)) if made else []
        lines += [f"-r {other}.in" for other in included]
        ends = draw(st.sampled_from(["\n", "\r\n"]))
        made[name] = ends.join([*draw(st.permutations(lines)), "click", ""])
    return made


def project(root: str, files: Mapping[str, str]) -> Settings:
    """Return the settings of a project of two Pythons with these inputs."""
    settings = Settings(root=Path(root), app="a:b", image="a", pythons=("3.12", "3.13"), python="3.13")
    write_inputs(settings.root, files)
    return settings


def tree(settings: Settings) -> dict[str, bytes]:
    """Return every lock of a project."""
    return {str(path): path.read_bytes() for path in settings.root.rglob("*.txt")}


@given(inputs(), st.lists(st.sampled_from(PINS), unique=True))
def test_a_check_after_a_compile_passes_and_another_compile_changes_nothing(
    files: dict[str, str], pins: list[str]
) -> None:
    """For any inputs and whatever a compiler writes: nothing is stale then, and all of it anew gives the same bytes."""
    with tempfile.TemporaryDirectory() as root:
        settings = project(root, files)
        compiled = dict.fromkeys(files, "".join(pins))
        lock_all(settings, compiled)
        assert check_project(settings) == ()
        assert plan_batches(inspect_locks(settings), Wish()) == ()
        before = tree(settings)
        assert len(before) == 2 * len(files)
        lock_all(settings, compiled)
        assert tree(settings) == before


@given(inputs(), st.data())
def test_a_character_in_an_input_counts_exactly_if_it_does_for_pip(files: dict[str, str], data: st.DataObject) -> None:
    """One character more, less or another, anywhere: the check finds it if and only if pip's own lines are others."""
    name = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[name]) - 1))
    character = data.draw(st.sampled_from([*string.printable, "é", ""]))
    insert = data.draw(st.booleans())
    after = files[name][:at] + character + files[name][at if insert else at + 1 :]
    with tempfile.TemporaryDirectory() as root:
        settings = project(root, files)
        lock_all(settings, dict.fromkeys(files, PINS[0]))
        write_inputs(settings.root, {name: after})
        problems = check_project(settings)
    if pips(after) == pips(files[name]):
        assert problems == (), after
    elif [meaning(line) for line in pips(after)] != [meaning(line) for line in pips(files[name])]:
        assert problems, after


def pips(text: str) -> list[str]:
    """Return the lines of a requirements file as pip itself takes them, without their numbers."""
    return [line.strip() for _, line in preprocess(text) if line.strip()]


def meaning(line: str) -> object:
    """Return what packaging makes of a line, without the spaces of a line that is something else."""
    try:
        found = Requirement(line)
    except InvalidRequirement:
        return "".join(line.split())
    return found.name, sorted(found.extras), sorted(map(str, found.specifier)), str(found.marker), found.url


@pytest.mark.parametrize("lines", [words, st.text()], ids=["words", "any text"])
def test_logical_lines_are_those_of_pip(lines: st.SearchStrategy[str]) -> None:
    """Whatever a file holds, pip's own reader and ours give the same lines."""

    @given(lines)
    def same(text: str) -> None:
        assume("${" not in text)
        assert [line.text for line in logical_lines(text)] == pips(text)

    same()


@given(requirement, st.data())
def test_spacing_never_hides_another_requirement(text: str, data: st.DataObject) -> None:
    """Two lines that are the same but for spacing mean the same to packaging, or it can read neither."""
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.sampled_from([*string.printable.strip(), " ", "\t", ""]))
    other = text[:at] + character + text[at if data.draw(st.booleans()) else at + 1 :]
    if normalize_spaces(other) == normalize_spaces(text):
        assert meaning(other) == meaning(text)


@given(st.lists(st.sampled_from(PINS), min_size=1, unique=True), st.data())
def test_a_character_in_a_lock_counts_exactly_if_it_does_for_pip(pins: list[str], data: st.DataObject) -> None:
    """A lock with one character changed is another one if and only if pip reads another one, but for gaps' lengths."""
    before = "".join(pins)
    at = data.draw(st.integers(0, len(before) - 1))
    character = data.draw(st.sampled_from([*string.printable, ""]))
    after = before[:at] + character + before[at if data.draw(st.booleans()) else at + 1 :]
    assume("${" not in after)
    wanted, found = ([" ".join(line.split(" ")).split() for line in pips(text)] for text in (before, after))
    assert (canonicalize_lock(after.encode()) != canonicalize_lock(before.encode())) == (wanted != found), after


@given(st.lists(st.sampled_from(PINS), unique=True))
def test_pins_are_written_as_they_are_read(pins: list[str]) -> None:
    """What is rendered is read as the same pins, and rendered again it is the same text."""
    read = parse_pins("".join(pins))
    written = render_pins((), read)
    assert [each._replace(line=0) for each in parse_pins(written)] == [each._replace(line=0) for each in read]
    assert render_pins((), parse_pins(written)) == written
