"""Which pins are behind: what an upgrade would give, with nothing written."""

import json

import pytest
from invoke.context import Context

from dockyard.locks import compile as compiling
from dockyard.locks.compile import Compiled
from dockyard.locks.plan import Batch, finish_locks
from dockyard.settings import Settings
from dockyard.tasks import lock as task
from dockyard.tasks.lock import print_outdated
from tests.conftest import replace_everywhere
from tests.lock_project import COMPILED, compiled_here, locked_project, pin
from tests.scripted_docker import Docker


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand in for the engine: return the texts that compiles give, to be changed by a test."""
    texts = dict(COMPILED)

    def compile_all(_engine: object, batches: list[Batch], *_more: object) -> Compiled:
        made = [finish_locks(batch, compiled_here(texts)) for batch in batches]
        return Compiled({path: text for each in made for path, text in each.items()})

    monkeypatch.setattr(compiling, "compile_all", compile_all)
    docker = Docker()
    docker.registry = {f"python:{python}-slim": f"sha256:{python}" for python in ("3.12", "3.13")}
    replace_everywhere(monkeypatch, "find_engine", lambda settings: docker.engine)
    return texts


def test_what_is_behind(
    settings: Settings, compiled: dict[str, str], capsys: pytest.CaptureFixture[str], said: list[str]
) -> None:
    """The table says package, locked, newest, step and locks; a package that an upgrade adds is not outdated."""
    project = locked_project(settings)
    before = {path: path.read_bytes() for path in project.root.rglob("*.txt")}
    compiled["test"] = compiled["test"].replace("pytest==9.2.0", "pytest==10.0") + pin("zipp", "4", "pytest")
    print_outdated(project, as_json=False)
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "pytest" in line).split()
    assert row == ["pytest", "9.2.0", "10.0", "major", "test", "all"]
    assert "zipp" not in out
    assert "1 package behind what the .in files and each Python allow; `invoke lock --upgrade` takes" in said[-1]
    assert before == {path: path.read_bytes() for path in project.root.rglob("*.txt")}


def test_nothing_is_behind(
    settings: Settings, compiled: dict[str, str], capsys: pytest.CaptureFixture[str], said: list[str]
) -> None:
    """No table, and one line."""
    print_outdated(locked_project(settings), as_json=False)
    assert capsys.readouterr().out == ""
    assert said[-1] == "no package is behind what the .in files and each Python allow"


def test_as_json(settings: Settings, compiled: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Machines get a list."""
    project = locked_project(settings)
    compiled["production"] = compiled["production"].replace("gunicorn==27.0.1", "gunicorn==27.1.0")
    print_outdated(project, as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {
            "package": "gunicorn",
            "locked": "27.0.1",
            "newest": "27.1.0",
            "step": "minor",
            "locks": ["requirements/3.12/production.txt", "requirements/3.13/production.txt"],
        }
    ]


def test_the_option_asks_for_it(
    settings: Settings,
    compiled: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`invoke lock --outdated` never makes a lock, also where one is stale."""
    project = locked_project(settings)
    (project.root / "requirements/test.in").write_text("-r base.in\npytest>1\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in project.root.rglob("*.txt")}
    replace_everywhere(monkeypatch, "settings", lambda: project)
    task.lock(Context(), outdated=True, json=True)
    assert json.loads(capsys.readouterr().out) == []
    assert before == {path: path.read_bytes() for path in project.root.rglob("*.txt")}
