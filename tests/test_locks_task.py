"""What `invoke lock` and the hook print, and how they end."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dockyard import console
from dockyard.errors import ChangesPending, DockyardError, UsageError
from dockyard.locks import check
from dockyard.locks import compile as compiling
from dockyard.locks.check import inspect_locks
from dockyard.locks.compile import Compiled, Outcome, choose_images
from dockyard.locks.inputs import InputError
from dockyard.locks.plan import Batch, Built, Wish, collect_built, finish_locks, plan_batches
from dockyard.process import Command, capture
from dockyard.settings import Settings
from dockyard.tasks.lock import make_and_print, print_chains, print_problems, warn_of_stale_locks
from tests.conftest import replace_everywhere
from tests.lock_project import COMPILED, compiled_here, locked_project, pin
from tests.scripted_docker import Docker

PROJECT = '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\npythons = ["3.12", "3.13"]\n'


@pytest.fixture
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return a locked project whose folder is the current one."""
    (settings.root / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    monkeypatch.chdir(settings.root)
    for name in ("DOCKYARD_RESOLVER", "DOCKYARD_PYTHONS"):
        monkeypatch.delenv(name, raising=False)
    console.show_progress()
    return locked_project(settings)


YANKED: dict[str, None] = {}
"""What the compilers say is yanked; a test puts something in."""


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand in for the engine: return the texts that compiles give, to be changed by a test."""
    texts = dict(COMPILED)

    def compile_all(_engine: object, batches: list[Batch], *_more: object) -> Compiled:
        made = [finish_locks(batch, compiled_here(texts)) for batch in batches]
        return Compiled({path: text for each in made for path, text in each.items()}, [*YANKED])

    monkeypatch.setattr(compiling, "compile_all", compile_all)
    docker = Docker()
    docker.registry = {f"python:{python}-slim": f"sha256:{python}" for python in ("3.12", "3.13")}
    replace_everywhere(monkeypatch, "find_engine", lambda settings: docker.engine)
    return texts


def test_the_hook_is_silent_where_all_is_well(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and not a word."""
    assert check.main() == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.processes
@pytest.mark.host
def test_the_hook_as_a_program(project: Settings) -> None:
    """What it says reaches a pipe before it ends, with its exit code."""
    (project.root / "requirements/test.in").write_text("pytest\nidna\n", encoding="utf-8")
    environment = {name: None for name in os.environ if name.startswith(("DOCKYARD_", "PYTHON"))}
    command = Command((str(Path(sys.executable).with_name("dockyard-lock-check")),), cwd=project.root, env=environment)
    done = capture(command, check=False)
    assert done.returncode == 1
    assert "requirements/test.in:1: has changed since the locks were made" in done.stdout
    assert done.stderr == "TIP   to mend: invoke lock\n"


def test_the_hook_names_place_and_remedy(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, one line that an editor can follow for each problem, and the command that mends it."""
    (project.root / "requirements/test.in").write_text("pytest\nidna\n", encoding="utf-8")
    assert check.main() == 1
    out, err = capsys.readouterr()
    assert "requirements/test.in:1: has changed since the locks were made\n" in out
    assert err == "TIP   to mend: invoke lock\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (PROJECT.replace('"3.13"', "3.13"), "pythons"),
        (PROJECT + 'resolver = "pip"\n', "resolver = 'pip': must be one of"),
        (PROJECT + "platforms = 1\n", "platforms = 1: must be a list"),
        ("[tool", "not valid TOML"),
    ],
)
def test_the_hook_tells_wrong_settings(
    project: Settings, capsys: pytest.CaptureFixture[str], wrong: str, said: str
) -> None:
    """Exit 2 with the settings' own message."""
    (project.root / "pyproject.toml").write_text(wrong, encoding="utf-8")
    assert check.main() == 2
    assert said in capsys.readouterr().err


def test_check_names_what_was_not_copied(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A dependency that pyproject.toml has got since is a problem of the file that init copied the others into."""
    (project.root / "pyproject.toml").write_text(PROJECT + '[project]\ndependencies = ["rq>=2"]\n', encoding="utf-8")
    with (project.root / "requirements" / "production.in").open("a", encoding="utf-8") as file:
        file.write("# Copied from [project] of pyproject.toml\n")
    with pytest.raises(ChangesPending, match="1 problem") as caught:
        print_problems(project, as_json=False)
    assert "dockyard init --diff" in caught.value.hint
    said = " ".join(capsys.readouterr().out.split())
    assert "requirements/production.in:1 rq>=2 is missing, which [project] of pyproject.toml asks for" in said


def test_check_prints_a_table_or_json(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """People get a table and an error, machines the same as JSON."""
    print_problems(project, as_json=False)
    (project.root / "requirements/3.13/test.txt").unlink()
    with pytest.raises(ChangesPending, match="1 problem with the locks"):
        print_problems(project, as_json=False)
    assert "requirements/3.13/test.txt:1" in capsys.readouterr().out
    with pytest.raises(ChangesPending):
        print_problems(project, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["path"] == "requirements/3.13/test.txt"


def test_a_build_with_stale_locks_says_so(project: Settings, said: list[str]) -> None:
    """One warning with the place and what mends it; an error with --locked; nothing where there is nothing to lock."""
    warn_of_stale_locks(project, locked=True)
    (project.root / "requirements/base.in").write_text("flask\n", encoding="utf-8")
    warn_of_stale_locks(project, locked=False)
    assert len(said) == 1
    assert said[0].startswith("requirements/base.in:1: has changed since the locks were made; the image")
    assert said[0].endswith("to mend: invoke lock")
    with pytest.raises(ChangesPending, match=r"base\.in:1: has changed") as caught:
        warn_of_stale_locks(project, locked=True)
    assert caught.value.hint == "to mend: invoke lock"
    shutil.rmtree(project.root / "requirements")
    warn_of_stale_locks(project, locked=True)


def test_nothing_stale_needs_no_engine(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A compile after a compile asks for no engine and changes nothing."""
    make_and_print(project, Wish(), dry_run=False, as_json=False)
    assert "nothing was stale" in capsys.readouterr().err


def test_a_compile_shows_what_changed_and_writes_it(
    project: Settings, compiled: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The table says package, from, to, step, locks and reason; afterwards the check passes."""
    compiled["test"] = compiled["test"].replace("pytest==9.2.0", "pytest==10.0")
    make_and_print(project, Wish(packages=("pytest",)), dry_run=False, as_json=False)
    out, err = capsys.readouterr()
    row = next(line for line in out.splitlines() if "pytest" in line).split()
    assert row == ["pytest", "9.2.0", "10.0", "major", "test", "all", "requirements/test.in"]
    assert "2 locks written" in err
    assert check.main() == 0


def test_a_dry_run_writes_nothing_and_ends_with_one(
    project: Settings, compiled: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Changes pending are exit 1, so that CI can watch for upgrades; none pending is exit 0."""
    before = {path: path.read_bytes() for path in project.root.rglob("*.txt")}
    compiled["test"] += pin("zipp", "4", "pytest")
    with pytest.raises(ChangesPending, match="the locks would change"):
        make_and_print(project, Wish(everything=True), dry_run=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [(each["package"], each["step"], each["from"]) for each in told["changes"]] == [("zipp", "added", None)]
    assert before == {path: path.read_bytes() for path in project.root.rglob("*.txt")}
    del compiled["test"]
    compiled["test"] = COMPILED["test"]
    make_and_print(project, Wish(everything=True), dry_run=True, as_json=False)


def test_locks_that_nothing_asks_for_are_removed(
    project: Settings, compiled: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that Dockyard made go with their Python; a file of another origin stays, and is a problem."""
    (project.root / "requirements/3.12/notes.txt").write_text("mine\n", encoding="utf-8")
    make_and_print(project._replace(pythons=("3.13",)), Wish(), dry_run=False, as_json=False)
    assert [path.name for path in (project.root / "requirements/3.12").iterdir()] == ["notes.txt"]
    assert "3 removed" in capsys.readouterr().err


def test_a_broken_input_stops_a_compile(project: Settings) -> None:
    """Nothing is compiled while an input cannot be read."""
    (project.root / "requirements/test.in").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"test\.in:1: asks for nothing"):
        make_and_print(project, Wish(), dry_run=False, as_json=False)


def test_reasons_are_chains_from_the_inputs(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """--why says who asks for a package and in which locks; an unknown one is a usage error."""
    print_chains(project, "Flask", as_json=False)
    assert "requirements/base.in -> flask" in capsys.readouterr().out
    print_chains(project, "gunicorn", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == [
        {
            "pin": "gunicorn==27.0.1",
            "locks": ["requirements/3.12/production.txt", "requirements/3.13/production.txt"],
            "chains": [["requirements/production.in", "gunicorn"]],
        }
    ]
    with pytest.raises(UsageError, match="no lock has a package nothing"):
        print_chains(project, "nothing", as_json=False)


def test_a_python_without_a_base_is_compiled_by_uv_in_another_one(project: Settings, said: list[str]) -> None:
    """It says so in one line, and takes the newest base there is."""
    docker = Docker()
    docker.registry = {f"python:{python}-slim": f"sha256:{python}" for python in ("3.9", "3.13")}
    project = project._replace(base="registry", pythons=("3.9", "3.12", "3.13"))
    _, without, newest = choose_images(project, docker.engine, plan_batches(inspect_locks(project), Wish(True)))
    assert (newest.image, newest.resolver) == ("python:3.13-slim@sha256:3.13", "pip-tools")
    assert (without.image, without.resolver) == ("python:3.13-slim@sha256:3.13", "uv")
    assert [line for line in said if line.startswith("Python 3.12: no base image here; uv")] == [
        "Python 3.12: no base image here; uv makes its locks from Python 3.13, with the same pins and hashes"
    ]


@pytest.mark.parametrize("spare", [True, False])
def test_with_no_base_at_all_another_python_is_looked_for(project: Settings, spare: bool) -> None:
    """A lock of the one Python without a base is made in a base of another; where there is none, the reason is told."""
    docker = Docker()
    docker.registry = {"python:3.13-slim": "sha256:1"} if spare else {}
    project = project._replace(base="registry")
    (project.root / "requirements/3.12/test.txt").unlink()
    batches = plan_batches(inspect_locks(project), Wish())
    if spare:
        placed = replace(batches[0], image="python:3.13-slim@sha256:1", resolver="uv")
        assert choose_images(project, docker.engine, batches) == [placed]
    else:
        with pytest.raises(DockyardError, match=r"no base image for Python 3\.12: the registry has no"):
            choose_images(project, docker.engine, batches)


def test_a_yanked_pin_that_stays_is_told(
    project: Settings, compiled: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the reason and the command, however many locks keep it; machines get it as well."""
    said = "pytest==9.2.0 was yanked from its index, because: broken on Mondays"
    monkeypatch.setitem(YANKED, said, None)
    (project.root / "requirements/test.in").write_text("-r base.in\npytest>1\n", encoding="utf-8")
    make_and_print(project, Wish(), dry_run=False, as_json=False)
    assert capsys.readouterr().err.count(said) == 1
    (project.root / "requirements/test.in").write_text("-r base.in\npytest>2\n", encoding="utf-8")
    make_and_print(project, Wish(), dry_run=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["yanked"] == [said]


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_built_from_source_is_listed(
    project: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """After every run, changes or not: package, platforms, locks."""
    paths = tuple(f"requirements/{python}/production.txt" for python in project.pythons)
    built = (Built("sail", ("linux/arm64", "linux/s390x"), paths),)
    outcome = Outcome({}, (), 0, built=built)
    monkeypatch.setattr(compiling, "make_locks", lambda *_arguments, **_options: outcome)
    make_and_print(project, Wish(), dry_run=False, as_json=as_json)
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["built"] == [
            {"package": "sail", "platforms": ["linux/arm64", "linux/s390x"], "locks": list(paths)}
        ]
    else:
        row = next(line for line in out.splitlines() if "sail" in line).split()
        assert row == ["sail", "linux/arm64,", "linux/s390x", "production", "all"]


def test_what_is_built_from_source_is_read_from_all_locks() -> None:
    """From those that were made and those that stay; a package on other platforms elsewhere is told apart."""

    def lock(purpose: str, *rows: str) -> check.Lock:
        text = "".join(f"# built from source: {row}\n" for row in rows)
        return check.Lock("3.13", purpose, (), {}, content=text.encode())

    found = collect_built(
        [
            lock("a", "sail on linux/arm64", "mast on linux/arm64"),
            lock("b", "sail on linux/arm64"),
            lock("c", "sail on linux/386"),
        ]
    )
    assert found == (
        Built("mast", ("linux/arm64",), ("requirements/3.13/a.txt",)),
        Built("sail", ("linux/386",), ("requirements/3.13/c.txt",)),
        Built("sail", ("linux/arm64",), ("requirements/3.13/a.txt", "requirements/3.13/b.txt")),
    )
