"""What the Compose files say of each service, in the words of a cluster: what it is, runs, needs and may use (pure)."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dockyard.deploy.goal import Document, Goal, list_memory, parse_seconds, parse_size
from dockyard.image.dockerfile import Dockerfile, Instruction

WEB, WORKER, ONE_SHOT, SERVICE, DATABASE = "web", "worker", "one-shot", "service", "database"
DATABASES = {
    "cockroach", "elasticsearch", "keydb", "mariadb", "memcached", "mongo", "mysql", "opensearch", "percona",
    "postgis", "postgres", "postgresql", "rabbitmq", "redis", "valkey",
}  # fmt: skip
"""Images of what keeps data: a cluster uses one that somebody looks after, and does not start it beside the service."""


@dataclass(frozen=True)
class Check:
    """How it is found out that a copy does well: a program, or `path` asked over HTTP. Times are in seconds."""

    command: tuple[str, ...] = ()
    path: str = ""
    interval: float = 30
    timeout: float = 30
    retries: int = 3
    start_period: float = 0


@dataclass(frozen=True)
class Mount:
    """A folder that a service may write to: `volume` is empty for one in memory, which is lost; `size` in bytes."""

    target: str
    volume: str = ""
    size: int = 0
    read_only: bool = False


@dataclass(frozen=True)
class Limits:
    """The most that one copy may use, and what is kept for it; 0 where nothing is said. CPUs, and bytes."""

    cpus: float = 0
    memory: int = 0
    reserved_cpus: float = 0
    reserved_memory: int = 0


@dataclass(frozen=True)
class Workload:
    """One service: `role` is one of the words above, `own` says whether it runs the project's image.

    `entrypoint` and `command` are None where the image's own count. `secrets` are names and the files that they are
    mounted as. `user` is a number or -1, `grace` the seconds between the end signal and the end. `lost` names what
    only an engine understands.
    """

    name: str
    role: str
    own: bool
    image: str
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    folder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[tuple[str, str], ...] = ()
    ports: tuple[int, ...] = ()
    user: int = -1
    group: int = -1
    read_only: bool = True
    check: Check | None = None
    mounts: tuple[Mount, ...] = ()
    limits: Limits = Limits()
    grace: float = 10
    replicas: int = 0
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Habits:
    """What the Dockerfile says of the image that no Compose file repeats."""

    user: int = -1
    group: int = -1
    check: Check | None = None


def read_habits(dockerfile: Dockerfile, target: str = "production") -> Habits:
    """Return what the last USER and HEALTHCHECK of a target say."""
    found = Habits()
    for one in _list_instructions(dockerfile, target):
        if one.keyword == "USER":
            user, group = _split_user(one.rest)
            found = replace(found, user=user, group=group)
        if one.keyword == "HEALTHCHECK":
            found = replace(found, check=_read_instruction(one.flags, one.rest))
    return found


def _list_instructions(dockerfile: Dockerfile, target: str) -> list[Instruction]:
    """Return the instructions of a target after those of the stages it stands on; of the last one without such."""
    stage = next((one for one in dockerfile.stages if one.name == target), next(reversed(dockerfile.stages), None))
    found: list[Instruction] = []
    while stage:
        found = [*stage.instructions, *found]
        stage = next((one for one in dockerfile.stages[: stage.number] if one.name == stage.base.lower()), None)
    return found


def read_workloads(goal: Goal, habits: Habits = Habits()) -> tuple[Workload, ...]:
    """Return every service of the Compose files, and the release step of the destination where it names one."""
    own, web, ending = goal.own_services, goal.web[0], goal.steps
    found = []
    for name, body in goal.services.items():
        role = _find_role(name, body, own, web, ending)
        found.append(_read(goal, name, body, role, habits))
    step = goal.destination.release
    if step:
        model = next(one for one in found if one.name == (web or own[0]))
        found = [one for one in found if one.role != ONE_SHOT]
        found.append(replace(model, name="release", role=ONE_SHOT, command=step, check=None, ports=(), lost=()))
    return tuple(found)


def _find_role(name: str, body: Document, own: tuple[str, ...], web: str, ending: tuple[str, ...]) -> str:
    if name in ending:
        return ONE_SHOT
    if name in own:
        return WEB if name == web else WORKER
    stem = re.sub(r"(:[\w.-]+)?(@\S+)?$", "", str(body.get("image") or "")).rpartition("/")[2]
    return DATABASE if stem in DATABASES else SERVICE


def _read(goal: Goal, name: str, body: Document, role: str, habits: Habits) -> Workload:
    own = role in {WEB, WORKER, ONE_SHOT}
    user, group = _split_user(str(body["user"])) if body.get("user") else (-1, -1)
    if own and user < 0:
        user, group = habits.user, habits.group
    ports = [goal.web[1]] if role == WEB else []
    ports += [int(port["target"]) for port in body.get("ports") or ()]
    ports += [int(str(port).partition("/")[0]) for port in body.get("expose") or ()]
    environment = {key: _plain(str(value or "")) for key, value in (body.get("environment") or {}).items()}
    secrets = [(one["source"], one.get("target") or one["source"]) for one in body.get("secrets") or ()]
    if own:
        environment |= goal.destination.environment
        secrets += [(one, one) for one in goal.destination.secrets]
    return Workload(
        name,
        role,
        own,
        goal.image if own else str(body.get("image") or ""),
        _words(body.get("entrypoint")),
        _words(body.get("command")),
        body.get("working_dir") or "",
        environment,
        tuple(secrets),
        tuple(dict.fromkeys(ports)),
        user,
        group,
        own or bool(body.get("read_only")),
        _find_check(goal, body, role, habits),
        tuple(_list_mounts(body, own=own)),
        _read_limits(goal, body, own=own),
        parse_seconds(str(body.get("stop_grace_period") or "10s")),
        int((body.get("deploy") or {}).get("replicas") or body.get("scale") or 0),
        tuple(_list_lost(body)),
    )


def _find_check(goal: Goal, body: Document, role: str, habits: Habits) -> Check | None:
    """Return the check of a service; that of the image asks a server, which only the web is."""
    said = body.get("healthcheck") or {}
    if said.get("disable") or role == ONE_SHOT:
        return None
    check = habits.check if role == WEB else None
    if said.get("test"):
        check = _read_test([_plain(word) for word in said["test"]])
    check = _with_times(check, said) if check else None
    if role == WEB and goal.destination.health:
        check = replace(check or Check(interval=10, timeout=3), command=(), path=goal.destination.health)
    return check


def _read_test(words: list[str]) -> Check | None:
    if words[0] == "NONE":
        return None
    if words[0] == "CMD":
        return Check(tuple(words[1:]))
    return Check(("sh", "-c", " ".join(words[1:] if words[0] == "CMD-SHELL" else words)))


def _read_instruction(flags: tuple[str, ...], rest: str) -> Check | None:
    """Return the check that a HEALTHCHECK instruction describes."""
    keyword, _, text = rest.strip().partition(" ")
    if keyword.upper() != "CMD":
        return None
    try:
        command = tuple(map(str, json.loads(text)))
    except ValueError:
        command = ("sh", "-c", text.strip())
    pairs = (flag.removeprefix("--").partition("=") for flag in flags)
    return _with_times(Check(command), {key.replace("-", "_"): value for key, _, value in pairs})


def _with_times(check: Check, said: Mapping[str, Any]) -> Check:
    times: Any = {
        key: parse_seconds(str(said[key])) for key in ("interval", "timeout", "start_period") if said.get(key)
    }
    return replace(check, **times, retries=int(said.get("retries") or check.retries))


def _read_limits(goal: Goal, body: Document, *, own: bool) -> Limits:
    said = (body.get("deploy") or {}).get("resources") or {}
    most, least = said.get("limits") or {}, said.get("reservations") or {}
    cpus = (own and goal.destination.cpus) or body.get("cpus") or most.get("cpus") or 0
    memory = (own and goal.destination.memory) or body.get("mem_limit") or most.get("memory") or 0
    kept = least.get("memory") or body.get("mem_reservation") or 0
    return Limits(float(cpus), parse_size(str(memory)), float(least.get("cpus") or 0), parse_size(str(kept)))


def _list_mounts(body: Document, *, own: bool) -> Iterator[Mount]:
    """Yield what a service may write to; a program of ours always finds a /tmp."""
    volumes = [one for one in body.get("volumes") or () if one["type"] == "volume"]
    yield from (Mount(one["target"], one.get("source") or "data", 0, bool(one.get("read_only"))) for one in volumes)
    memory = dict(list_memory(body))
    if own and all(one["target"] != "/tmp" for one in volumes):  # noqa: S108 - in the container
        memory.setdefault("/tmp", 64 * 2**20)  # noqa: S108
    yield from (Mount(target, "", size) for target, size in memory.items())


def _list_lost(body: Document) -> Iterator[str]:
    for volume in body.get("volumes") or ():
        if volume["type"] not in {"volume", "tmpfs"}:
            yield f"volumes: {volume.get('source')} on {volume['target']} is a folder of one machine"
    for key in ("configs", "devices", "network_mode", "pid", "ipc", "privileged", "sysctls", "ulimits", "extra_hosts"):
        if body.get(key):
            yield key
    if (body.get("deploy") or {}).get("mode") == "global":
        yield "deploy.mode: global"
    if added := sorted(set(body.get("cap_add") or ()) - {"NET_BIND_SERVICE"}):
        yield f"cap_add: {', '.join(added)}"


def _split_user(text: str) -> tuple[int, int]:
    user, _, group = text.strip().partition(":")
    return (int(user) if user.isdecimal() else -1, int(group) if group.isdecimal() else -1)


def _words(said: list[str] | None) -> tuple[str, ...] | None:
    return None if said is None else tuple(_plain(str(word)) for word in said)


def _plain(text: str) -> str:
    """Return a text of Compose's document, where two dollar signs mean one."""
    return text.replace("$$", "$")
