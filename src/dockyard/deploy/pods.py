"""Make the pod of a service: how it is hardened, what it may use, how its health is asked, and what it reads (pure)."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import SENSITIVE
from dockyard.deploy.goal import drop_empty
from dockyard.deploy.model import ONE_SHOT, WEB, Check, Mount, Workload
from dockyard.deploy.stackfile import hash_text

DOMAIN = "app.kubernetes.io/"
USER = 65532
ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Release:
    """What is to run: every service, for a destination; `stack` is the name that all objects share."""

    stack: str
    destination: Destination
    workloads: tuple[Workload, ...]

    @property
    def name(self) -> str:
        """The stack as Kubernetes allows names."""
        return make_name(self.stack)


def make_name(text: str) -> str:
    """Return a name as Kubernetes allows it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63]


def make_pod(release: Release, one: Workload) -> dict[str, Any]:
    """Return the pod of a service, as the restricted Pod Security Standard asks for it."""
    drain = release.destination.drain if one.role == WEB else 0
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": make_labels(release, one)},
    }
    security: dict[str, Any] = {"runAsNonRoot": True}
    user = one.user if one.user > 0 else USER if one.own else 0
    if user:
        security |= {"runAsUser": user, "runAsGroup": one.group if one.group > 0 else user}
    if user and any(mount.volume for mount in one.mounts):
        security["fsGroup"] = security["runAsGroup"]
    security["seccompProfile"] = {"type": "RuntimeDefault"}
    made = {
        "serviceAccountName": release.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(one.grace) + drain,
        "topologySpreadConstraints": [] if one.role == ONE_SHOT else [spread],
        "securityContext": security,
        "containers": [_make_container(release, one, drain)],
        "volumes": [*_make_volumes(release, one)],
    }
    return drop_empty(made)


def _make_container(release: Release, one: Workload, drain: int) -> dict[str, Any]:
    public = list_public(release, one)
    hidden = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": f"{release.name}-{ENVIRONMENT}", "key": key}}}
        for key in list_private(release, one)
    ]
    made = {
        "name": make_name(one.name),
        "image": one.image,
        "command": list(one.entrypoint or ()),
        "args": list(one.command or ()),
        "workingDir": one.folder,
        "ports": [{"containerPort": port, "protocol": "TCP"} for port in one.ports],
        "envFrom": [{"configMapRef": {"name": name_settings(one, public)}}] if public else [],
        "env": hidden,
        "resources": _make_resources(one),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": one.read_only,
            "capabilities": {"drop": ["ALL"]},
        },
        **(_make_probes(one, one.check) if one.check else {}),
        "lifecycle": {"preStop": {"sleep": {"seconds": drain}}} if drain else None,
        "volumeMounts": [*_make_mounts(one)],
    }
    return drop_empty(made)


def _make_resources(one: Workload) -> dict[str, Any]:
    limits = one.limits
    cpus = limits.reserved_cpus or limits.cpus / 4 or 0.1
    memory = limits.reserved_memory or limits.memory or 128 * 2**20
    most = {
        "cpu": format_cpus(limits.cpus) if limits.cpus else "",
        "memory": format_size(limits.memory) if limits.memory else "",
    }
    requests = {"cpu": format_cpus(cpus), "memory": format_size(memory)}
    return drop_empty({"requests": requests, "limits": drop_empty(most)})


def _make_probes(one: Workload, check: Check) -> dict[str, Any]:
    ask: dict[str, Any] = {"exec": {"command": list(check.command)}}
    if check.path:
        # The name is one that a service with a list of trusted hosts lets in.
        headers = [{"name": "Host", "value": "localhost"}]
        ask = {"httpGet": {"path": check.path, "port": one.ports[0], "httpHeaders": headers}}
    seconds = max(1, math.ceil(check.timeout))
    patience = math.ceil(max(check.start_period, 60) / 2)
    often = max(2, min(10, math.ceil(check.interval)))
    return {
        "startupProbe": {**ask, "periodSeconds": 2, "timeoutSeconds": seconds, "failureThreshold": patience},
        "readinessProbe": {**ask, "periodSeconds": often, "timeoutSeconds": seconds, "failureThreshold": check.retries},
        "livenessProbe": {**ask, "periodSeconds": 10, "timeoutSeconds": max(5, seconds), "failureThreshold": 6},
    }


def _make_volumes(release: Release, one: Workload) -> Iterator[dict[str, Any]]:
    for mount in one.mounts:
        kind = release.destination.volumes.get(mount.volume, "claim")
        if mount.volume and kind != "scratch":
            yield {
                "name": _mount_name(mount),
                "persistentVolumeClaim": {"claimName": name_claim(release, mount.volume)},
            }
        elif mount.volume:
            yield {"name": _mount_name(mount), "emptyDir": {}}
        else:
            size = {"sizeLimit": format_size(mount.size)} if mount.size else {}
            yield {"name": _mount_name(mount), "emptyDir": {"medium": "Memory", **size}}
    if one.secrets:
        sources = [
            {
                "secret": {
                    "name": _secret_name(release, name),
                    "items": [{"key": name, "path": PurePosixPath(target).name}],
                }
            }
            for name, target in one.secrets
        ]
        yield {"name": "secrets", "projected": {"defaultMode": 0o444, "sources": sources}}


def _make_mounts(one: Workload) -> Iterator[dict[str, Any]]:
    for mount in one.mounts:
        only = {"readOnly": True} if mount.read_only else {}
        yield {"name": _mount_name(mount), "mountPath": mount.target, **only}
    if one.secrets:
        yield {"name": "secrets", "mountPath": "/run/secrets", "readOnly": True}


def make_labels(release: Release, one: Workload) -> dict[str, str]:
    """Return what finds the copies of a service, and no others."""
    return {f"{DOMAIN}name": make_name(one.name), f"{DOMAIN}instance": release.name}


def is_alone(release: Release, one: Workload) -> bool:
    """Tell whether only one copy can run, since its data can be on one node at a time."""
    kinds = {release.destination.volumes.get(mount.volume, "claim") for mount in one.mounts if mount.volume}
    return "claim" in kinds


def _is_private(release: Release, name: str, value: str) -> bool:
    """Tell whether a variable may hold a secret: by its name, unless it names a file or stands in the settings."""
    if not value or name.upper().endswith("_FILE") or name in release.destination.environment:
        return False
    return any(word in name.lower() for word in SENSITIVE)


def list_public(release: Release, one: Workload) -> dict[str, str]:
    """Return the variables that anybody may read."""
    return {key: value for key, value in sorted(one.environment.items()) if not _is_private(release, key, value)}


def list_private(release: Release, one: Workload) -> list[str]:
    """Return the names of the variables that come out of a secret."""
    return [key for key, value in sorted(one.environment.items()) if _is_private(release, key, value)]


def list_secret_keys(release: Release, one: Workload) -> Iterator[tuple[str, str]]:
    """Yield each secret and key that a service reads."""
    yield from ((_secret_name(release, name), name) for name, _ in one.secrets)
    yield from ((f"{release.name}-{ENVIRONMENT}", key) for key in list_private(release, one))


def name_settings(one: Workload, variables: Mapping[str, str]) -> str:
    """Return the name of the config map that holds a service's variables: another one for other values."""
    return f"{make_name(one.name)[:50]}-{hash_text(json.dumps(variables, sort_keys=True))}"


def _secret_name(release: Release, name: str) -> str:
    return make_name(name if name in release.destination.secrets else f"{release.stack}-{name}")


def name_claim(release: Release, volume: str) -> str:
    """Return the name of the claim that a volume of the Compose files becomes."""
    return make_name(f"{release.stack}-{volume}")


def _mount_name(mount: Mount) -> str:
    return make_name(mount.volume or f"memory{mount.target}")


def format_cpus(cpus: float) -> str:
    """Return CPUs as Kubernetes itself writes them."""
    thousandths = max(1, round(cpus * 1000))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def format_size(size: int) -> str:
    """Return bytes as Kubernetes itself writes them."""
    for unit, factor in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
