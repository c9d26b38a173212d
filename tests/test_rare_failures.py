"""Failures that no machine shows on demand: each is brought about by what the machine answers."""

import errno
import os
import signal
import threading
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from dockyard import files
from dockyard.bases import debian, parallel
from dockyard.engine.archive import read_image
from dockyard.engine.client import Engine
from dockyard.engine.embedded import lifecycle, network
from dockyard.engine.embedded.install import Place, State
from dockyard.errors import DockyardError, EngineError, UsageError
from dockyard.process import Completed
from dockyard.settings import Settings
from dockyard.tasks.build import read_request


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return where an embedded engine would be."""
    found = Place(tmp_path / "engine", tmp_path / "run")
    found.home.mkdir()
    return found


def test_a_machine_that_debian_has_no_base_for() -> None:
    """The way out is a registry."""
    with pytest.raises(DockyardError, match="not made for pdp11") as caught:
        debian.architecture("pdp11")
    assert "registry" in caught.value.hint


@pytest.mark.host
def mounted(at: Path, table: Path) -> Path:
    """Return a mountinfo file that names one mount."""
    point = str(at).replace(" ", r"\040")
    table.write_text(f"36 35 98:0 / {point} rw - proc proc rw\n")
    return table


def test_what_waits_is_not_begun_after_an_interrupt() -> None:
    """Two work side by side; the third learns of the interrupt before it begins."""
    begun = []

    def work(item: str) -> None:
        begun.append(item)
        time.sleep(0.2)
        if item == "a":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        parallel.run_each(work, [*"abcdefgh"][: 1 + max(2, os.cpu_count() or 1)])
    assert len(begun) == max(2, os.cpu_count() or 1)


class Client:
    """A client of the Docker SDK whose engine refuses to hand over images."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal
        self.api = self

    def get_image(self, *_: Any, **__: Any) -> None:
        """Refuse."""
        raise self.refusal

    def close(self) -> None:
        """Do nothing."""


class Refusing(Engine):
    """An engine with such a client."""

    def client(self) -> Any:
        """Return the client."""
        return Client(self.environment["refusal"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("refusal", "kind", "said"),
    [
        (docker.errors.ImageNotFound("no such image"), DockyardError, "there is no image shop:1"),
        (docker.errors.APIError("server error"), EngineError, "could not hand over shop:1: server error"),
    ],
    ids=["absent", "trouble"],
)
def test_an_image_that_cannot_be_had(refusal: Exception, kind: type[DockyardError], said: str) -> None:
    """One that is absent can be built; trouble of the engine is its own."""
    engine = Refusing("host", "28", True, environment={"refusal": refusal})  # type: ignore[dict-item]
    with pytest.raises(kind, match=said):
        read_image(engine, "shop:1", lambda *_: None)


def test_an_engine_that_cannot_be_asked() -> None:
    """Its address is in the message, whatever the SDK makes of it."""
    engine = Engine("host", "28", True, environment={"DOCKER_HOST": "tcp://engine"})
    with pytest.raises(EngineError, match="at tcp://engine does not answer"):
        engine.client()


def test_no_network_is_free() -> None:
    """Where routes take every private network."""
    with pytest.raises(EngineError, match="no private network is free"):
        network.choose_addresses(map(IPv4Network, network.PRIVATE))


def test_a_bridge_that_cannot_be_made() -> None:
    """In a container without privileges there is a way to one."""
    told = lifecycle.explain_no_bridge(PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    assert "cannot be made: Operation not permitted" in told.message
    assert "--privileged" in told.hint


@pytest.mark.parametrize(
    ("pid", "patience", "said"),
    [(4_194_305, 9.0, "ended while starting"), (os.getpid(), 0.0, "did not answer within 0 s")],
    ids=["beyond the greatest process id", "alive"],
)
def test_an_engine_that_does_not_come_up(place: Place, pid: int, patience: float, said: str) -> None:
    """The end of its log is shown, and the whole is named."""
    place.log.parent.mkdir(parents=True, exist_ok=True)
    place.log.write_text("level=error: no room\n")
    with pytest.raises(EngineError, match=rf"{said}[^$]*no room") as caught:
        lifecycle._wait(place, pid, patience)
    assert str(place.log) in caught.value.hint


def test_processes_that_do_not_end(place: Place) -> None:
    """One that hangs in the kernel is named, instead of being waited for."""
    with pytest.raises(EngineError, match=r"do not end: \[7\]"):
        lifecycle._end_processes(place, -1.0, lambda _place: (None, {7}))


def test_a_mount_that_cannot_be_undone(tmp_path: Path) -> None:
    """It is named with the command that undoes it, and nothing below it is deleted."""
    table = mounted(tmp_path / "nothing is mounted here", tmp_path / "mountinfo")
    with pytest.raises(DockyardError, match="is still mounted") as caught:
        files.unmount((tmp_path,), table)
    assert caught.value.hint == f"run: umount --lazy {tmp_path}/nothing is mounted here"


def test_firewall_rules_that_stay(place: Place) -> None:
    """They are the host's trouble now: it is said, with what iptables said."""
    rules = "*filter\n:DOCKER - [0:0]\n-A DOCKER -i dockyard0 -j ACCEPT\nCOMMIT\n"

    def answer(_place: Place, program: str, *_: str, **__: str) -> Completed:
        return Completed(0, rules, "", 0.0) if program == "iptables-save" else Completed(1, "", "line 2 failed", 0.0)

    state = State("k", "dockyard0", firewall={"iptables": "*filter\nCOMMIT\n"})
    with pytest.raises(EngineError, match="remain: line 2 failed"):
        lifecycle.restore(place, state, answer)


def test_a_python_that_is_not_the_projects(settings: Settings) -> None:
    """Its bases and images are none of ours; the project's are named. All of them have a word of their own."""
    with pytest.raises(UsageError, match=r"3\.9 is not supported by this project: 3\.12, 3\.13 are"):
        read_request(settings, (), ["3.9"], ()).variants(settings)
    assert [each.python for each in read_request(settings, (), ["all"], ()).variants(settings)] == ["3.12", "3.13"]
