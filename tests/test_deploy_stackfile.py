"""A Swarm's stack file out of a Compose document, the front's configuration, and the late end signal."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.deploy import hostfile
from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import describe_live, describe_wanted
from dockyard.deploy.front import Front, write_config
from dockyard.deploy.goal import Goal, ImageFacts, parse_seconds
from dockyard.deploy.stackfile import make_jobs, make_stack
from dockyard.errors import SettingsError

ENDS = "service_completed_successfully"
IMAGE = "registry.example/team/shop@sha256:" + "a" * 64
DOCUMENT: dict[str, Any] = {
    "services": {
        "web": {
            "image": "team/shop:production",
            "command": None,
            "entrypoint": None,
            "environment": {"LEVEL": "a$$b"},
            "ports": [{"host_ip": "127.0.0.1", "target": 8000, "published": "8000", "protocol": "tcp"}],
            "networks": {"default": None},
            "cpus": 1,
            "mem_limit": "268435456",
            "pids_limit": 128,
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "tmpfs": ["/tmp:size=64m,mode=1777,noexec"],
            "secrets": [{"source": "token", "target": "/run/secrets/token"}],
            "stop_grace_period": "1m30s",
            "user": "65532:65532",
            "volumes": [{"type": "volume", "source": "data", "target": "/data", "volume": {}}],
        },
        "worker": {"image": "team/shop:production", "command": ["celery"], "deploy": {"replicas": 1}},
        "db": {
            "image": "postgres:17",
            "ports": [
                {"host_ip": "127.0.0.1", "target": 5432, "published": "5432"},
                {"target": 9187, "published": "9187", "protocol": "tcp"},
            ],
        },
    },
    "networks": {"default": {"name": "shop_default"}, "inner": {"internal": True}},
    "secrets": {"token": {"name": "shop_token", "file": "/home/x/token"}},
    "volumes": {"data": {"name": "shop_data"}},
}


@pytest.fixture
def goal() -> Goal:
    """Return a service with a worker, a database, limits, hardening and a secret, to run on a Swarm."""
    facts = ImageFacts((), ("gunicorn", "shop:$app"))
    return Goal("shop", "team/shop", (8000,), Destination("far", "swarm", replicas=3), IMAGE, DOCUMENT, facts=facts)


def test_services_are_told_apart(goal: Goal) -> None:
    """The project's own run its image; the front sends to those that publish its port."""
    assert goal.own_services == ("web", "worker")
    assert goal.web == ("web", 8000)


def test_a_service_keeps_what_the_compose_files_say(goal: Goal) -> None:
    """Hardening, limits, user, secrets and volumes; the image is the digest; the end signal comes later."""
    web = make_stack(goal).services["web"]
    assert web["image"] == IMAGE
    assert (web["read_only"], web["cap_drop"], web["user"]) == (True, ["ALL"], "65532:65532")
    assert web["deploy"]["resources"]["limits"] == {"cpus": "1", "memory": "268435456", "pids": 128}
    assert web["volumes"] == [
        {"type": "volume", "source": "data", "target": "/data"},
        {"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 67108864}},
    ]
    assert web["secrets"] == [{"source": "token", "target": "/run/secrets/token", "mode": 0o444}]
    assert web["entrypoint"] == ["python", "-I", "/dockyard-drain.py", "5", "SIGTERM", "gunicorn", "shop:$$app"]
    assert web["stop_grace_period"] == "95s"
    assert "ports" not in web  # the front has them


def test_an_update_starts_first_and_returns_by_itself(goal: Goal) -> None:
    """One copy at a time; a database in a volume must never run twice."""
    stack = make_stack(goal)
    update = stack.services["web"]["deploy"]["update_config"]
    assert (update["order"], update["failure_action"], update["parallelism"]) == ("start-first", "rollback", 1)
    assert stack.services["db"]["deploy"]["update_config"]["order"] == "stop-first"
    assert stack.services["web"]["deploy"]["endpoint_mode"] == "dnsrr"


def test_replicas_are_those_of_the_nearest_word(goal: Goal) -> None:
    """What the Compose files say of one service is stronger than the destination; others have one."""
    counts = {name: body["deploy"].get("replicas") for name, body in make_stack(goal).services.items()}
    assert counts == {"web": 3, "worker": 1, "db": 1, "front": None}


def test_only_what_was_open_is_published(goal: Goal) -> None:
    """A Swarm has no port of the loopback alone: that one is left out, not opened to all."""
    assert make_stack(goal).services["db"]["ports"] == [{"target": 9187, "published": 9187, "protocol": "tcp"}]


def test_secrets_are_the_destinations(goal: Goal) -> None:
    """By the name that Compose gives them; the settings may name more."""
    place = replace(goal.destination, secrets=("mail_password",))
    stack = make_stack(replace(goal, destination=place))
    assert stack.document["secrets"] == {
        "token": {"external": True, "name": "shop_token"},
        "mail_password": {"external": True, "name": "mail_password"},
    }
    assert {"source": "mail_password", "target": "mail_password", "mode": 0o444} in stack.services["web"]["secrets"]
    assert "secrets" not in stack.services["db"]


def test_what_has_no_word_is_named(goal: Goal) -> None:
    """Nothing is lost without a word."""
    assert make_stack(goal).lost == ("web: security_opt",)


def of(goal: Goal, services: dict[str, Any], **parts: Any) -> Goal:
    """Return the goal of other services."""
    return replace(goal, document={"services": services, **parts})


PORTS: list[dict[str, Any]] = [{"target": 8000, "published": "80"}, {"target": 9000, "published": "9000"}]
OWN: dict[str, Any] = {"image": "team/shop:production"}


def test_a_worker_alone_needs_no_front(goal: Goal) -> None:
    """The release step runs in it."""
    place = replace(goal.destination, release=("migrate",))
    alone = replace(of(goal, {"worker": OWN}), destination=place)
    for module, made in ((None, make_stack(alone)), (hostfile, hostfile.make_host(alone))):
        assert set(made.services) == {"worker"}
        (job,) = (module.make_jobs if module else make_jobs)(alone, made)
        assert job.services["release"]["command"] == ["migrate"]


def test_of_several_ports_the_front_has_the_first(goal: Goal) -> None:
    """The others of the web are named as lost; other services publish their own."""
    two = of(goal, {"web": {**OWN, "ports": PORTS}, "admin": {**OWN, "ports": PORTS[1:]}})
    chosen = replace(two, ports=(7000, 8000, 9000))
    assert chosen.web == ("web", 8000)
    stack = make_stack(chosen)
    assert "web:8000 check" in stack.files["front.cfg"]
    assert "ports" not in stack.services["web"]
    assert stack.services["admin"]["ports"] == [{"target": 9000, "published": 9000, "protocol": "tcp"}]
    assert stack.lost == ("web: port 9000 beside the one of the front",)


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ({"web": {**OWN, "ports": PORTS}, "api": {**OWN, "ports": PORTS}}, "web and api both publish port 8000"),
        ({"web": {"image": "nginx:1"}}, "no service of the Compose files runs the image team/shop"),
        ({"front": {"image": "nginx:1"}, "web": {**OWN, "ports": PORTS}}, "the name that a deploy gives to the proxy"),
        ({"release": {"image": "nginx:1"}, "web": OWN}, "the name that a deploy gives to the release step"),
        ({"web.api": OWN}, r"a Swarm takes no service called web\.api"),
        ({"web": OWN, "db": {"image": "db", "ports": [{"target": 1, "published": "7-9"}]}}, "as any of 7-9"),
    ],
)
def test_what_cannot_be_is_told(goal: Goal, services: dict[str, Any], words: str) -> None:
    """Before anything is asked for."""
    with pytest.raises(SettingsError, match=words):
        make_stack(of(goal, services))


def test_names_of_any_kind(goal: Goal) -> None:
    """A Swarm takes underscores and capitals, a single host dots too."""
    assert set(make_stack(of(goal, {"Web_2": {**OWN, "ports": PORTS[:1]}})).services) == {"Web_2", "front"}
    host = hostfile.make_host(of(goal, {"Web.api": {**OWN, "ports": PORTS[:1]}}))
    assert set(host.services) == {"Web.api", "front"}


def test_a_port_of_the_host_is_of_one_copy(goal: Goal) -> None:
    """Two sets side by side cannot both have it."""
    place = replace(goal.destination, kind="compose", front=False)
    chosen = replace(of(goal, {"web": {**OWN, "ports": PORTS}}), destination=place)
    with pytest.raises(SettingsError, match="web publishes a port of the host by itself"):
        hostfile.make_host(chosen)
    once = replace(chosen, destination=replace(place, order="stop-first", replicas=1))
    assert hostfile.make_host(once).services["web"]["ports"] == PORTS


def test_what_others_made_keeps_its_name(goal: Goal) -> None:
    """Volumes and networks that are there already, and the drivers of those that are not."""
    data = {"external": True, "name": "shelves"}
    far = {"name": "shop_far", "driver": "nfs", "driver_opts": {"addr": "10.0.0.1"}}
    parts = {
        "volumes": {"data": data, "far": far},
        "networks": {"edge": {**data, "ipam": {}}, "default": {"name": "x"}},
    }
    made = make_stack(of(goal, {"web": OWN}, **parts)).document
    assert made["volumes"] == {"data": data, "far": {"driver": "nfs", "driver_opts": {"addr": "10.0.0.1"}}}
    assert made["networks"] == {"edge": data, "default": {"driver": "overlay"}}


def test_no_copy_is_a_number_too(goal: Goal) -> None:
    """A service that the Compose files have scaled to none stays so."""
    services = make_stack(of(goal, {"web": OWN, "idle": {**OWN, "deploy": {"replicas": 0}}})).services
    assert [services[name]["deploy"]["replicas"] for name in ("web", "idle")] == [3, 0]


def test_without_a_front_the_mesh_publishes(goal: Goal) -> None:
    """Where a load balancer exists."""
    stack = make_stack(replace(goal, destination=replace(goal.destination, front=False)))
    assert "front" not in stack.services
    assert stack.services["web"]["deploy"]["endpoint_mode"] == "vip"
    assert stack.services["web"]["ports"] == [{"target": 8000, "published": 8080, "protocol": "tcp"}]
    assert stack.files == {}


def test_a_config_is_named_by_its_content(goal: Goal) -> None:
    """Swarm's configs never change: another content is another config."""
    first, second = make_stack(goal), make_stack(replace(goal, destination=replace(goal.destination, port=80)))
    names = [stack.document["configs"]["front"]["name"] for stack in (first, second)]
    assert names[0] != names[1]
    assert first.document["configs"]["front"]["file"] == "./front.cfg"
    assert set(first.files) == {"front.cfg", "drain.py"}


def test_a_copy_on_each_node_and_labels_of_the_service(goal: Goal) -> None:
    """As the Compose files say; a single host is one node, where the number of the destination counts."""
    agent = {**OWN, "deploy": {"mode": "global", "labels": {"traefik.enable": "true"}}}
    deploy = make_stack(of(goal, {"agent": agent})).services["agent"]["deploy"]
    assert (deploy["mode"], deploy["labels"]["traefik.enable"]) == ("global", "true")
    assert "replicas" not in deploy
    one = replace(of(goal, {"agent": agent}), destination=replace(goal.destination, kind="compose"))
    assert hostfile.make_host(one).services["agent"]["deploy"]["replicas"] == 3


def test_another_content_is_a_change(goal: Goal) -> None:
    """Of the front's configuration, and of a config of the Compose files, by what is in it."""
    web = {**OWN, "ports": PORTS[:1], "configs": [{"source": "my.conf", "target": "/etc/my.conf"}]}
    one = of(goal, {"web": web}, configs={"my.conf": {"content": "a = 1"}})
    two = of(goal, {"web": web}, configs={"my.conf": {"content": "a = 2"}})
    there = replace(one, destination=replace(goal.destination, domain="shop.example"))
    facts = [
        {name: describe_wanted(body) for name, body in make_stack(it).services.items()} for it in (one, two, there)
    ]
    assert facts[0]["front"] == facts[1]["front"]
    assert facts[0]["web"] != facts[1]["web"]
    assert facts[0]["web"] == facts[2]["web"]
    assert facts[0]["front"] != facts[2]["front"]
    stack = make_stack(one)
    assert stack.services["web"]["configs"][0] == {"source": "config-my-conf", "target": "/etc/my.conf"}
    assert stack.files[stack.document["configs"]["config-my-conf"]["file"].removeprefix("./")] == "a = 1"


def test_the_release_step_is_a_job(goal: Goal) -> None:
    """With the environment, secrets and limits of the service, once, and without its health check."""
    place = replace(goal.destination, release=("flask", "db", "upgrade"))
    chosen = replace(goal, destination=place)
    (job,) = make_jobs(chosen, make_stack(chosen))[0].services.values()
    assert job["command"] == ["flask", "db", "upgrade"]
    assert job["deploy"]["mode"] == "replicated-job"
    assert job["deploy"]["restart_policy"] == {"condition": "none"}
    assert job["secrets"]
    assert job["environment"] == {"LEVEL": "a$$b"}
    assert job["healthcheck"] == {"disable": True}
    assert not {"configs", "ports", "entrypoint"} & {key for key, value in job.items() if value}


def test_a_step_of_the_compose_files_is_the_release_step(goal: Goal) -> None:
    """What another service waits for until it has ended is no service; a destination's own command comes instead."""
    services = {
        "migrate": {"image": "team/shop:production", "command": ["flask", "db", "upgrade"], "mem_limit": "64m"},
        "web": {**DOCUMENT["services"]["web"], "depends_on": {"migrate": {"condition": ENDS}}},
    }
    chosen = replace(goal, document={**DOCUMENT, "services": services})
    stack = make_stack(chosen)
    assert set(stack.services) == {"web", "front"}
    (job,) = make_jobs(chosen, stack)
    assert job.services["release"]["command"] == ["flask", "db", "upgrade"]
    assert job.services["release"]["deploy"]["mode"] == "replicated-job"
    assert job.services["release"]["deploy"]["resources"]["limits"] == {"memory": "64m"}
    other = replace(chosen, destination=replace(goal.destination, release=("migrate", "now")))
    (job,) = make_jobs(other, stack)
    assert job.services["release"]["command"] == ["migrate", "now"]
    host = hostfile.make_host(chosen)
    assert set(host.services) == {"web", "front"}
    (run,) = hostfile.make_jobs(chosen, host)
    assert run.services["release"]["command"] == ["flask", "db", "upgrade"]
    assert run.services["release"]["restart"] == "no"
    assert make_jobs(goal, make_stack(goal)) == ()


def test_live_and_wanted_have_one_form(goal: Goal) -> None:
    """What a Swarm says of a service that was made so is what was wanted; what may be secret is never shown."""
    place = replace(goal.destination, environment={"DATABASE_URL": "postgres://user:se$ame@db/shop"})
    wanted = make_stack(replace(goal, destination=place)).services["web"]
    spec = {
        "Labels": wanted["deploy"]["labels"],
        "Mode": {"Replicated": {"Replicas": 3}},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": IMAGE,
                "Env": ["LEVEL=a$b", "DATABASE_URL=postgres://user:se$ame@db/shop"],
            },
            "Resources": {"Limits": {"NanoCPUs": 1_000_000_000, "MemoryBytes": 268435456}},
        },
    }
    assert describe_live(spec) == describe_wanted(wanted)
    assert "se$ame" not in json.dumps(describe_live(spec))


def test_amounts_are_read() -> None:
    """As Compose writes them."""
    assert [parse_seconds(text) for text in ("10s", "1m30s", "500ms", "1h")] == [10, 90, 0.5, 3600]


def test_the_front_follows_names() -> None:
    """Every copy that the name service knows, none that it does not; only what is safe is sent twice."""
    config = write_config(Front(8080, ("web",), 8000))
    assert "server-template web- 64 web:8000 check" in config
    assert "bind :8080" in config
    assert "http-request disable-l7-retry unless { method GET HEAD OPTIONS }" in config
    assert "deny" not in config
    both = write_config(Front(80, ("blue", "green"), 8000, "shop.example"))
    assert "server-template blue- 32" in both
    assert "server-template green- 32" in both
    assert "unless { req.hdr(host),field(1,:) -i shop.example }" in both


DRAIN = str(Path(sys.modules["dockyard"].__path__[0]) / "payload" / "drain.py")
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.signal(signal.SIGHUP, lambda *_: print("again", flush=True))
print("up", flush=True)
while True: time.sleep(0.05)
"""


@contextmanager
def drained(seconds: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the program below the one that has its end signal come later; after half a minute it is over."""
    command = (sys.executable, "-I", DRAIN, seconds, "SIGTERM", sys.executable, "-c", PROGRAM)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        watch = threading.Timer(30, os.killpg, (process.pid, signal.SIGKILL))
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.processes
def test_an_end_signal_comes_later() -> None:
    """Other signals pass at once, and the exit code is the program's own."""
    with drained("1") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "again\n"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 7
        assert time.monotonic() - begun >= 1.0


@pytest.mark.processes
def test_a_second_end_signal_does_not_wait() -> None:
    """Whoever asks twice means it."""
    with drained("600") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 7


@pytest.mark.processes
def test_a_program_that_a_signal_ends_is_told_as_shells_do() -> None:
    """128 and the number of the signal."""
    command = (sys.executable, "-I", DRAIN, "0", "SIGTERM", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert subprocess.run(command, check=False, timeout=30).returncode == 137
