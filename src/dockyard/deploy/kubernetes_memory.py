"""What a cluster remembers for us: versions of a stack in config maps, and in a Lease who deploys at this moment."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dockyard.deploy.cluster import LostError
from dockyard.deploy.kubectl import Kubectl
from dockyard.deploy.pods import DOMAIN, make_name
from dockyard.deploy.versions import owner
from dockyard.errors import DockyardError

LEASE_SECONDS = 120
RENEW_SECONDS = 20.0
MEMORY = "dockyard-memory"
MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class ConfigMaps:
    """Config maps of a stack, each with a text and what is said of it; the API lets only one have a name."""

    kubectl: Kubectl
    stack: str

    def create(self, name: str, content: str, labels: Mapping[str, str]) -> bool:
        """Make a config map; return False where the name is taken."""
        marks = {f"{DOMAIN}instance": make_name(self.stack), f"{DOMAIN}managed-by": MEMORY}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": make_name(name), "labels": marks},
            "data": {"name": name, "content": content, **{f"label.{key}": value for key, value in labels.items()}},
        }
        return self.kubectl.create("ConfigMap", body)

    def remove(self, name: str) -> None:
        """Remove a config map."""
        self.kubectl.remove("ConfigMap", make_name(name))

    def read_all(self) -> dict[str, dict[str, str]]:
        """Return what is said of each text, and the text."""
        marks = f"{DOMAIN}instance={make_name(self.stack)},{DOMAIN}managed-by={MEMORY}"
        found = [one["data"] for one in self.kubectl.list_all("ConfigMap", marks)]
        return {
            data["name"]: {**{key.removeprefix("label."): text for key, text in data.items()}, "id": data["name"]}
            for data in found
        }


@dataclass
class Lease:
    """The lock of a deploy: a Lease of the cluster, as its own controllers have theirs. One that dies runs out."""

    kubectl: Kubectl
    stack: str
    now: Callable[[], float] = time.time
    renewed: float = 0.0

    @property
    def name(self) -> str:
        """What it is called."""
        return make_name(f"{self.stack}-deploy")

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let nobody else deploy meanwhile; raise DockyardError where somebody does."""
        me = owner()
        self._take(me)
        try:
            yield
        finally:
            with contextlib.suppress(LostError):
                found = self.kubectl.read("Lease", self.name)
                if found and found["spec"].get("holderIdentity") == me:
                    self.kubectl.replace("Lease", {**found, "spec": {**found["spec"], "holderIdentity": ""}})

    def renew(self) -> None:
        """Say that the deploy goes on, now and then; raise DockyardError where somebody else has taken the lease."""
        if self.now() - self.renewed < RENEW_SECONDS:
            return
        found = self.kubectl.read("Lease", self.name)
        spec = (found or {}).get("spec") or {}
        mine = {**(found or {}), "spec": {**spec, "renewTime": self._moment()}}
        if spec.get("holderIdentity") != owner() or not self.kubectl.replace("Lease", mine):
            raise DockyardError(
                f"somebody else deploys {self.stack} by now: {spec.get('holderIdentity') or 'nobody'}",
                "this machine was out of touch for too long; `invoke deploy.status` shows what runs",
            )
        self.renewed = self.now()

    def _take(self, me: str) -> None:
        moment = self._moment()
        spec = {
            "holderIdentity": me,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": moment,
            "renewTime": moment,
        }
        fresh = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name}, "spec": spec}
        self.renewed = self.now()
        if self.kubectl.create("Lease", fresh):
            return
        found = self.kubectl.read("Lease", self.name) or fresh
        # The version in what was read has the API refuse the second of two that take it at once.
        if not _holder(found, self.now()) and self.kubectl.replace("Lease", {**found, "spec": spec}):
            return
        raise DockyardError(
            f"{_holder(found, self.now()) or 'somebody'} deploys {self.stack} at this moment",
            f"nothing was changed; wait: a deploy that died holds its lease for {LEASE_SECONDS} s",
        )

    def _moment(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).strftime(MOMENT)


def _holder(lease: Mapping[str, Any], now: float) -> str:
    spec = lease.get("spec") or {}
    renewed = datetime.strptime(str(spec.get("renewTime") or "1970-01-01T00:00:00.0Z"), MOMENT).replace(tzinfo=UTC)
    alive = now - renewed.timestamp() < int(spec.get("leaseDurationSeconds") or 0)
    return str(spec.get("holderIdentity") or "") if alive else ""
