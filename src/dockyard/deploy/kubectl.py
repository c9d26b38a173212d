"""Speak to a cluster by kubectl, which knows every way of logging in; the words are few, and most name a raw path."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dockyard.deploy.cluster import LostError
from dockyard.errors import DockyardError
from dockyard.process import Command, Completed, capture

log = logging.getLogger(__name__)

MANAGER = "dockyard"
SECONDS = 60.0
UNREACHABLE = (
    "unable to connect to the server", "connection refused", "connection to the server", "i/o timeout", "tls handshake",
    "context deadline exceeded", "eof", "serviceunavailable", "too many requests",
)  # fmt: skip
GROUPS = {
    "ConfigMap": ("api/v1", "configmaps"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Pod": ("api/v1", "pods"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Job": ("apis/batch/v1", "jobs"),
    "Ingress": ("apis/networking.k8s.io/v1", "ingresses"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
}
"""Where the objects of each kind are in the API."""


@dataclass(frozen=True)
class Kubectl:
    """The kubectl command for one namespace of one cluster; `run` starts it."""

    namespace: str
    context: str = ""
    server: str = ""
    program: str = "kubectl"
    run: Callable[..., Completed] = capture

    def command(self, *words: str, content: str = "") -> Command:
        """Return a command for this namespace."""
        chosen = (
            *(("--context", self.context) if self.context else ()),
            *(("--server", self.server) if self.server else ()),
        )
        argv = (self.program, *chosen, "--namespace", self.namespace, "--request-timeout=30s", *words)
        return Command(argv, input=content.encode(), timeout=SECONDS)

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return one object, or None where there is none."""
        done = self._attempt("get", "--raw", self.path(kind, name))
        if _is(done, "NotFound"):
            return None
        found: dict[str, Any] = json.loads(_require(done))
        return found

    def list_all(self, kind: str, labels: str) -> list[dict[str, Any]]:
        """Return the objects of a kind that have some labels, such as a=b,c=d."""
        chosen = labels.replace("=", "%3D").replace(",", "%2C").replace("/", "%2F")
        found = json.loads(_require(self._attempt("get", "--raw", f"{self.path(kind)}?labelSelector={chosen}")))
        return [{"kind": kind, **one} for one in found["items"]]

    def create(self, kind: str, body: Mapping[str, Any]) -> bool:
        """Make an object; of two with one name the second is refused, which returns False."""
        done = self._attempt("create", "--raw", self.path(kind), "-f", "-", content=json.dumps(body))
        if _is(done, "AlreadyExists"):
            return False
        _require(done)
        return True

    def replace(self, kind: str, body: Mapping[str, Any]) -> bool:
        """Write an object anew; returns False where somebody else was quicker, by its resourceVersion."""
        path = self.path(kind, body["metadata"]["name"])
        done = self._attempt("replace", "--raw", path, "-f", "-", content=json.dumps(body))
        if _is(done, "Conflict", "NotFound"):
            return False
        _require(done)
        return True

    def remove(self, kind: str, name: str) -> None:
        """Remove an object and all that it made, if it is there."""
        done = self._attempt("delete", "--raw", f"{self.path(kind, name)}?propagationPolicy=Background")
        if not _is(done, "NotFound"):
            _require(done)

    def apply(self, objects: Iterable[Mapping[str, Any]], *, dry: bool = False) -> list[dict[str, Any]]:
        """Apply objects by the API's own merge, under our name; return what they are then. A dry run writes nothing."""
        # One after the other: of the kind List, kubectl does not know that the API itself checks the fields.
        content = "\n".join(map(json.dumps, objects))
        words = ("--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "--output=json", "--filename=-")
        done = self._attempt("apply", *words, *(("--dry-run=server",) if dry else ()), content=content)
        found = json.loads(_require(done))
        return list(found["items"]) if found.get("kind") == "List" else [found]

    def read_log(self, pod: str, *, lines: int, previous: bool = False) -> str:
        """Return the last lines that a pod has logged, or nothing where it has not."""
        query = f"tailLines={lines}{'&previous=true' if previous else ''}"
        done = self._attempt("get", "--raw", f"{self.path('Pod', pod)}/log?{query}")
        return done.stdout if done.ok else ""

    def path(self, kind: str, name: str = "") -> str:
        """Return where objects of a kind, or one of them, are in the API."""
        group, resource = GROUPS[kind]
        return f"/{group}/namespaces/{self.namespace}/{resource}{f'/{name}' if name else ''}"

    def _attempt(self, *words: str, content: str = "") -> Completed:
        done = self.run(self.command(*words, content=content), check=False)
        said = done.stderr.lower()
        if not done.ok and any(sign in said for sign in UNREACHABLE):
            raise LostError(f"the cluster does not answer: {_last(done)}", "`kubectl cluster-info` may tell why")
        return done


def _is(done: Completed, *reasons: str) -> bool:
    """Tell whether the API refused for one of some reasons."""
    return not done.ok and any(f"({reason})" in done.stderr for reason in reasons)


def _require(done: Completed) -> str:
    if 'namespaces "' in done.stderr and _is(done, "NotFound"):
        raise DockyardError(
            f"the cluster has no such namespace: {_last(done)}", "make it: kubectl create namespace NAME"
        )
    if not done.ok:
        raise DockyardError(f"the cluster refuses: {_last(done)}", "these are the cluster's own words")
    return done.stdout


def _last(done: Completed) -> str:
    return (done.stderr.strip().splitlines() or ["no reason is given"])[-1]
