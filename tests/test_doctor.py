"""The doctor: from facts to rows without a machine, and checks that fail, hang or crash."""

import contextlib
import dataclasses
import json
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import certifi
import pytest

import dockyard.tasks.machine as task
from dockyard import apt, console, doctor
from dockyard.doctor import FAIL, OK, WARN, Check, Machine, Row
from dockyard.engine.client import Probe, Search, ask_docker
from dockyard.errors import CommandError, DockyardError
from dockyard.git import Git
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from tests.conftest import replace_everywhere
from tests.lock_project import locked_project
from tests.scripted_docker import Docker

PLUGINS = [{"Name": "buildx", "Version": "v0.29.1"}, {"Name": "compose", "Version": "2.26.1-4"}]
INFO: dict[str, Any] = {
    "ServerVersion": "28.5.2+dfsg1",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "NCPU": 4,
    "ClientInfo": {"Plugins": PLUGINS},
}
GOOD = Probe(INFO)
DEAD = Probe({"ClientInfo": {"Plugins": PLUGINS}}, wrong="Cannot connect to the Docker daemon", hint="start the engine")
BARE = Probe({**INFO, "ClientInfo": {}}, wrong="the Docker CLI has no buildx", hint="install it")
HOME = "~/.cache/dockyard/engine"


def engines(wanted: str, probe: Probe | None = None, chosen: str = "", **embedded: Any) -> Search:
    """Return the engines of a machine as a search by the setting `wanted` found them."""
    return Search(wanted, chosen, probe, **embedded)


UNPACKED: dict[str, Any] = {"unpacked": True}
RUNNING: dict[str, Any] = {**UNPACKED, "own": GOOD}
REFUSED: dict[str, Any] = {"refusal": DockyardError("the embedded engine needs root", "use sudo")}
ENGINES = {
    "host": (engines("auto", GOOD), OK, "Docker Engine 28.5.2", ""),
    "chosen": (engines("auto", GOOD, "DOCKER_HOST=x"), OK, "28.5.2 (DOCKER_HOST=x)", ""),
    "chosen, dead": (engines("auto", DEAD, "DOCKER_HOST=x"), FAIL, "Cannot connect", "start the engine"),
    "host wanted, none": (engines("host", None), FAIL, "no Docker Engine is reachable", "start it, or set DOCKER_HOST"),
    "host wanted, dead": (engines("host", DEAD), FAIL, "Cannot connect", "start the engine"),
    "host lacks buildx": (
        engines("auto", BARE, **UNPACKED),
        OK,
        "embedded 26.1.5, starts when it is needed (the Docker CLI",
        "",
    ),
    "embedded, to fetch": (
        engines("auto"),
        OK,
        "fetched when it is needed: 90 MB to fetch, 380 MB in ~/.cache",
        "",
    ),
    "embedded, unpacked": (
        engines("auto", **UNPACKED),
        OK,
        "starts when it is needed (no Docker Engine is reachable)",
        "",
    ),
    "embedded, running": (
        engines("auto", DEAD, **RUNNING),
        OK,
        "running in ~/.cache/dockyard/engine (Cannot connect",
        "",
    ),
    "embedded wanted": (engines("embedded", **RUNNING), OK, "running in ~/.cache/dockyard/engine", ""),
    "embedded refused": (
        engines("auto", **REFUSED),
        FAIL,
        "no Docker Engine is reachable; the embedded engine needs root",
        "use sudo",
    ),
    "dead and refused": (
        engines("auto", DEAD, **REFUSED),
        FAIL,
        "Cannot connect to the Docker daemon; the emb",
        "use sudo",
    ),
    "embedded wanted, refused": (engines("embedded", **REFUSED), FAIL, "the embedded engine needs root", "use sudo"),
    "embedded, broken": (
        engines("auto", own=BARE),
        FAIL,
        "embedded: the Docker CLI",
        "stop",
    ),
}


def like(row: Row, state: str, found: str, fix: str) -> bool:
    """Say whether a row has a state, holds a text, and holds a fix exactly where one is expected."""
    return row.state == state and found in row.found and (fix in row.fix if fix else row.fix == "")


class Programs(Docker):
    """Programs that all end in one way."""

    def __init__(self, ending: Completed | Exception) -> None:
        super().__init__()
        self.ending = ending

    def which(self, program: str) -> str:
        """Say that each of them is there."""
        return f"/usr/bin/{program}"

    def answer(self, _command: Command) -> Completed:
        """End a program."""
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending

    def on(self, machine: Machine) -> Machine:
        """Return a machine on which these are the programs."""
        return dataclasses.replace(machine, runner=self)


@pytest.mark.parametrize(("found", "state", "words", "fix"), ENGINES.values(), ids=ENGINES)
def test_engine(found: Search, state: str, words: str, fix: str) -> None:
    """Which engine a build would use, or why none."""
    row = doctor.engine_row(found, HOME)
    assert like(row, state, words, fix), row


@pytest.mark.parametrize(
    ("found", "kind", "fetches"),
    [
        (engines("auto", GOOD), "host", False),
        (engines("auto", DEAD), "embedded", True),
        (engines("auto", **UNPACKED), "embedded", False),
        (engines("auto", DEAD, "DOCKER_HOST=x"), "", False),
        (engines("host", DEAD), "", False),
        (engines("auto", **REFUSED), "", False),
        (engines("embedded"), "embedded", True),
    ],
)
def test_which_engine(found: Search, kind: str, fetches: bool) -> None:
    """The same choice as `client.find_engine` makes: a chosen one that is dead is an error, no reason for another."""
    assert (found.kind, found.fetches) == (kind, fetches)


def test_plugins(here: Machine) -> None:
    """Versions where they are there, packages to install where not, and no complaint before the engine is fetched."""
    _, buildx, compose, _ = doctor.check_engine(dataclasses.replace(here, engines=engines("auto", GOOD)))
    assert [(buildx.check, buildx.found), (compose.check, compose.found)] == [
        ("buildx", "0.29.1"),
        ("Compose v2", "2.26.1-4"),
    ]
    for row in tuple(doctor.check_engine(dataclasses.replace(here, engines=engines("host", BARE))))[1:3]:
        assert like(row, FAIL, "the docker command has none", "install docker-")
    for row in tuple(doctor.check_engine(here))[1:3]:
        assert like(row, OK, "comes with the embedded engine", "")


@pytest.mark.parametrize(
    ("found", "state", "words", "fix"),
    [
        (engines("auto", GOOD), OK, "containerd's", ""),
        (
            engines("auto", Probe({"ServerVersion": "28"})),
            WARN,
            "no images for several platforms",
            "snapshotter",
        ),
        (engines("auto"), OK, "once the embedded engine runs", ""),
        (engines("host", DEAD), WARN, "not asked", "engine"),
    ],
)
def test_store(here: Machine, found: Search, state: str, words: str, fix: str) -> None:
    """Containerd's store, or what cannot be done without it."""
    *_, row = doctor.check_engine(dataclasses.replace(here, engines=found))
    assert like(row, state, words, fix)


@pytest.mark.parametrize(
    ("done", "state", "found", "fix"),
    [
        (Completed(0, "", "", 1.0), OK, "far", ""),
        (Completed(1, "", "ERROR: no builder\n", 1.0), FAIL, "far: ERROR: no builder", "docker buildx ls"),
    ],
)
def test_builder(here: Machine, done: Completed, state: str, found: str, fix: str) -> None:
    """The builder of the settings is there, or buildx says why not."""
    there = dataclasses.replace(here, settings=here.settings._replace(builder="far"))
    host = dataclasses.replace(there, engines=engines("auto", GOOD))
    (row,) = doctor.check_builder(Programs(done).on(host))
    assert like(row, state, found, fix)


@pytest.mark.parametrize(("free", "state"), [(10**9 - 1, FAIL), (10**9, WARN), (5 * 10**9 - 1, WARN), (5 * 10**9, OK)])
def test_disk_limits(tmp_path: Path, free: int, state: str) -> None:
    """Exactly at a limit is enough for it."""
    row = doctor.measure_disk("the cache", tmp_path, lambda _there: SimpleNamespace(free=free))
    fix = "" if state == OK else "docker system prune"
    assert like(row, state, f"{console.size(free)} free for the cache ({tmp_path})", fix)


@pytest.mark.parametrize(("count", "state", "found"), [(4, OK, "4"), (1, WARN, "1: several Pythons")])
def test_cpus(here: Machine, count: int, state: str, found: str) -> None:
    """One processor warns; the engine's own count, not that of this machine."""
    there = engines("auto", Probe({**INFO, "NCPU": count}))
    *_, row = doctor.check_memory(dataclasses.replace(here, engines=there))
    assert like(row, state, found, "larger" if count == 1 else "")


@pytest.mark.parametrize(
    ("available", "state", "found"),
    [(4_000_000, OK, "4.1 GB available of 8.2 GB"), (1_000_000, WARN, "1.0 GB available"), (400_000, FAIL, "409.6 MB")],
)
def test_memory(here: Machine, tmp_path: Path, available: int, state: str, found: str) -> None:
    """Little memory warns, hardly any fails; kilobytes are read, as the kernel writes them."""
    (tmp_path / "meminfo").write_text(f"MemTotal:   8000000 kB\nMemAvailable:  {available} kB\n")
    row, _ = doctor.check_memory(here, tmp_path / "meminfo")
    assert like(row, state, found, "" if state == OK else "DOCKER_HOST")


FOUND, SILENT = Completed(0, '{"digest": "sha256:1"}', "", 0.1), Completed(1, "", "ERROR: refused", 0.1)
BASES = {
    "registry answers": ("registry", "3.13", FOUND, (OK, "the registry has python:3.13-slim", "")),
    "registry silent": ("registry", "3.13", SILENT, (FAIL, "refused", 'base = "auto"')),
    "registry not asked": ("registry", "3.13", None, (OK, "the first build asks a registry", "")),
    "auto, answers": ("auto", "3.12", FOUND, (OK, "the registry has python:3.12-slim", "")),
    "auto, silent": ("auto", "3.13", SILENT, (WARN, "Debian packages are used (refused)", "debian")),
    "auto, a Python less": ("auto", "3.12", SILENT, (WARN, "none for Python 3.12", "debian")),
    "auto, not asked": ("auto", "3.13", None, (OK, "the first build asks a registry", "")),
    "debian": ("debian", "3.13", FOUND, (OK, "from Debian packages", "")),
    "debian, a Python less": ("debian", "3.12", FOUND, (WARN, "none for Python 3.12", "auto")),
}


@pytest.mark.parametrize(("mode", "python", "answer", "expected"), BASES.values(), ids=BASES)
def test_bases(here: Machine, mode: str, python: str, answer: Completed | None, expected: tuple[str, str, str]) -> None:
    """A registry that is silent is a failure only where nothing else may be used."""
    chosen = here.settings._replace(base=mode, pythons=(python,), python=python)
    there = dataclasses.replace(here, settings=chosen)
    if answer:
        there = dataclasses.replace(Programs(answer).on(there), engines=engines("auto", GOOD))
    (row,) = doctor.check_bases(there)
    assert like(row, *expected), row


SKIPPED = "Could not fetch URL https://u:****@x/simple/pip/: "
INDEXES = {
    "answers": ("", 0, "Available versions: 26", (OK, "pip's default index answers", "")),
    "named": ("https://x", 0, "", (OK, "the index of pip's configuration answers", "")),
    "one of two is dead": ("https://x", 0, f"{SKIPPED}connection error: refused", (FAIL, "nothing listens", "PROXY")),
    "certificate": ("", 1, f"{SKIPPED}SSLError(CERTIFICATE_VERIFY_FAILED", (FAIL, "certificate", "SSL_CERT_FILE")),
    "login": ("", 1, f"{SKIPPED}401 Client Error", (FAIL, "refuses access", "pip config edit")),
    "no such page": ("", 1, f"{SKIPPED}404 Client Error", (FAIL, "404 Client Error", "pip config list")),
    "proxy": (
        "",
        1,
        f"{SKIPPED}(Caused by ProxyError('Cannot connect to proxy.'",
        (FAIL, "connect to proxy", "HTTPS_PROXY"),
    ),
    "slow": ("", 1, f"{SKIPPED}Read timed out.", (FAIL, "Read timed out", "network")),
    "name": ("", 1, f"{SKIPPED}[Errno -2] Name or service not known", (FAIL, "name is not found", "network")),
    "other": ("", 1, "ERROR: no such command", (FAIL, "ERROR: no such command", "pip index versions")),
    "silent": ("", 1, "", (FAIL, "pip says nothing", "pip index versions")),
}


@pytest.mark.parametrize(("named", "code", "output", "expected"), INDEXES.values(), ids=INDEXES)
def test_index(here: Machine, named: str, code: int, output: str, expected: tuple[str, str, str]) -> None:
    """What pip says of an index, in words with something to do."""
    there = dataclasses.replace(here, settings=here.settings._replace(index_url=named))
    (row,) = doctor.check_index(Programs(Completed(code, "", output, 1.0)).on(there))
    assert like(row, *expected), row


COMMIT = Git("0123456789abcdef", 1, "main")
OTHERS = "fatal: detected dubious ownership\n\tgit config --global --add safe.directory /x"
REPOSITORIES = {
    "clean": (COMMIT, "", (OK, "main at 0123456789ab", "")),
    "tagged": (dataclasses.replace(COMMIT, tag="v1.0"), "", (OK, "0123456789ab, v1.0", "")),
    "dirty": (dataclasses.replace(COMMIT, dirty=True), "", (OK, "images are marked dirty", "")),
    "detached": (dataclasses.replace(COMMIT, branch=None), "", (WARN, "detached head at 0123456789ab", "git switch")),
    "no commit": (None, "", (WARN, "no commit yet", "first commit")),
    "no repository": (None, "fatal: not a git repository", (WARN, "not a git repository: ima", "git init")),
    "another owner": (None, OTHERS, (WARN, "detected dubious ownership: images get no tag", OTHERS.partition("\t")[2])),
}


@pytest.mark.parametrize(("git", "said", "expected"), REPOSITORIES.values(), ids=REPOSITORIES)
def test_git(here: Machine, git: Git | None, said: str, expected: tuple[str, str, str]) -> None:
    """A build works without git, so nothing here is a failure."""
    (row,) = doctor.check_git(Programs(Completed(128, "", said, 0.1)).on(here), lambda _root: git)
    assert like(row, *expected), row


@pytest.mark.parametrize(("edited", "more"), [(("test",), ""), (("base", "test"), " (and 1 more)")], ids=["one", "two"])
def test_stale_locks(here: Machine, edited: tuple[str, ...], more: str) -> None:
    """The first problem is told with its line and what mends it, the others are counted."""
    locked = dataclasses.replace(here, settings=locked_project(here.settings._replace(pythons=("3.13",))))
    assert list(doctor.check_locks(locked)) == [Row("locks", OK, "all agree with requirements/*.in")]
    for purpose in edited:
        (here.settings.root / f"requirements/3.13/{purpose}.txt").unlink()
    (row,) = doctor.check_locks(locked)
    first = f"requirements/3.13/{edited[0]}.txt:1: is missing: nothing is locked for requirements/{edited[0]}.in{more}"
    assert row == Row("locks", FAIL, first, "invoke lock")


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [(".venv", (OK, " in .venv", "")), ("elsewhere", (WARN, "elsewhere, not the project's", "the project's .venv"))],
)
def test_python(here: Machine, monkeypatch: pytest.MonkeyPatch, prefix: str, expected: tuple[str, str, str]) -> None:
    """The project's own environment is best, and another one is named."""
    monkeypatch.setattr(sys, "prefix", str(here.settings.root / prefix))
    (row,) = tuple(doctor.check_tools(here))[:1]
    assert like(row, *expected), row


@pytest.fixture
def here(settings: Settings) -> Machine:
    """Return a machine without any engine, whose next build would fetch the embedded one."""
    return Machine(settings, {}, engines("auto"))


def row(name: str) -> Check:
    """Return a check that is content."""
    return lambda _machine: [Row(name, OK, "")]


def test_rows_come_in_the_order_of_the_checks(here: Machine) -> None:
    """However long each takes."""

    def slow(_machine: Machine) -> Iterable[Row]:
        time.sleep(0.1)
        return [Row("a", OK, ""), Row("b", OK, "")]

    assert [found.check for found in doctor.run_checks({"slow": slow, "c": row("c")}, here)] == ["a", "b", "c"]


def test_checks_run_side_by_side(here: Machine) -> None:
    """Two checks that wait for each other can only end together."""
    barrier = threading.Barrier(2, timeout=5)

    def meet(_machine: Machine) -> Iterable[Row]:
        barrier.wait()
        return [Row("x", OK, "")]

    assert all(found.state == OK for found in doctor.run_checks({"one": meet, "two": meet}, here))


def test_a_check_that_crashes_is_a_row(here: Machine) -> None:
    """Half of its rows do not count, the others do, and nothing is raised."""

    def crash(_machine: Machine) -> Iterable[Row]:
        yield Row("half", OK, "")
        raise ZeroDivisionError("oh")

    def refuse(_machine: Machine) -> Iterable[Row]:
        raise DockyardError("no good", "mend it")

    rows = doctor.run_checks({"crash": crash, "refuse": refuse, "x": row("x")}, here)
    assert rows[0] == Row("crash", FAIL, "the check itself broke: ZeroDivisionError('oh')", "please report it as a bug")
    assert rows[1] == Row("refuse", FAIL, "no good", "mend it")
    assert rows[2].state == OK


def test_a_check_that_hangs_is_a_row(here: Machine) -> None:
    """The doctor goes home when time is over."""
    release = threading.Event()

    def hang(_machine: Machine) -> Iterable[Row]:
        release.wait(30)
        return []

    started = time.monotonic()
    rows = doctor.run_checks({"hang": hang, "x": row("x")}, here, limit=0.2)
    release.set()
    assert time.monotonic() - started < 5
    assert like(rows[0], FAIL, "no answer in time", "try again")
    assert rows[1].state == OK


@pytest.mark.processes
def test_a_program_of_a_check_that_hangs_is_ended(here: Machine, tmp_path: Path) -> None:
    """No program outlives the doctor."""
    ended: list[CommandError] = []

    def hang(_machine: Machine) -> Iterable[Row]:
        try:
            here.runner.capture(Command(("sleep", "300")))
        except CommandError as error:
            ended.append(error)
        return []

    doctor.run_checks({"hang": hang}, here, limit=0.5)
    for _ in range(100):
        if ended:
            break
        time.sleep(0.05)
    assert ended
    assert ended[0].returncode == -15


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Completed(0, json.dumps(INFO), "", 0.1), Probe(INFO)),
        (
            Completed(1, "", "cannot connect\n", 0.1),
            Probe(wrong="cannot connect", hint="correct or unset DOCKER_HOST and DOCKER_CONTEXT"),
        ),
        (
            CommandError("docker did not finish within 4 s: docker info"),
            Probe(wrong="docker did not finish within 4 s", hint="restart the engine"),
        ),
    ],
    ids=["answers", "silent", "slow"],
)
def test_an_engine_is_asked_for_its_description(ending: Completed | Exception, expected: Probe) -> None:
    """`docker info` with a time limit; a slow or silent engine is told in one line."""
    programs = Programs(ending)
    assert ask_docker({"DOCKER_HOST": "x"}, 4.0, programs) == expected
    (command,) = programs.asked
    assert (command.argv[:2], command.env, command.timeout) == (("docker", "info"), {"DOCKER_HOST": "x"}, 4.0)


def test_the_index_is_asked_as_a_build_would(settings: Settings, here: Machine) -> None:
    """The host's indexes and no local folder; credentials stay out of the arguments."""
    programs = Programs(Completed(0, "", "", 1.0))
    ca = settings.root / "ca.pem"
    ca.write_text("")
    environment = {"PIP_INDEX_URL": "https://me:pw%40@x/simple", "PIP_FIND_LINKS": "/wheels", "SSL_CERT_FILE": str(ca)}
    there = dataclasses.replace(here, environment=environment)
    (found,) = doctor.check_index(programs.on(there))
    assert like(found, OK, "the index of pip's configuration answers", "")
    (command,) = programs.asked
    assert command.env["PIP_INDEX_URL"] == "https://me:pw%40@x/simple"
    assert (command.env["PIP_FIND_LINKS"], command.env["PIP_CONFIG_FILE"]) == (None, "/dev/null")
    assert command.env["PIP_CERT"] == str(ca)
    assert "pw" not in command.display()


def test_the_index_of_the_settings(here: Machine) -> None:
    """The project's own index is stronger than the host's."""
    own = here.settings._replace(index_url="https://own/")
    there = dataclasses.replace(here, settings=own, environment={"PIP_INDEX_URL": "https://host/"})
    programs = Programs(Completed(0, "", "", 1.0))
    assert [found.state for found in doctor.check_index(programs.on(there))] == [OK]
    assert programs.asked[0].env["PIP_INDEX_URL"] == "https://own/"


def test_the_index_is_asked_with_the_password_of_the_keyring(here: Machine, tmp_path: Path) -> None:
    """A user without a password is no failure where a build would find one."""
    own = here.settings._replace(index_url="https://me@own/")
    programs = Programs(Completed(0, "", "", 1.0))
    programs.says["get"] = "mes\n"
    environment = {"HOME": str(tmp_path)}
    assert list(doctor.check_index(programs.on(dataclasses.replace(here, settings=own, environment=environment))))
    assert programs.asked[-1].env["PIP_INDEX_URL"] == "https://me:mes@own/"


def test_bases_are_asked_for_with_the_client_at_hand(settings: Settings) -> None:
    """A registry's silence is no error of the doctor."""
    programs = Programs(CommandError("exit status 1", returncode=1, output="ERROR: dial tcp: lookup x: no such host"))
    host = Machine(settings, {}, engines("auto", GOOD))
    (found,) = doctor.check_bases(programs.on(host))
    assert like(found, WARN, "Debian packages are used (lookup x: no such host)", "debian")
    assert programs.asked[0].argv[:5] == ("docker", "buildx", "imagetools", "inspect", "python:3.13-slim")


@pytest.mark.parametrize("there", [engines("auto"), engines("host", BARE)], ids=["nothing yet", "no buildx"])
def test_bases_without_a_client(settings: Settings, there: Search) -> None:
    """Nobody can be asked before there is something to ask with."""
    programs = Programs(Completed(0, "", "", 0.0))
    (found,) = doctor.check_bases(programs.on(Machine(settings, {}, there)))
    assert like(found, OK, "the first build asks a registry", "")
    assert programs.asked == []


def test_the_mirror_is_asked_only_where_it_matters(here: Machine, settings: Settings) -> None:
    """With an engine and a registry there is no row; a password in the address is not shown."""
    registry = here.settings._replace(base="registry")
    started = dataclasses.replace(here, engines=engines("auto", GOOD))
    assert list(doctor.check_mirror(dataclasses.replace(started, settings=registry))) == []
    (settings.root / "sources.list").write_text("deb https://me:pw@m/debian/ trixie main\n")
    (settings.root / "os-release").write_text("ID=debian\nVERSION_CODENAME=trixie\n")
    programs = Programs(Completed(100, "Err:1 x\n  Could not resolve 'm'\n", "", 0.1))
    debian = apt.AptHost(settings.root, settings.root / "sources.list", settings.root / "os-release", programs)
    there = dataclasses.replace(here, debian=debian)
    (found,) = doctor.check_mirror(there)
    assert like(found, FAIL, "https://m/debian/: the Debian mirror cannot be reached", "network")
    assert "https://me:pw@m/debian/dists/trixie/InRelease" in programs.asked[0].argv
    (found,) = doctor.check_mirror(dataclasses.replace(there, engines=started.engines))
    assert found.state == WARN
    programs.ending = Completed(0, "", "", 0.1)
    (found,) = doctor.check_mirror(there)
    assert like(found, OK, "https://m/debian/ answers", "")


def test_no_apt(here: Machine) -> None:
    """A system without apt says what to do instead."""
    other = apt.AptHost(os_release=here.settings.root / "absent")
    (found,) = doctor.check_mirror(dataclasses.replace(here, debian=other))
    assert like(found, FAIL, "this system is unknown", "registry")


def test_ports_of_the_own_stack(settings: Settings) -> None:
    """Free, ours, or somebody's, with the way to find out whose."""
    docker = Docker()
    docker.programs["docker"] = "/usr/bin/docker"
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(4)]
        ports = tuple(server.getsockname()[1] for server in servers)
        servers[3].close()
        holders = dict(zip(ports, ("shop-web-1 shop\n", "other-web-1 other\n", "", ""), strict=True))
        docker.says["ps"] = lambda command: holders[int(command.argv[3].removeprefix("publish="))]
        there = Machine(settings._replace(ports=ports), {}, engines("auto", GOOD), docker)
        ours, theirs, other, free = doctor.check_ports(there)
    assert like(ours, OK, "this project's own stack", "")
    assert like(theirs, WARN, "other-web-1 has it: `invoke up` will not start", "end it")
    assert like(other, WARN, "another program has it", f"`ss -ltnp sport = :{ports[2]}`")
    assert like(free, OK, "free", "")


@pytest.mark.parametrize(
    ("environment", "local"),
    [({"DOCKER_HOST": "unix:///x"}, True), ({"DOCKER_HOST": "tcp://x"}, False)],
)
def test_whose_disk(here: Machine, environment: dict[str, str], local: bool) -> None:
    """The disk of an engine elsewhere is not ours to measure."""
    there = dataclasses.replace(here, environment=environment, engines=engines("auto", GOOD))
    assert Programs(Completed(0, "", "", 0.1)).on(there).has_engine() is local


def test_a_disk_is_measured_where_a_folder_would_be_made(tmp_path: Path) -> None:
    """A folder that does not exist yet has the room of the one that it would be in; one that cannot be fails."""
    measured: list[Path] = []

    def measure(there: Path) -> Any:
        measured.append(there)
        return SimpleNamespace(free=5 * 10**9)

    assert doctor.measure_disk("x", tmp_path / "not" / "yet", measure).state == OK
    assert measured == [tmp_path]

    def refuse(_there: Path) -> int:
        raise PermissionError(13, "Permission denied")

    assert like(doctor.measure_disk("x", tmp_path, refuse), FAIL, f"x: {tmp_path}: Permission denied", "XDG_CACHE_HOME")


def test_reading_certificates(here: Machine, tmp_path: Path) -> None:
    """A file that holds something else is told; no certificate is read as one."""
    (tmp_path / "ca").write_text("not a certificate\n")
    there = dataclasses.replace(here, environment={"SSL_CERT_FILE": str(tmp_path / "ca")})
    (row,) = doctor.check_certificates(there)
    assert like(row, FAIL, f"{tmp_path / 'ca'}: ", "SSL_CERT_FILE"), row


def test_a_bundle_is_counted(here: Machine) -> None:
    """Each certificate that builds would trust."""
    bundle = Path(certifi.where())
    (row,) = doctor.check_certificates(dataclasses.replace(here, environment={"SSL_CERT_FILE": str(bundle)}))
    assert like(row, OK, f"{bundle}: {bundle.read_text().count('BEGIN CERTIFICATE')} certificates", ""), row


def test_a_variable_that_names_no_file(here: Machine, tmp_path: Path) -> None:
    """Python would silently trust nothing then."""
    there = dataclasses.replace(here, environment={"SSL_CERT_FILE": str(tmp_path / "absent")})
    (found,) = doctor.check_certificates(there)
    assert like(found, FAIL, f"{tmp_path / 'absent'}: No such file", "unset")


def test_the_table(capsys: pytest.CaptureFixture[str], said: list[str]) -> None:
    """A fix stands below what was found, and the last line sums up."""
    task.print_rows([Row("engine", OK, "28"), Row("git", WARN, "no commit", "make one")])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == ["check", "state", "found"]
    assert lines[2:] == [["engine", "ok", "28"], ["git", "warn", "no", "commit"], ["→", "make", "one"]]
    assert said == ["2 checks, 1 warning: ready to build"]


@pytest.mark.parametrize("state", [OK, WARN, FAIL])
def test_the_task(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """JSON on stdout whatever was found; only a failure ends with 1."""
    replace_everywhere(monkeypatch, "settings", lambda: settings)
    monkeypatch.setattr(doctor, "examine", lambda _settings, _environment: (Row("git", state, "x", "y"),))
    if state == FAIL:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - Invoke's Exit, whose code is what counts
            task.doctor.body(None, json=True)
        assert getattr(caught.value, "code", None) == 1
    else:
        task.doctor.body(None, json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "ok": state != FAIL,
        "checks": [{"check": "git", "state": state, "found": "x", "fix": "y"}],
    }
