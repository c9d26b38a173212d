"""What Compose says, read."""

import dataclasses
import json
from typing import Any

import pytest

from dockyard.stack import compose
from dockyard.stack.compose import Container, Port, Service

WEB = Container("1", "shop-web-1", "web", "shop:development", "running", "healthy")
JOB = Container("2", "shop-job-1", "job", "shop:development", "exited")
SERVICES = (Service("web", "shop:development", ports=(Port("127.0.0.1", 8000),)), Service("job", "shop:development"))


def like(container: Container, **changes: Any) -> Container:
    """Return a container that differs in something."""
    return dataclasses.replace(container, **changes)


def test_model() -> None:
    """Services, the ports they fix, and secret files are read; what is switched off or left open is not."""
    published = {"mode": "ingress", "target": 8000, "protocol": "tcp"}
    document = {
        "services": {
            "web": {
                "image": "shop:production",
                "ports": [
                    {**published, "host_ip": "127.0.0.1", "published": "8000"},
                    {**published, "published": "8000-8010"},
                    {**published},
                    {**published, "published": "53", "protocol": "udp"},
                    {**published, "published": "0"},
                ],
            },
            "worker": {"build": {"context": "."}, "ports": [{**published, "published": "9000"}]},
            "off": {"image": "x", "scale": 0},
            "also-off": {"image": "x", "deploy": {"replicas": 0}},
            "three": {"image": "y", "deploy": {"replicas": 3}},
        },
        "secrets": {"token": {"name": "shop_token", "file": "/p/token"}, "other": {"environment": "OTHER"}},
    }
    model = compose.parse_model(json.dumps(document), "shop")
    assert model.services == (
        Service("web", "shop:production", False, (Port("127.0.0.1", 8000),)),
        Service("worker", "shop-worker", True, (Port("", 9000),)),
        Service("three", "y", replicas=3),
    )
    assert model.secrets == (("token", "/p/token"),)
    assert model.ports == (Port("127.0.0.1", 8000), Port("", 9000))


ENTRY = {
    "ID": "abc", "Name": "shop-web-1", "Service": "web", "Image": "shop:development", "State": "running",
    "Health": "healthy", "ExitCode": 0, "Status": "Up 2 seconds (healthy)",
    "Publishers": [
        {"URL": "0.0.0.0", "TargetPort": 8000, "PublishedPort": 8000, "Protocol": "tcp"},
        {"URL": "::", "TargetPort": 8000, "PublishedPort": 8000, "Protocol": "tcp"},
        {"URL": "", "TargetPort": 9000, "PublishedPort": 0, "Protocol": "tcp"},
        {"URL": "0.0.0.0", "TargetPort": 53, "PublishedPort": 53, "Protocol": "udp"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", [json.dumps([ENTRY]), json.dumps(ENTRY) + "\n"], ids=["array", "lines"])
def test_containers(text: str) -> None:
    """Both forms that versions of Compose print are read alike."""
    (found,) = compose.parse_containers(text)
    assert found == like(
        WEB, id="abc", status="Up 2 seconds (healthy)", addresses=(("0.0.0.0", 8000, 8000), ("::", 8000, 8000))
    )


@pytest.mark.parametrize("text", ["", "\n", "[]", json.dumps([])])
def test_no_containers(text: str) -> None:
    """A stack that is not there has none."""
    assert compose.parse_containers(text) == ()


@pytest.mark.parametrize(
    ("containers", "waiting", "failed"),
    [
        pytest.param([WEB, JOB], (), None, id="a job that ended well is done"),
        pytest.param([like(WEB, health=""), JOB], (), None, id="without a health check, running is enough"),
        pytest.param([JOB], ("web",), None, id="one is not there yet"),
        pytest.param([like(WEB, health="starting"), JOB], ("web",), None, id="starting"),
        pytest.param([like(WEB, state="created", health=""), JOB], ("web",), None, id="created"),
        pytest.param([WEB, like(WEB, id="3", health="starting"), JOB], ("web",), None, id="every replica"),
        pytest.param([like(WEB, health="unhealthy"), JOB], (), "web", id="unhealthy"),
        pytest.param([like(WEB, state="restarting", restarts=2), JOB], ("web",), None, id="restarted twice"),
        pytest.param([like(WEB, state="restarting", restarts=3), JOB], (), "web", id="restarted too often"),
        pytest.param(
            [like(WEB, state="exited", health=""), like(JOB, state="running")],
            (),
            "web",
            id="a server may not end",
        ),
        pytest.param([WEB, like(JOB, exit_code=3)], (), "job", id="a job failed"),
        pytest.param([WEB, JOB, like(JOB, service="old", exit_code=3)], (), None, id="no service of this stack"),
    ],
)
def test_judge(containers: list[Container], waiting: tuple[str, ...], failed: str | None) -> None:
    """A start is done when every service does its work, and lost when one cannot."""
    awaited, lost = compose.judge(containers, SERVICES)
    assert (awaited, lost.service if lost else None) == (waiting, failed)


def test_judge_when_all_ended() -> None:
    """A stack of which nothing runs is not up, even if nothing went wrong."""
    assert compose.judge([JOB], (SERVICES[1],)) == ((), JOB)


@pytest.mark.parametrize(
    ("status", "health"),
    [
        ("Up Less than a second (health: starting)", "starting"),
        ("Up 2 seconds (healthy)", "healthy"),
        ("Up 2 minutes (unhealthy)", "unhealthy"),
        ("Up 2 minutes", ""),
        ("Exited (0) 2 seconds ago", ""),
    ],
)
def test_health_that_was_missed(status: str, health: str) -> None:
    """Compose looks for the health later than for the status: it may find none of a container that has ended since."""
    (found,) = compose.parse_containers(json.dumps({**ENTRY, "Health": "", "Status": status}))
    assert found.health == health


def test_unsettled() -> None:
    """Only a container that has just started and has no health check needs a second look."""
    plain = like(WEB, health="", restarts=1)
    assert compose.unsettled([plain], []) == {("1", 1)}
    assert compose.unsettled([plain], [like(plain, state="exited")]) == {("1", 1)}
    assert not compose.unsettled([plain], [plain])
    assert not compose.unsettled([WEB, JOB], [])


PUBLISHED = [{"mode": "ingress", "target": 8000, "published": "8000", "protocol": "tcp"}]


@pytest.mark.parametrize(
    ("other", "own"),
    [
        ({"image": "shop", "command": ["work"]}, False),
        ({"image": "shop", "entrypoint": ["work"]}, False),
        ({"image": "shop", "command": ["work"], "healthcheck": {"test": ["CMD", "true"]}}, True),
        ({"image": "shop", "command": None}, True),
        ({"image": "shop", "command": ["serve"], "ports": PUBLISHED}, True),
        ({"image": "another", "command": ["work"]}, True),
    ],
    ids=["a worker", "by its entrypoint", "a check of its own", "the image's command", "a server", "another image"],
)
def test_whose_health_check(other: dict[str, Any], own: bool) -> None:
    """That of an image counts for the image's own command, and for whoever has the server's port."""
    document = {"services": {"web": {"image": "shop", "ports": PUBLISHED}, "other": other}}
    found = {one.name: one.own_check for one in compose.parse_model(json.dumps(document), "shop", (8000,)).services}
    assert found == {"web": True, "other": own}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "exited", "ExitCode": 3}, "web ended with exit code 3"),
        ({"Status": "restarting", "ExitCode": 1}, "web ended with exit code 1, and is being restarted"),
        (
            {"Status": "exited", "ExitCode": 137, "OOMKilled": True},
            "web ran out of memory and was killed (exit code 137)",
        ),
        ({"Status": "created", "Error": "no such file: x"}, "web could not be started: no such file: x"),
        (
            {
                "Status": "running",
                "Health": {"Status": "unhealthy", "Log": [{"Output": "old"}, {"Output": "no\nanswer\n"}]},
            },
            "web is unhealthy; its health check says: no answer",
        ),
        ({"Status": "running", "Health": {"Status": "starting", "Log": None}}, "web is not ready"),
        ({}, "web is not ready"),
    ],
)
def test_explain(state: dict[str, Any], expected: str) -> None:
    """The engine's facts become one line that says why."""
    assert compose.explain("web", state) == expected


def test_complaint() -> None:
    """Compose's progress is dropped, and its own words stay."""
    said = (
        " Network shop_default  Creating\n Container shop-web-1  Error\n\ndependency failed to start: it is unhealthy\n"
    )
    assert compose.complaint(said) == "dependency failed to start: it is unhealthy"
