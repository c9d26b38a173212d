"""Make a Swarm's stack file out of what the Compose files say (pure).

What Swarm calls otherwise is translated, what it cannot do is left out and named, and what a deploy needs beyond the
Compose files is added: the order of an update and its way back, the front, and the moment between the last request
and the end signal.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from dockyard.deploy import front
from dockyard.deploy.front import Front
from dockyard.deploy.goal import (
    FRONT,
    RELEASE,
    Document,
    Goal,
    drop_empty,
    escape_all,
    list_memory,
    list_targets,
    parse_seconds,
)
from dockyard.errors import SettingsError

KEPT = (
    "cap_add", "cap_drop", "command", "dns", "entrypoint", "environment", "extra_hosts", "healthcheck", "hostname",
    "init", "labels", "logging", "read_only", "stop_grace_period", "stop_signal", "sysctls", "tty", "ulimits", "user",
    "working_dir",
)  # fmt: skip
LOST = ("security_opt", "privileged", "devices", "network_mode", "pid", "ipc", "links")
"""What a stack file has no word for: `lost` names it."""
NAME = r"[A-Za-z0-9](?:[-_]*[A-Za-z0-9]+)*"
"""What a Swarm takes as the name of a service."""
LABEL = "io.dockyard."
DEFINITION = f"{LABEL}definition"
VERSION = f"{LABEL}version"
DRAIN = "/dockyard-drain.py"


@dataclass(frozen=True)
class StackFile:
    """A stack file and the files beside it that it names; `lost` says what was left out."""

    document: Document
    files: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    @property
    def services(self) -> Mapping[str, Document]:
        """Every service by its name within the stack."""
        found: Mapping[str, Document] = self.document["services"]
        return found

    def select(self, *names: str) -> "StackFile":
        """Return the stack with these services alone."""
        return self.with_services({name: body for name, body in self.services.items() if name in names})

    def with_services(self, services: Mapping[str, Document]) -> "StackFile":
        """Return the stack with other services."""
        return StackFile({**self.document, "services": services}, self.files)


def make_stack(goal: Goal) -> StackFile:
    """Return the stack file of a goal, without its release step."""
    files: dict[str, str] = {}
    goal.check_names()
    volumes = goal.document.get("volumes") or {}
    web, port = goal.web
    bodies = {name: body for name, body in goal.services.items() if name not in goal.steps}
    for name in bodies:
        if not re.fullmatch(NAME, name):
            raise SettingsError(f"a Swarm takes no service called {name}", "use letters, digits, - and _ alone")
    services = {name: _service(goal, name, body) for name, body in bodies.items()}
    if goal.destination.front and web:
        chosen = Front(goal.destination.port, (web,), port, goal.destination.domain)
        files["front.cfg"] = front.write_config(chosen)
        services[FRONT] = _front(goal)
    files |= {_config_key(name): body["content"] for name, body in (goal.document.get("configs") or {}).items()}
    if any(one["source"] == "drain" for body in services.values() for one in body.get("configs") or ()):
        files["drain.py"] = (resources.files("dockyard.payload") / "drain.py").read_text("utf-8")
    configs = {}
    for name, text in files.items():
        stem = name.partition(".")[0]
        configs[stem] = {"file": f"./{name}", "name": f"{goal.stack}_{stem}-{hash_text(text)}"}
    document = {
        "services": {name: _marked(body, configs) for name, body in services.items()},
        "networks": {name: _network(body) for name, body in (goal.document.get("networks") or {}).items()},
        "volumes": {name: _outside(body, "driver", "driver_opts") for name, body in volumes.items()},
        "secrets": dict(_secrets(goal)),
        "configs": configs,
    }
    lost = [f"{name}: {key}" for name, body in goal.services.items() for key in LOST if body.get(key)]
    if FRONT in services:
        others = sorted(list_targets(goal.services[web]) - {port})
        lost += [f"{web}: port {other} beside the one of the front" for other in others]
    return StackFile(drop_empty(document), files, tuple(lost))


def make_jobs(goal: Goal, stack: StackFile) -> tuple[StackFile, ...]:
    """Return the release step as stack files of one job each."""
    return tuple(stack.with_services({RELEASE: _job(_service(goal, RELEASE, body))}) for body in goal.releases)


def _job(body: Document) -> dict[str, Any]:
    limits = {"resources": body["deploy"]["resources"]} if "resources" in body["deploy"] else {}
    deploy = {"mode": "replicated-job", "replicas": 1, "restart_policy": {"condition": "none"}, **limits}
    deploy["labels"] = {f"{LABEL}{RELEASE}": "true"}
    return {**body, "healthcheck": {"disable": True}, "deploy": deploy}


def _service(goal: Goal, name: str, body: Document) -> dict[str, Any]:
    own, (web, port) = goal.is_own(body), goal.web
    made: dict[str, Any] = {key: body.get(key) for key in KEPT}
    made["image"] = goal.image if own else body["image"]
    networks = body.get("networks") or {"default": None}
    made["networks"] = {
        net: {"aliases": said["aliases"]} if said and said.get("aliases") else None for net, said in networks.items()
    }
    made["volumes"] = [*_volumes(body)]
    mounted = [*(body.get("secrets") or ()), *({"source": one} for one in goal.destination.secrets if own)]
    made["secrets"] = [{"mode": 0o444, **one, "target": one.get("target") or one["source"]} for one in mounted]
    made["configs"] = [{**one, "source": _config_key(one["source"])} for one in body.get("configs") or ()]
    made["deploy"] = describe_deploy(goal, body, own=own)
    if own and goal.destination.environment:
        made["environment"] = list_environment(goal, body)
    if name == web and goal.destination.front:
        if goal.destination.drain:
            made |= _drained(goal, {**body, "configs": made["configs"]})
    elif name == web:
        made["ports"] = [{"target": port, "published": goal.destination.port, "protocol": "tcp"}]
    else:
        made["ports"] = [*_ports(name, body)]
    if made.get("ports"):
        made["deploy"]["endpoint_mode"] = "vip"
    return drop_empty(made)


def describe_deploy(goal: Goal, body: Document, *, own: bool) -> dict[str, Any]:
    """Return how many copies of a service run, with which limits, and how they are renewed."""
    said = body.get("deploy") or {}
    place = goal.destination
    asked = said.get("resources") or {}
    limits, reserved = (
        {key: str(one) if key == "cpus" else one for key, one in (asked.get(which) or {}).items()}
        for which in ("limits", "reservations")
    )
    for key, name, chosen in (("cpus", "cpus", place.cpus), ("mem_limit", "memory", place.memory)):
        if (own and chosen) or body.get(key):
            limits[name] = str((own and chosen) or body[key])
    if body.get("pids_limit"):
        limits["pids"] = int(body["pids_limit"])
    order = place.order if own else "stop-first"
    moved = {"parallelism": 1, "order": order, "monitor": "5s"}
    everywhere = place.kind == "swarm" and said.get("mode") == "global"
    counts = (said.get("replicas"), body.get("scale"), place.replicas if own else 1)
    return {
        **({"mode": "global"} if everywhere else {"replicas": next(int(one) for one in counts if one is not None)}),
        "endpoint_mode": "dnsrr",
        "update_config": {**moved, "failure_action": "rollback", "max_failure_ratio": 0},
        "rollback_config": {**moved, "failure_action": "continue"},
        "restart_policy": {"condition": "any", "delay": "1s"},
        **({"resources": {"limits": limits, **({"reservations": reserved} if reserved else {})}} if limits else {}),
        **{key: said[key] for key in ("labels", "placement") if said.get(key)},
    }


def _drained(goal: Goal, body: Document) -> dict[str, Any]:
    """Return what has the end signal of a server come later, by a program that a config brings into the container."""
    facts, seconds = goal.facts, goal.destination.drain
    entry = body.get("entrypoint")
    # As in a container: a new entry point drops the image's command.
    words = [*(escape_all(facts.entrypoint) if entry is None else entry)]
    words += body.get("command") or (escape_all(facts.command) if entry is None else ())
    ending = str(body.get("stop_signal") or facts.stop_signal)
    grace = parse_seconds(str(body.get("stop_grace_period") or "10s"))
    return {
        "entrypoint": ["python", "-I", DRAIN, str(seconds), f"SIG{ending.removeprefix('SIG')}", *words],
        "command": None,
        "stop_grace_period": f"{grace + seconds:g}s",
        "configs": [*body["configs"], {"source": "drain", "target": DRAIN, "mode": 0o444}],
    }


def list_environment(goal: Goal, body: Document) -> dict[str, Any]:
    """Return the variables of one of the project's services: those of the Compose files and of the destination."""
    own = dict(zip(goal.destination.environment, escape_all(goal.destination.environment.values()), strict=True))
    return {**(body.get("environment") or {}), **own}


def _front(goal: Goal) -> dict[str, Any]:
    body, port = describe_front(goal), goal.destination.port
    deploy = {
        "mode": "global",
        "endpoint_mode": "dnsrr",
        "update_config": {"parallelism": 1, "order": "stop-first", "failure_action": "rollback", "monitor": "5s"},
        "restart_policy": {"condition": "any", "delay": "1s"},
    }
    return {
        **body,
        "configs": [{"source": "front", "target": front.FILE, "mode": 0o444}],
        "ports": [{"target": port, "published": port, "protocol": "tcp", "mode": "host"}],
        "deploy": {**deploy, **body["deploy"]},
    }


def describe_front(goal: Goal) -> dict[str, Any]:
    """Return what the front of every kind is: its image, in the networks of the service that requests go to."""
    test = ["CMD", "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{front.HEALTH_PORT}"]
    return {
        "image": goal.front_image,
        "networks": list(goal.services[goal.web[0]].get("networks") or {"default": None}),
        "healthcheck": {
            "test": test, "interval": "10s", "timeout": "3s", "start_period": "10s", "start_interval": "1s",
        },
        "read_only": True,
        "cap_drop": ["ALL"],
        "logging": {"driver": "local"},
        # Longer than hard-stop-after: requests in flight end first.
        "stop_grace_period": "70s",
        "deploy": {"resources": {"limits": {"cpus": "1", "memory": "256m", "pids": 64}}},
    }  # fmt: skip


def _outside(body: Document | None, *kept: str) -> dict[str, Any]:
    """Return what is said of a network or a volume; the name counts where it is one that the stack does not make."""
    said = body or {}
    name = ("external", "name") if said.get("external") else ()
    return {key: said[key] for key in (*name, *kept) if said.get(key)}


def _network(body: Document | None) -> dict[str, Any]:
    kept = _outside(body, "internal")
    return kept if "external" in kept else {"driver": "overlay", **kept}


def _ports(name: str, body: Document) -> Iterator[dict[str, Any]]:
    """Yield what a service publishes to the world: a port of the loopback alone would be everybody's in a Swarm."""
    for port in body.get("ports") or ():
        if port.get("published") and not str(port.get("host_ip", "")).startswith(("127.", "::1")):
            if not str(port["published"]).isdecimal():
                raise SettingsError(
                    f"{name} publishes port {port['target']} as any of {port['published']}, and a Swarm takes one",
                    "choose one in compose.production.yaml",
                )
            protocol = port.get("protocol", "tcp")
            yield {"target": port["target"], "published": int(port["published"]), "protocol": protocol}


def _volumes(body: Document) -> Iterator[dict[str, Any]]:
    for volume in body.get("volumes") or ():
        if volume["type"] != "tmpfs":
            yield {key: volume[key] for key in ("type", "source", "target", "read_only") if volume.get(key)}
    for target, size in list_memory(body):
        yield {"type": "tmpfs", "target": target, **({"tmpfs": {"size": size}} if size else {})}


def _secrets(goal: Goal) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the secrets: the destination holds them already, so that none passes through a file of the project."""
    for name, body in (goal.document.get("secrets") or {}).items():
        yield name, {"external": True, "name": body.get("name") or f"{goal.stack}_{name}"}
    for name in goal.destination.secrets:
        yield name, {"external": True, "name": name}


def _config_key(name: str) -> str:
    """Return what a config of the Compose files is called in a stack, where ours have names too."""
    return f"config-{name.replace('.', '-')}"


def _marked(body: dict[str, Any], configs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return a service with the hash of all that its facts do not tell, by which a change is noticed."""
    told = {"image", "environment"}
    rest = {key: value for key, value in body.items() if key not in told}
    # The name of a config has a hash of what is in it.
    rest["contents"] = [configs[one["source"]]["name"] for one in body.get("configs") or ()]
    rest["deploy"] = {key: value for key, value in body["deploy"].items() if key not in {"replicas", "resources"}}
    labels = {**body["deploy"].get("labels", {}), DEFINITION: hash_text(json.dumps(rest, sort_keys=True))}
    return {**body, "deploy": {**body["deploy"], "labels": labels}}


def hash_text(text: str) -> str:
    """Return twelve digits that tell a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
