"""Make the Compose document of a single host, where two sets of the project's services can stand side by side (pure).

Each set has a colour. The front knows the copies of the set that serves; everything else has one copy as always.
"""

import json
from collections.abc import Mapping
from typing import Any

from dockyard.deploy import front, stackfile
from dockyard.deploy.docker import describe_wanted
from dockyard.deploy.goal import FRONT, RELEASE, Document, Goal, drop_empty
from dockyard.deploy.stackfile import DEFINITION, LABEL, VERSION, StackFile
from dockyard.errors import SettingsError

COLOURS = ("blue", "green")
FACTS = f"{LABEL}facts"
OWN = f"{LABEL}own"
WEB = f"{LABEL}web"
FOLDER = front.FILE.rpartition("/")[0]
DROPPED = frozenset(
    {"build", "container_name", "depends_on", "scale", "cpus", "mem_limit", "memswap_limit", "env_file"}
)


def make_host(goal: Goal) -> StackFile:
    """Return the services of a goal by their plain names; labels hold what a plan compares, and whose they are."""
    goal.check_names()
    services = {name: _service(goal, name, body) for name, body in goal.services.items() if name not in goal.steps}
    if goal.destination.front and goal.web[0]:
        services[FRONT] = _front(goal)
    parts = {
        "services": {name: _marked(body) for name, body in services.items()},
        "networks": goal.document.get("networks") or {"default": {}},
        "volumes": {**(goal.document.get("volumes") or {}), **({FRONT: {}} if FRONT in services else {})},
        "secrets": _secrets(goal),
        "configs": goal.document.get("configs"),
    }
    return StackFile(drop_empty(parts))


def colour_set(stack: StackFile, colour: str, number: int) -> StackFile:
    """Return the project's own services by the names of a colour; others of the stack find them by the plain ones."""
    services = {}
    for name, body in ((name, body) for name, body in stack.services.items() if OWN in body["labels"]):
        networks = {net: {**(said or {}), "aliases": [name]} for net, said in body["networks"].items()}
        labels = {**body["labels"], VERSION: str(number)}
        services[f"{name}-{colour}"] = {**body, "networks": networks, "labels": labels}
    return stack.with_services(services)


def make_jobs(goal: Goal, stack: StackFile) -> tuple[StackFile, ...]:
    """Return the release step as documents of one service each."""
    return tuple(stack.with_services({RELEASE: _job(_service(goal, RELEASE, body))}) for body in goal.releases)


def _job(body: Document) -> dict[str, Any]:
    kept = {key: value for key, value in body.items() if key not in {"ports", "labels"}}
    limits = {"resources": body["deploy"]["resources"]} if "resources" in body["deploy"] else {}
    return {**kept, "healthcheck": {"disable": True}, "restart": "no", "deploy": {"replicas": 1, **limits}}


def select_others(stack: StackFile) -> StackFile:
    """Return the stack without the project's own services, and without the front."""
    return stack.select(*(name for name, body in stack.services.items() if OWN not in body["labels"] and name != FRONT))


def _service(goal: Goal, name: str, body: Document) -> dict[str, Any]:
    own, web = goal.is_own(body), name == goal.web[0]
    place = goal.destination
    made: dict[str, Any] = {key: value for key, value in body.items() if key not in DROPPED and value is not None}
    made["deploy"] = stackfile.describe_deploy(goal, body, own=own)
    made["networks"] = dict(body.get("networks") or {"default": None})
    made.setdefault("restart", "unless-stopped")
    if own:
        made["image"] = goal.image
        made["labels"] = {**(body.get("labels") or {}), OWN: "true", **({WEB: str(goal.web[1])} if web else {})}
        made["environment"] = stackfile.list_environment(goal, body)
        mounted = [{"source": one, "target": f"/run/secrets/{one}"} for one in place.secrets]
        made["secrets"] = [*(body.get("secrets") or ()), *mounted]
    if web and place.front:
        made.pop("ports", None)
    elif own and made.get("ports") and (place.order, made["deploy"]["replicas"]) != ("stop-first", 1):
        raise SettingsError(
            f"{name} publishes a port of the host by itself, which two copies cannot both have",
            'publish none in compose.production.yaml, or set order = "stop-first" and replicas = 1',
        )
    return drop_empty(made)


def _front(goal: Goal) -> dict[str, Any]:
    body, port = stackfile.describe_front(goal), goal.destination.port
    return {
        **body,
        "networks": dict.fromkeys(body["networks"]),
        "ports": [{"target": port, "published": str(port), "protocol": "tcp"}],
        "volumes": [{"type": "volume", "source": FRONT, "target": FOLDER}],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "deploy": {"replicas": 1, **body["deploy"]},
    }


def _secrets(goal: Goal) -> dict[str, Any]:
    """Return where secrets lie on the host: as the Compose files say, or in the folder that the settings name."""
    folder, known = goal.destination.folder, goal.document.get("secrets") or {}
    found = {name: {"file": f"{folder}/{name}"} if folder else body for name, body in known.items()}
    return found | {name: {"file": f"{folder}/{name}"} for name in goal.destination.secrets}


def _marked(body: dict[str, Any]) -> dict[str, Any]:
    """Return a service with its facts in a label, from which a later plan knows what runs."""
    deploy = {key: value for key, value in body["deploy"].items() if key in {"replicas", "resources", "placement"}}
    bare = {**body, "deploy": deploy}
    rest = {**bare, "image": "", "environment": {}, "deploy": {}, "labels": body.get("labels") or {}}
    definition = stackfile.hash_text(json.dumps(rest, sort_keys=True))
    facts = describe_wanted({**bare, "deploy": {**deploy, "labels": {DEFINITION: definition}}})
    labels = {**(body.get("labels") or {}), FACTS: json.dumps(facts, sort_keys=True).replace("$", "$$")}
    return {**bare, "labels": labels}


def wanted_facts(body: Document) -> dict[str, str]:
    """Return the facts of a service that is wanted, in the form of `read_facts`."""
    return read_facts({FACTS: body["labels"][FACTS].replace("$$", "$")}, body["deploy"]["replicas"])


def read_facts(labels: Mapping[str, str], copies: int) -> dict[str, str]:
    """Return the facts of a service that runs with so many copies."""
    facts: dict[str, str] = json.loads(labels.get(FACTS) or "{}")
    return {**facts, "replicas": str(copies)}
