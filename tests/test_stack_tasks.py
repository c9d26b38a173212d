"""The tasks of a stack: their options, and what goes to stdout."""

import json

import pytest
from invoke.exceptions import Exit

import dockyard.stack.stack  # noqa: F401 - replace_everywhere sees only what is imported
from dockyard.errors import UsageError
from dockyard.settings import Settings
from dockyard.tasks import boundary
from dockyard.tasks import stack as tasks
from tests.conftest import replace_everywhere
from tests.scripted_docker import Docker, container


@pytest.mark.parametrize("text", ["0", "-1", "65536", "8000x", "٣", "9" * 5000])
def test_bad_number(text: str) -> None:
    """What is no port is refused with the option's name."""
    with pytest.raises(UsageError, match=r"^--port .*: must be a whole number from 1 to 65535$"):
        boundary.parse_number(text, "--port", 65535)


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("65535", 65535), ("080", 80)])
def test_good_number(text: str, value: int) -> None:
    """The bounds themselves are allowed; what was not given is no number."""
    assert boundary.parse_number("", "--port", 65535) is None
    assert boundary.parse_number(text, "--port", 65535) == value


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Docker:
    """Let the tasks find a project and a scripted Docker."""
    docker = Docker()
    docker.images["shop:development"] = {"Id": "sha256:1"}
    (settings.root / "compose.yaml").touch()
    replace_everywhere(monkeypatch, "settings", lambda: settings)
    replace_everywhere(monkeypatch, "find_engine", lambda _settings: docker.engine)
    replace_everywhere(monkeypatch, "is_taken", lambda _host, _port: False)
    replace_everywhere(monkeypatch, "answers", lambda *_: True)
    return docker


def test_up_task(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """The URL goes to stdout, and words for people to stderr."""
    tasks.up.body(None)
    out, err = capsys.readouterr()
    assert out == "web  http://127.0.0.1:8000\n"
    assert "the stack shop is ready after" in err


def test_up_task_with_replicas(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """Each container has an address of its own."""
    other = {"URL": "127.0.0.1", "PublishedPort": 8001, "TargetPort": 8000, "Protocol": "tcp"}
    docker.states = [[], [container(), container(ID="2", Name="shop-web-2", Publishers=[other])]]
    tasks.up.body(None)
    assert capsys.readouterr().out == "shop-web-1  http://127.0.0.1:8000\nshop-web-2  http://127.0.0.1:8001\n"
    tasks.ps.body(None, json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [one["addresses"] for one in shown] == [["http://127.0.0.1:8000"], ["http://127.0.0.1:8001"]]


def test_up_task_json(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """For a machine there is nothing but JSON on stdout."""
    tasks.up.body(None, json=True, port="8000", timeout="9")
    written = json.loads(capsys.readouterr().out)
    assert (written["stack"], written["changed"]) == ("shop", True)
    assert written["services"] == [
        {
            "service": "web",
            "container": "shop-web-1",
            "image": "shop:development",
            "state": "running",
            "health": "healthy",
            "exit_code": None,
            "addresses": ["http://127.0.0.1:8000"],
        }
    ]


def test_up_task_with_both_choices(docker: Docker) -> None:
    """To build and not to build is refused before anything is asked of Docker."""
    with pytest.raises(Exit) as caught:
        tasks.up.body(None, build=True, no_build=True)
    assert caught.value.code == 2
    assert docker.asked == []


def test_ps_task(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """A table shows how each service does."""
    docker.states = [[container()]]
    tasks.ps.body(None)
    shown = capsys.readouterr().out
    assert "shop:development" in shown
    assert "http://127.0.0.1:8000" in shown


@pytest.mark.parametrize(("json", "out"), [(False, ""), (True, "[]\n")])
def test_ps_task_of_nothing(docker: Docker, capsys: pytest.CaptureFixture[str], json: bool, out: str) -> None:
    """A stack that is not there is said to people, and is an empty list for machines."""
    docker.states = [[]]
    tasks.ps.body(None, json=json)
    captured = capsys.readouterr()
    assert captured.out == out
    assert ("the stack shop is not there" in captured.err) is not json


@pytest.mark.parametrize(("volumes", "data"), [(False, ""), (True, "removed with all data: shop_data")])
def test_down_task(docker: Docker, capsys: pytest.CaptureFixture[str], volumes: bool, data: str) -> None:
    """What was removed is said by name."""
    docker.states, docker.volumes = [[container()]], ["shop_data", ""]
    tasks.down.body(None, volumes=volumes, production=True)
    assert capsys.readouterr().err.endswith("removed: shop-web-1\n" + (data + "\n" if data else ""))


def test_logs_task(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal, Compose's erasing of lines is left out."""
    docker.states = [[container()]]
    docker.log = ["\x1b[2Kweb-1  | hello"]
    tasks.logs.body(None, tail="5")
    assert capsys.readouterr().out == "web-1  | hello\n"
