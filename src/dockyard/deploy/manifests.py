"""Make a cluster's objects out of the services of the Compose files (pure).

Kubernetes 1.30 or newer takes them (the sleep before the end signal needs no shell since then), in a namespace that
enforces the restricted Pod Security Standard. No value of a secret is in any of them.
"""

import json
from collections.abc import Iterator
from typing import Any

from dockyard.deploy.kubectl import MANAGER
from dockyard.deploy.model import DATABASE, ONE_SHOT, SERVICE, WEB, Workload
from dockyard.deploy.pods import (
    DOMAIN,
    Release,
    is_alone,
    list_public,
    list_secret_keys,
    make_labels,
    make_name,
    make_pod,
    name_claim,
    name_settings,
)
from dockyard.deploy.stackfile import hash_text
from dockyard.errors import SettingsError

Manifest = dict[str, Any]
COMMENTS = {
    "automountServiceAccountToken": "No copy talks to the cluster's API: without a token there is none to steal.",
    "enableServiceLinks": "Or a service named web would put WEB_PORT=tcp://… into every copy's environment.",
    "terminationGracePeriodSeconds": "The sleep below, and then what stop_grace_period of the Compose files says.",
    "topologySpreadConstraints": "One node that goes takes as few copies with it as possible.",
    "seccompProfile": "With runAsNonRoot and the container's own: the restricted Pod Security Standard.",
    "fsGroup": "A claim belongs to root where nobody says otherwise.",
    "preStop": "New requests still come for a moment, until every proxy has heard that this copy goes.",
    "startupProbe": "Until it succeeds once the other two wait: a slow start is no failure.",
    "livenessProbe": "Slower than the one above: a copy that is busy loses its requests, not its life.",
    "envFrom": "The name has a hash of the content, so that other variables are another roll, with a way back.",
    "secretKeyRef": "The name of a secret, whose value is in the cluster alone.",
    "projected": "Each secret is a file, as Compose mounts it.",
    "medium": "In memory, as the tmpfs of the Compose files; it counts against the limit.",
    "rollingUpdate": "Old copies stay until new ones are ready.",
    "cpu": "What the scheduler keeps: memory whole, since none can be taken back; CPUs by a quarter, unless\n"
    "deploy.resources.reservations of the Compose files says otherwise.",
    "minReplicas": "It is this object that says how many copies run; therefore the Deployment does not.",
    "backoffLimit": "Once. A release step that fails is for people to look at.",
    "podSelector": "Without a policy, every pod of the cluster could come in.",
    "accessModes": "ReadWriteOnce is of one node at a time: so one copy,\n"
    "and the old one ends before the new one starts.",
    "storage": "Compose has no word for a size: change it in an overlay.",
    "externalName": "The database is elsewhere, and is found by the name that it has in the Compose files.",
    "ingressClassName": "The cluster's default class counts where none is named.",
}


def make_objects(release: Release) -> dict[str, list[Manifest]]:
    """Return the objects of a stack by the file that they belong to, each step that runs once included."""
    files: dict[str, list[Manifest]] = {"shared": [*_make_shared(release)]}
    for one in release.workloads:
        if (name := make_name(one.name)) in files or not name:
            raise SettingsError(
                f"the service {one.name} would be {name!r} in a cluster, which is taken or empty", "call it otherwise"
            )
        files[name] = [*_make_service(release, one)]
    return {name: objects for name, objects in files.items() if objects}


def list_objects(release: Release) -> list[Manifest]:
    """Return every object; a Job is a step that runs once and first."""
    return [one for objects in make_objects(release).values() for one in objects]


def list_notes(release: Release) -> list[str]:
    """Return what is left out or has to be there already, in words."""
    notes = [
        f"{one.name}: left out, Kubernetes has no such word: {lost}" for one in release.workloads for lost in one.lost
    ]
    for one in release.workloads:
        if one.ports and make_name(one.name) != one.name:
            notes.append(f"{one.name} is called {make_name(one.name)} in the cluster: what asks for it has to as well")
        if one.role == DATABASE and one.name not in release.destination.external:
            notes.append(
                f"{one.name} is a database, which is not made here: say where it is with "
                f'external = {{ {one.name} = "HOST" }} of the destination'
            )
        if one.role == SERVICE and not one.ports:
            notes.append(f"{one.name} has no ports in the Compose files, so that no other service can find it")
    secrets = sorted(
        {pair for one in release.workloads if one.role != DATABASE for pair in list_secret_keys(release, one)}
    )
    notes += [f"the namespace must have the secret {name} with the key {key}" for name, key in secrets]
    return notes


def _make_shared(release: Release) -> Iterator[Manifest]:
    yield {**_head(release, "v1", "ServiceAccount", release.name), "automountServiceAccountToken": False}
    inside = {"podSelector": {"matchLabels": {f"{DOMAIN}instance": release.name}}}
    yield {
        **_head(release, "networking.k8s.io/v1", "NetworkPolicy", release.name),
        "spec": {**inside, "policyTypes": ["Ingress"], "ingress": [{"from": [inside]}]},
    }
    volumes = {mount.volume: mount for one in release.workloads if one.role != DATABASE for mount in one.mounts}
    for name in sorted(filter(None, volumes)):
        kind = release.destination.volumes.get(name, "claim")
        if kind != "scratch":
            yield {
                **_head(release, "v1", "PersistentVolumeClaim", name_claim(release, name)),
                "spec": {
                    "accessModes": ["ReadWriteMany" if kind == "shared" else "ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }


def _make_service(release: Release, one: Workload) -> Iterator[Manifest]:
    name = make_name(one.name)
    if one.role == DATABASE:
        if host := release.destination.external.get(one.name):
            yield {**_head(release, "v1", "Service", name), "spec": {"type": "ExternalName", "externalName": host}}
        return
    if variables := list_public(release, one):
        # A config map that never changes, under a name of its own, and the old one until the roll is over.
        yield {**_head(release, "v1", "ConfigMap", name_settings(one, variables)), "immutable": True, "data": variables}
    if one.role == ONE_SHOT:
        yield _make_job(release, one)
        return
    yield _make_deployment(release, one)
    if one.ports:
        yield _make_ports(release, one)
    if one.role == WEB:
        yield from _make_entrance(release, one)
    if one.own:
        yield {
            **_head(release, "policy/v1", "PodDisruptionBudget", name),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": make_labels(release, one)}},
        }


def _make_entrance(release: Release, one: Workload) -> Iterator[Manifest]:
    """Yield what brings requests to the web: an Ingress, who may come, and how many copies there are."""
    place, name, port = release.destination, make_name(one.name), one.ports[0]
    yield {
        **_head(release, "networking.k8s.io/v1", "NetworkPolicy", f"{name}-entrance"),
        "spec": {
            "podSelector": {"matchLabels": make_labels(release, one)},
            "policyTypes": ["Ingress"],
            # From any namespace: that of the ingress controller has another name in each cluster.
            "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}],
        },
    }
    if place.front:
        path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": {"number": port}}}}
        rule = {**({"host": place.domain} if place.domain else {}), "http": {"paths": [path]}}
        tls = {"tls": [{"hosts": [place.domain], "secretName": f"{release.name}-tls"}]} if place.domain else {}
        yield {**_head(release, "networking.k8s.io/v1", "Ingress", name), "spec": {**tls, "rules": [rule]}}
    if _is_scaled(release, one):
        low, high = _count(release, one), place.max_replicas or 2 * _count(release, one)
        target = {"type": "Utilization", "averageUtilization": 70}
        yield {
            **_head(release, "autoscaling/v2", "HorizontalPodAutoscaler", name),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": low,
                "maxReplicas": max(low, high),
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            },
        }


def _make_ports(release: Release, one: Workload) -> Manifest:
    place = release.destination
    ports = [{"name": f"port-{port}", "port": port, "targetPort": port, "protocol": "TCP"} for port in one.ports]
    kind = "ClusterIP"
    if one.role == WEB and not place.front:
        kind = "LoadBalancer"
        ports = [{"name": "web", "port": place.port, "targetPort": one.ports[0], "protocol": "TCP"}]
    return {
        **_head(release, "v1", "Service", make_name(one.name)),
        "spec": {"type": kind, "selector": make_labels(release, one), "ports": ports},
    }


def _make_deployment(release: Release, one: Workload) -> Manifest:
    place = release.destination
    alone = is_alone(release, one) or (one.own and place.order == "stop-first")
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return {
        **_head(release, "apps/v1", "Deployment", make_name(one.name)),
        "spec": {
            **({} if _is_scaled(release, one) else {"replicas": _count(release, one)}),
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": place.timeout,
            "strategy": {"type": "Recreate"} if alone else rolling,
            "selector": {"matchLabels": make_labels(release, one)},
            "template": {"metadata": {"labels": make_labels(release, one)}, "spec": make_pod(release, one)},
        },
    }


def _make_job(release: Release, one: Workload) -> Manifest:
    pod = {**make_pod(release, one), "restartPolicy": "Never"}
    # What a job does can never be changed, so another image or command is another job: each runs once.
    name = f"{make_name(one.name)[:50]}-{hash_text(json.dumps(pod, sort_keys=True))}"
    return {
        **_head(release, "batch/v1", "Job", name),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": release.destination.timeout,
            "ttlSecondsAfterFinished": 86_400,
            "template": {"metadata": {"labels": make_labels(release, one)}, "spec": pod},
        },
    }


def _head(release: Release, version: str, kind: str, name: str) -> Manifest:
    labels = {f"{DOMAIN}instance": release.name, f"{DOMAIN}managed-by": MANAGER}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}}


def _count(release: Release, one: Workload) -> int:
    """Return how many copies run; a claim of one node has one."""
    if is_alone(release, one):
        return 1
    return one.replicas or (release.destination.replicas if one.own else 1)


def _is_scaled(release: Release, one: Workload) -> bool:
    most = release.destination.max_replicas
    return one.role == WEB and not is_alone(release, one) and (not most or most > _count(release, one))
