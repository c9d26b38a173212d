"""The command line: every task's options, what the tasks of build, tag and push show, and how they end."""

import inspect
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from invoke.program import Program
from invoke.tasks import Task

from dockyard import console
from dockyard.bases.lookup import write_bases_lock
from dockyard.bases.resolve import Missing
from dockyard.errors import DockyardError
from dockyard.git import Git
from dockyard.image import build
from dockyard.image.build import Built, Request
from dockyard.image.names import Variant
from dockyard.registry import push
from dockyard.registry.push import Pushed
from dockyard.settings import Settings
from dockyard.tasks import namespace
from tests.conftest import keep_temporary_files, replace_everywhere
from tests.scripted_docker import Docker

GIT = Git("0123456789abcdef0123456789abcdef01234567", 1_700_000_000, "main", "v1.2.3")
DIGEST = "sha256:" + "a" * 64
BUILT = Built(
    Variant("production", "3.13"), ("shop:1.2.3", "shop:production"), DIGEST, 81_700_000,
    ({"size_bytes": 70_000_000, "created_by": ""}, {"size_bytes": 30, "created_by": "COPY src /app"}), 3.25,
    {"steps": 9, "cached": 7},
)  # fmt: skip
PUSHED = Pushed("registry.test/shop:1.2.3", DIGEST, 81_700_000, 2, 0, 3, 4.0)


def tasks() -> dict[str, Task[Any]]:
    """Return every task by the name that a person types."""
    return {name: namespace[name] for name in namespace.task_names}


NAMES = sorted(tasks())


@dataclass
class Line:
    """A command line in a project: it runs tasks in this process and remembers what they asked for."""

    root: Path
    capsys: pytest.CaptureFixture[str]
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    docker: Docker = field(default_factory=Docker)
    ending: BaseException | None = None

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run `invoke` with arguments; return its exit code and what it printed to stdout and stderr."""
        code: object = 0
        try:
            Program(namespace=namespace, name="invoke", binary="invoke").run(["invoke", *arguments])
        except SystemExit as end:
            code = end.code or 0
        assert isinstance(code, int)
        return (code, *self.capsys.readouterr())


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Line:
    """Return a command line in a project with a commit, where building and pushing is only remembered."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\npythons = ["3.12", "3.13"]\npython = "3.13"\n'
    )
    (tmp_path / "Dockerfile").write_text("FROM x AS base\nFROM base AS test\nFROM base AS production\n")
    monkeypatch.chdir(tmp_path)
    replace_everywhere(monkeypatch, "read_git", lambda _root: GIT)
    line = Line(tmp_path, capsys)
    replace_everywhere(monkeypatch, "find_engine", lambda _settings: line.docker.engine)

    def builds(_settings: Settings, request: Request) -> tuple[tuple[Built, ...], tuple[Missing, ...]]:
        if line.ending:
            raise line.ending
        line.asked.append(("build", request))
        return (BUILT,), (Missing("3.12", "nobody ships it"),)

    def pushes(_settings: Settings, request: Request) -> tuple[tuple[Built, ...], tuple[()]]:
        line.asked.append(("build and push", request))
        return (BUILT,), ()

    def ships(_settings: Settings, wanted: object, *, force: bool) -> tuple[Pushed, ...]:
        line.asked.append(("push", wanted, force))
        return (PUSHED, PUSHED)

    monkeypatch.setattr(build, "build_images", builds)
    monkeypatch.setattr(push, "build_and_push", pushes)
    monkeypatch.setattr(push, "push_variants", ships)
    return line


def test_the_verbs() -> None:
    """What the README promises is there."""
    promised = "build tag push lock doctor up down ps logs shell restart engine.status engine.start engine.stop"
    assert {*promised.split(), "engine.remove", "base.list", "base.update"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_a_task(name: str) -> None:
    """Each is text, a list of texts or a flag, and has its help."""
    task = tasks()[name]
    arguments = task.get_arguments()  # Invoke refuses a help text for what is no option, and two equal short names
    parameters = list(inspect.signature(task.body).parameters)[1:]
    assert {argument.name for argument in arguments} == set(parameters)
    for argument in arguments:
        assert argument.help, f"--{argument.name} has no help"
        assert argument.kind in (str, bool, list), argument.name
        assert argument.help[0] == argument.help[0].lower()
        assert not argument.help.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_a_task(invoke: Line, name: str) -> None:
    """`--help` shows its docstring, whose first line is a sentence for `--list`."""
    summary = (tasks()[name].__doc__ or "").splitlines()[0]
    assert summary.endswith((".", ":"))
    code, out, err = invoke("--help", name)
    assert (code, err) == (0, "")
    assert f"Usage: invoke [--core-opts] {name} " in out
    assert " ".join(summary.split()[:3]) in out


def test_an_option_that_is_none(invoke: Line) -> None:
    """Invoke itself tells of it, before any task begins."""
    code, out, err = invoke("build", "--targett", "test")
    assert (code, out) == (1, "")
    assert "--targett" in err
    assert invoke.asked == []


def test_dry_run(invoke: Line) -> None:
    """The images, their names and the command are shown, and nothing is done."""
    code, out, err = invoke("build", "--dry-run")
    assert (code, err) == (0, "")
    for words in ("docker buildx bake", "production", "3.13", "shop:1.2.3, shop:0123456789ab, shop:production"):
        assert words in out
    assert invoke.asked == []
    assert not (invoke.root / ".dockyard").exists()


def test_dry_run_for_a_machine(invoke: Line) -> None:
    """The same as JSON, for several targets on all Pythons, and with the words of a push."""
    code, out, _ = invoke("build", "--dry-run", "--json", "--target", "test", "--target", "production", "--python=all")
    assert code == 0
    plan = json.loads(out)
    assert [(one["target"], one["python"]) for one in plan["images"]] == [
        (target, python) for target in ("test", "production") for python in ("3.12", "3.13")
    ]
    assert plan["images"][0]["references"] == [
        "shop:1.2.3-test-py3.12",
        "shop:0123456789ab-test-py3.12",
        "shop:test-py3.12",
    ]
    assert "--load" in plan["command"].split()
    _, out, _ = invoke("build", "--dry-run", "--json", "--push", "--no-cache", "--tag", "7")
    plan = json.loads(out)
    assert [one["references"] for one in plan["images"]] == [["shop:7"]]
    assert {"--push", "--no-cache"} <= set(plan["command"].split())


def test_what_is_asked_for(invoke: Line) -> None:
    """Every option arrives; what is said twice counts once."""
    twice = ("--target", "test", "--target", "test", "--python", "3.12", "--python", "3.12")
    invoke("build", *twice, "--platform", "linux/arm64", "--tag", "1", "--tag", "2", "--no-cache")
    invoke("build")
    assert invoke.asked == [
        ("build", Request(("test",), ("3.12",), ("linux/arm64",), ("1", "2"), no_cache=True)),
        ("build", Request()),
    ]


def test_build_for_a_person(invoke: Line) -> None:
    """A table of images, and one of what each layer adds."""
    code, out, _ = invoke("build")
    assert code == 0
    first, _, second = out.partition("adds")
    for words in ("shop:1.2.3", "sha256:aaaaaaaaaaaa", "81.7 MB", "3.2 s", "7/9"):
        assert words in first
    for words in ("70.0 MB", "the base image", "30 B", "COPY src /app"):
        assert words in second


def test_build_for_a_machine(invoke: Line) -> None:
    """Nothing but JSON on stdout, with the Pythons that could not be built."""
    code, out, _ = invoke("build", "--json")
    assert code == 0
    assert json.loads(out) == {
        "images": [
            {
                "references": ["shop:1.2.3", "shop:production"],
                "target": "production",
                "python": "3.13",
                "digest": DIGEST,
                "size_bytes": 81_700_000,
                "seconds": 3.25,
                "cache": {"steps": 9, "cached": 7},
                "layers": [
                    {"size_bytes": 70_000_000, "created_by": ""},
                    {"size_bytes": 30, "created_by": "COPY src /app"},
                ],
            }
        ],
        "missing": [{"python": "3.12", "reason": "nobody ships it"}],
    }


@pytest.mark.parametrize("force", [False, True])
def test_build_and_push(invoke: Line, force: bool) -> None:
    """`--push` goes through the registry's checks, which `--force` softens."""
    assert invoke("build", "--push", *(("--force",) if force else ()))[0] == 0
    assert invoke.asked == [("build and push", Request(push=True, force=force))]


ENDINGS: dict[str, tuple[BaseException, int, str]] = {
    "failed": (DockyardError("the build failed", "read on"), 1, "ERROR the build failed\nTIP   read on\n"),
    "bug": (ZeroDivisionError("by zero"), 3, "ERROR this is a bug in Dockyard"),
    "interrupted": (KeyboardInterrupt(), 130, "\ninterrupted: nothing half-made was kept\n"),
}


@pytest.mark.parametrize(("error", "code", "said"), ENDINGS.values(), ids=ENDINGS)
def test_how_a_build_ends(
    invoke: Line, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    """Each way has its exit code and its words, through Invoke's own handling."""
    keep_temporary_files(monkeypatch, invoke.root)
    invoke.ending = error
    ended, out, err = invoke("build")
    assert (ended, out) == (code, "")
    assert err.startswith(said)


MISTAKES = {
    "target": (("build", "--dry-run", "--target", "prod"), "the Dockerfile has no target 'prod'"),
    "python": (("build", "--dry-run", "--python", "3.9"), "Python 3.9 is not supported by this project: 3.12, 3.13"),
    "tag": (("build", "--dry-run", "--tag", "a b"), "'a b' cannot be an image tag"),
    "target of a tag": (("tag", "--target", "prod", "--tag", "1"), "the Dockerfile has no target 'prod'"),
    "target of a push": (("push", "--target", "prod"), "the Dockerfile has no target 'prod'"),
    "python of a push": (("push", "--python", "3.9"), "Python 3.9 is not supported by this project: 3.12, 3.13"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_on_the_command_line(invoke: Line, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, a sentence and a tip, and nothing was done."""
    code, out, err = invoke(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"ERROR {said}")
    assert "\nTIP   " in err
    assert invoke.asked == []


@pytest.mark.parametrize("arguments", [("build", "--dry-run", "--push"), ("push",), ("push", "--dry-run")])
def test_a_push_without_a_name(invoke: Line, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """Outside git a tag must be given: a usage error, also of a dry run."""
    replace_everywhere(monkeypatch, "read_git", lambda _root: None)
    code, _, err = invoke(*arguments)
    assert (code, "there is no git commit to take a tag from" in err) == (2, True)
    assert invoke(*arguments, "--tag", "1")[0] == 0


def test_a_mistake_in_the_settings(invoke: Line) -> None:
    """It ends with the code for usage, and names file and key."""
    (invoke.root / "pyproject.toml").write_text('[tool.dockyard]\nap = "shop:app"\n')
    code, _, err = invoke("build", "--dry-run")
    assert code == 2
    assert "pyproject.toml: [tool.dockyard] ap" in err


def test_tag(invoke: Line) -> None:
    """The references alone are on stdout; without a name, those that git says are asked for."""
    invoke.docker.images = {"shop:test-py3.12": {"Id": "sha256:1"}, "shop:production": {"Id": "sha256:2"}}
    asked = ("tag", "--tag", "1", "--tag", "2", "--target", "test", "--python", "3.12")
    assert invoke(*asked) == (0, "shop:1-test-py3.12\nshop:2-test-py3.12\n", "")
    assert invoke("tag") == (0, "shop:1.2.3\nshop:0123456789ab\n", "")
    assert invoke.docker.images["shop:1.2.3"]["Id"] == "sha256:2"


def test_push_dry_run(invoke: Line) -> None:
    """Each name that would be pushed, for people and for machines."""
    code, out, _ = invoke("push", "--dry-run", "--target", "test")
    assert (code, "shop:1.2.3-test" in out, "shop:0123456789ab-test" in out) == (0, True, True)
    code, out, _ = invoke("push", "--dry-run", "--json", "--python", "all", "--tag", "7")
    assert json.loads(out) == [
        {"target": "production", "python": "3.12", "reference": "shop:7-py3.12"},
        {"target": "production", "python": "3.13", "reference": "shop:7"},
    ]
    assert invoke.asked == []


def test_push_dry_run_with_uncommitted_changes(invoke: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the push would be refused, unless it is forced."""
    replace_everywhere(monkeypatch, "read_git", lambda _root: replace(GIT, dirty=True))
    assert "WARNING shop:0123456789ab-dirty: built from uncommitted changes" in invoke("push", "--dry-run")[2]
    assert invoke("push", "--dry-run", "--force")[2] == ""


def test_push(invoke: Line) -> None:
    """A table, then each pushed image once by its digest; JSON has the same."""
    code, out, _ = invoke("push", "--force")
    pinned = f"registry.test/shop@{DIGEST}"
    assert code == 0
    assert out.endswith(f"\n{pinned}\n")
    assert out.count(pinned) == 1
    assert "registry.test/shop:1.2.3" in out
    assert invoke.asked == [
        ("push", {Variant("production", "3.13"): ("shop:1.2.3", "shop:0123456789ab")}, True),
    ]
    written = json.loads(invoke("push", "--json")[1])
    assert [(one["reference"], one["digest"], one["pinned"]) for one in written] == 2 * [
        (PUSHED.reference, DIGEST, pinned)
    ]


def test_bases_that_can_be_updated(invoke: Line) -> None:
    """A dry run shows them, changes nothing and ends with 1, so that a schedule can act on it."""
    pins = dict.fromkeys(("3.12", "3.13"), f"sha256:{'1' * 64}")
    write_bases_lock(invoke.root, pins)
    invoke.docker.registry = {f"python:{python}-slim": "sha256:2" for python in pins}
    code, shown, said = invoke("base.update", "--dry-run")
    assert code == 1
    assert "sha256:2" in shown
    assert console.name_commands("`invoke base.update` does it") in said
