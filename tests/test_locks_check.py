"""The check: whatever makes a lock stale or was edited is found and named, and nothing else is."""

import re
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dockyard.locks import check, plan
from dockyard.locks.check import (
    check_project,
    inspect_locks,
    list_purposes,
    lock_path,
)
from dockyard.locks.inputs import canonicalize_lock, logical_lines, normalize_spaces
from dockyard.locks.pins import parse_pins
from dockyard.locks.plan import finish_locks, plan_batches
from dockyard.settings import Settings
from tests.lock_project import COMPILED, INPUTS, compiled_here, lock_all, locked_project, pin, write_inputs

LOCK = "requirements/3.13/production.txt"
INPUT = "has changed since the locks were made"
EDITED = "a pin, a hash or what it says is built from source was edited by hand"


@pytest.fixture
def project(settings: Settings) -> Settings:
    """Return a project whose locks are all as they should be."""
    return locked_project(settings)


def edit(project: Settings, path: str, old: str, new: str) -> None:
    """Replace a text in a file of the project, which must hold it."""
    place = project.root / path
    text = place.read_text(encoding="utf-8")
    assert old in text
    place.write_text(text.replace(old, new, 1), encoding="utf-8", newline="")


def found(project: Settings) -> list[str]:
    """Return the problems as lines."""
    return [f"{each.path}:{each.line}: {each.message}" for each in check_project(project)]


def test_a_check_after_a_compile_passes(project: Settings) -> None:
    """Fresh locks have no problem."""
    assert found(project) == []


def test_a_lock_that_cannot_be_read_is_not_made_again(project: Settings) -> None:
    """What is there is nothing that `invoke lock` could replace: the tip says so."""
    _folder(project.root)
    assert {each.mend for each in check_project(project) if "cannot be read" in each.message} == {
        "check what it is and who may read it"
    }


def test_the_api_names_places_and_purposes(project: Settings) -> None:
    """Others ask this package where a lock is and which purposes there are."""
    assert project.root / lock_path("3.13", "production") == project.root / LOCK
    assert list_purposes(project.root) == ("base", "production", "test")


def _rename_input(root: Path) -> None:
    (root / "requirements/test.in").rename(root / "requirements/tests.in")


def _old_python(root: Path) -> None:
    (root / "requirements/3.10").mkdir()
    (root / "requirements/3.10/test.txt").write_text("a==1\n", encoding="utf-8")


def _foreign(root: Path) -> None:
    (root / LOCK).write_text("flask==3.1.3\n", encoding="utf-8")


def _other_python(root: Path) -> None:
    (root / LOCK).write_bytes((root / "requirements/3.12/production.txt").read_bytes())


def _not_text(root: Path) -> None:
    (root / LOCK).write_bytes((root / LOCK).read_bytes() + b"\xff\n")


def _folder(root: Path) -> None:
    (root / LOCK).unlink()
    (root / LOCK).mkdir()


def _add_input(root: Path) -> None:
    (root / "requirements/docs.in").write_text("sphinx\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(_rename_input, "requirements/3.13/tests.txt:1: is missing", id="input renamed: new lock"),
        pytest.param(
            _rename_input,
            "requirements/3.13/test.txt:1: there is no requirements/test.in any more",
            id="input renamed: old lock",
        ),
        pytest.param(
            _old_python, "requirements/3.10/test.txt:1: Python 3.10 is not among the pythons", id="Python gone"
        ),
        pytest.param(_foreign, f"{LOCK}:1: was not made by Dockyard", id="no header"),
        pytest.param(
            _other_python,
            f"{LOCK}:2: was made for Python 3.12, linux, all hashes, and should be made for Python 3.13",
            id="other interpreter",
        ),
        pytest.param(_not_text, EDITED, id="not text"),
        pytest.param(_folder, f"{LOCK}:1: cannot be read (Is a directory): nothing is locked for", id="folder"),
        pytest.param(
            _add_input,
            "requirements/3.12/docs.txt:1: is missing: nothing is locked for requirements/docs.in",
            id="input added",
        ),
        pytest.param(lambda root: (root / LOCK).unlink(), f"{LOCK}:1: is missing", id="lock removed"),
    ],
)
def test_files_that_came_or_went_are_named(project: Settings, change: Callable[[Path], None], expected: str) -> None:
    """A missing, misplaced or foreign lock is a problem of its own kind."""
    change(project.root)
    assert [line for line in found(project) if expected in line], found(project)


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("requirements/base.in", "flask>=3", "flask>=3.1", f"requirements/base.in:1: {INPUT}"),
        ("requirements/base.in", "fastjsonschema\n", "", f"requirements/base.in:1: {INPUT}"),
        ("requirements/base.in", "fastjsonschema\n", "fastjsonschema\nidna\n", INPUT),
        ("requirements/test.in", "3.9", "3.8", f"requirements/test.in:1: {INPUT}"),
        (LOCK, "gunicorn==27.0.1", "gunicorn==27.0.2", f"{LOCK}:6: {EDITED}"),
        (LOCK, "==3.1.3 \\\n    --hash=sha256:", "==3.1.3 \\\n    --hash=sha256:0", EDITED),
        (LOCK, "gunicorn==27.0.1 \\\n", "", EDITED),
        (LOCK, "# by: pip-tools 7", "# by: pip-tools 6", f"{LOCK}:3: was made by pip-tools 6"),
        (LOCK, "base.in sha256:", "base.in sha256:0", f"requirements/base.in:1: {INPUT}"),
        (LOCK, "# body: sha256:", "# body: sha256:0", EDITED),
        (LOCK, "# body: ", "# bodi: ", EDITED),
    ],
)
def test_an_edit_is_named_with_its_file(project: Settings, path: str, old: str, new: str, expected: str) -> None:
    """An edit of an input or a lock is found; which line it was is what version control shows."""
    edit(project, path, old, new)
    assert [line for line in found(project) if expected in line], found(project)


def test_a_header_of_another_order_is_found(project: Settings) -> None:
    """The order in which files are read counts, so two rows that changed places are an edit."""
    text = (project.root / LOCK).read_text(encoding="utf-8")
    rows = [f"{row}\n" for row in text.splitlines() if row.startswith("# from: ")]
    edit(project, LOCK, "".join(rows), "".join(reversed(rows)))
    assert [each.message for each in check_project(project)] == [
        "its header does not fit its inputs: it was edited by hand"
    ]


def test_a_change_of_production_reaches_the_locks_that_agree_with_it(project: Settings) -> None:
    """A lock records the pins that it took over, and is stale when they are others."""
    lock_all(project, {**COMPILED, "production": COMPILED["production"] + pin("zipp", "4.1", "flask")})
    edit(project, LOCK, "zipp==4.1", "zipp==4.2")
    assert any(
        line.startswith("requirements/3.13/test.txt:") and f"{LOCK} has changed" in line for line in found(project)
    )


def test_settings_are_part_of_what_made_a_lock(project: Settings) -> None:
    """Another platform or resolver, or a Python more, makes locks stale."""
    assert not found(project)
    assert "was made for Python 3.12, linux, all" in found(project._replace(platforms=("linux/arm64",)))[0]
    assert "was made by pip-tools" in found(project._replace(resolver="uv"))[0]
    assert (
        "requirements/3.14/production.txt:1: is missing" in found(project._replace(pythons=("3.12", "3.13", "3.14")))[0]
    )


def test_a_lock_by_uv_stands_where_pip_tools_is_asked_for(project: Settings) -> None:
    """A Python without a base image gets its locks from uv, which writes the same pins; they are accepted anywhere."""
    for path in sorted(project.root.glob("requirements/3.12/*.txt")):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"# by: {check.PIP_TOOLS}", f"# by: {check.UV}"), encoding="utf-8")
    assert found(project) == []


def test_a_broken_input_is_one_problem(project: Settings) -> None:
    """What is wrong with an input is told once, not for every lock of it."""
    edit(project, "requirements/base.in", "flask>=3", "-r gone.in")
    broken = [line for line in found(project) if "gone.in" in line]
    assert broken == ["requirements/base.in:2: -r requirements/gone.in: there is no such file"]


def test_a_project_without_inputs_is_told_to_write_one(settings: Settings) -> None:
    """No requirements folder at all is a problem with a way out."""
    assert [(each.path, each.mend) for each in check_project(settings)] == [
        ("requirements", "write requirements/production.in")
    ]


@pytest.mark.parametrize("text", ["", "{}\n"])
def test_a_merge_conflict_in_a_lock_is_found(project: Settings, text: str) -> None:
    """Conflict marks are no comments."""
    edit(project, LOCK, "gunicorn==", f"<<<<<<< ours\n{text}=======\n>>>>>>> theirs\ngunicorn==")
    assert found(project)


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return a locked project for the tests that edit it again and again."""
    root = tmp_path_factory.mktemp("room")
    return locked_project(Settings(root=root, app="shop:app", image="shop", pythons=("3.13",), python="3.13"))


edits = hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
characters = st.sampled_from([*string.printable, "\u00a0", "\u2028", "\ufeff", "é", ""])


def edited(text: str, at: int, character: str, *, insert: bool) -> str:
    """Return a text with one character put in, replaced or, with none given, taken out."""
    at %= len(text)
    return text[:at] + character + text[at if insert else at + 1 :]


def meaning(text: str) -> str:
    """Return what a line says: pip takes the file of -r with or without a space before it."""
    return re.sub(r"^(-[rc])[ \t]*", r"\1 ", normalize_spaces(text))


@edits
@given(st.sampled_from(sorted(INPUTS)), st.integers(0, 500), characters, st.booleans())
def test_an_edit_of_an_input_is_found_exactly_if_it_means_something(
    room: Settings, name: str, at: int, character: str, insert: bool
) -> None:
    """One character anywhere in any input: the check fails if and only if a requirement is another one."""
    after = edited(INPUTS[name], at, character, insert=insert)
    meant, means = (
        [meaning(line.text) for line in logical_lines(text)] for text in (INPUTS[name], after.lstrip("\ufeff"))
    )
    assume(after.count("\ufeff") == after.startswith("\ufeff"))
    place = room.root / "requirements" / f"{name}.in"
    try:
        place.write_text(after, encoding="utf-8", newline="")
        problems = check_project(room)
    finally:
        place.write_text(INPUTS[name], encoding="utf-8", newline="")
    assert bool(problems) == (means != meant), (after, problems)
    assert all(problem.line > 0 and problem.mend for problem in problems)


@edits
@given(st.integers(0, 5000), characters, st.booleans())
def test_an_edit_of_a_lock_is_found_exactly_if_it_means_something(
    room: Settings, at: int, character: str, insert: bool
) -> None:
    """One character anywhere below the header: the check fails if and only if pip would read another lock."""
    place = room.root / LOCK
    before = place.read_bytes()
    head, body = before.decode().split("\n\n", 1)
    after = f"{head}\n\n{edited(body, at, character, insert=insert)}".encode()
    try:
        place.write_bytes(after)
        problems = [problem for problem in check_project(room) if problem.path == LOCK]
    finally:
        place.write_bytes(before)
    assert bool(problems) == (canonicalize_lock(after) != canonicalize_lock(before)), (after, problems)


@edits
@given(st.integers(0, 5000), st.sampled_from([*string.ascii_letters, *string.digits, ""]))
def test_an_edit_of_a_header_is_found(room: Settings, at: int, character: str) -> None:
    """One letter or digit anywhere in the fields of the header, but for the marks that only help to explain."""
    place = room.root / LOCK
    before = place.read_text(encoding="utf-8")
    head, body = before.split("\n\n", 1)
    title, fields = head.split("\n", 1)
    changed = edited(fields, at, character, insert=False)
    assume(changed.split() != fields.split())
    assume(all(line in changed for line in fields.split("\n") if line.startswith("# pins:")))
    try:
        place.write_text(f"{title}\n{changed}\n\n{body}", encoding="utf-8")
        problems = check_project(room)
    finally:
        place.write_text(before, encoding="utf-8")
    assert problems, changed


@pytest.mark.parametrize("mark", ["\r\n", "\n\n", "  \n", "\n# a remark\n"])
def test_line_ends_blank_lines_and_comments_never_count(project: Settings, mark: str) -> None:
    """In every input: CRLF, blank lines, trailing spaces, comments and a byte order mark change nothing."""
    for name, text in INPUTS.items():
        place = project.root / "requirements" / f"{name}.in"
        place.write_text("\ufeff" + text.replace("\n", mark), encoding="utf-8", newline="")
    assert found(project) == []


def test_locks_with_crlf_and_a_byte_order_mark_pass(project: Settings) -> None:
    """A checkout that turns line ends around does not make a lock stale."""
    for place in project.root.glob("requirements/*/*.txt"):
        place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes().replace(b"\n", b"\r\n"))
    assert found(project) == []


def test_inputs_alone_are_reported_as_locks_that_are_missing(settings: Settings) -> None:
    """Before the first compile every lock is missing, for each Python and purpose."""
    write_inputs(settings.root)
    assert len([line for line in found(settings) if "is missing" in line]) == 6


NARROW = {"hashes": "platform", "platforms": ("linux/amd64",)}


def seen(text: str) -> dict[str, str]:
    """Return the files that a compiler saw: each is for any platform, but those of fastjsonschema are for none."""
    return {
        digest: "a-1.tar.gz" if each.name == "fastjsonschema" else "a-1-py3-none-any.whl"
        for each in parse_pins(text)
        for digest in each.hashes
    }


@pytest.fixture
def narrow(settings: Settings) -> Settings:
    """Return a project whose locks of what ships are for one platform, with a package that is built from source."""
    narrowed = settings._replace(**NARROW)  # type: ignore[arg-type]
    write_inputs(narrowed.root, {**INPUTS, "build": "setuptools\n"})
    compiled = {**COMPILED, "build": pin("setuptools", "80.1", "-r requirements/build.in")}
    for batch in plan_batches(inspect_locks(narrowed), plan.Wish()):
        answers = {name: replace(one, files=seen(compiled[name])) for name, one in compiled_here(compiled).items()}
        for path, text in finish_locks(batch, answers, "2.41").items():
            (narrowed.root / path).parent.mkdir(exist_ok=True)
            (narrowed.root / path).write_text(text, encoding="utf-8")
    return narrowed


def test_locks_for_a_platform_pass_the_check(narrow: Settings) -> None:
    """Those of what ships say so; those of other purposes hold all hashes."""
    assert found(narrow) == []
    first = {path.stem: path.read_text(encoding="utf-8").splitlines()[1] for path in narrow.root.rglob("3.13/*.txt")}
    assert {name for name, line in first.items() if line.endswith("platform hashes")} == {"base", "production"}
    assert "# built from source: fastjsonschema on linux/amd64\n" in (narrow.root / LOCK).read_text(encoding="utf-8")


def test_another_choice_of_hashes_makes_what_ships_stale(narrow: Settings) -> None:
    """And nothing else: the setting, its platforms, and the command that mends it."""
    lines = found(narrow._replace(hashes="all"))
    said = (
        "was made for Python 3.13, linux/amd64, platform hashes, and should be made for Python 3.13, linux/amd64, all"
    )
    assert [line for line in lines if line.startswith(f"{LOCK}:2: {said}")]
    assert {line.split(":")[0].rpartition("/")[2] for line in lines} == {"base.txt", "production.txt"}
    assert {each.mend for each in check_project(narrow._replace(hashes="all"))} == {"invoke lock"}
    assert found(narrow._replace(platforms=("linux/amd64", "linux/arm64")))


def test_what_is_built_from_source_cannot_be_edited(narrow: Settings) -> None:
    """The build acts on that line, so it is covered by the fingerprint."""
    edit(narrow, LOCK, "fastjsonschema on linux/amd64", "flask on linux/amd64")
    assert any("what it says is built from source" in line for line in found(narrow))


def test_what_nothing_builds_is_a_problem(narrow: Settings) -> None:
    """A package from source needs a lock of what builds it, and the remedy is not another compile."""
    (narrow.root / "requirements/build.in").unlink()
    for path in narrow.root.rglob("build.txt"):
        path.unlink()
    problems = check_project(narrow)
    assert {each.path for each in problems} == {"requirements/3.12/production.txt", LOCK}
    assert problems[0].mend == "name it, such as setuptools, in requirements/build.in"
    lines = (narrow.root / LOCK).read_text(encoding="utf-8").splitlines()
    assert "fastjsonschema" in lines[problems[-1].line - 1]
