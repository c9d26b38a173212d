"""Deploy to Kubernetes: the release step as a Job, a roll that is watched, and a return to the objects of before."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dockyard import console
from dockyard.deploy import manifests
from dockyard.deploy.cluster import Instance, LostError, UnhealthyError, show_last_words
from dockyard.deploy.destination import Destination
from dockyard.deploy.goal import Document
from dockyard.deploy.kubectl import MANAGER, Kubectl
from dockyard.deploy.kubernetes_memory import ConfigMaps, Lease
from dockyard.deploy.kustomize import read_document, read_release
from dockyard.deploy.plan import Live, Objects
from dockyard.deploy.pods import DOMAIN, Release, make_name
from dockyard.deploy.stackfile import StackFile
from dockyard.deploy.versions import Deployer, Store
from dockyard.errors import DockyardError
from dockyard.process import Command, which
from dockyard.settings import Settings

log = logging.getLogger(__name__)

VERSION = "dockyard.io/version"
FIRST = ("ServiceAccount", "NetworkPolicy", "ConfigMap")
"""What is there before anything runs: others stand on it, and what ran before does not notice."""
PRUNED = (
    "Ingress", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment", "Service", "NetworkPolicy",
    "ServiceAccount", "ConfigMap",
)  # fmt: skip
"""What goes when the Compose files name it no more. A claim never does: it holds data."""
NOISE = ("deployment.kubernetes.io/revision", VERSION)
STUCK = {
    "CreateContainerConfigError", "CreateContainerError", "ImagePullBackOff", "InvalidImageName", "RunContainerError",
}  # fmt: skip
"""Why a container waits that no waiting helps."""
RESTARTS = 3
"""How often a copy may end before the roll counts as failed: some wait so for another service."""
POLL_SECONDS = 2.0
LOG_LINES = 20

Read = Callable[[Settings, Destination], Document]


@dataclass(frozen=True)
class Kubernetes(Deployer):
    """A namespace of a cluster; `read` is how the Compose files are read."""

    settings: Settings
    destination: Destination
    kubectl: Kubectl
    read: Read = read_document
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    lost_hint = "old copies serve on while new ones are not ready; `invoke deploy.status` shows where it is"

    @property
    def store(self) -> Store:
        """Where versions are kept."""
        return Store(ConfigMaps(self.kubectl, self.settings.stack), self.settings.stack, self.destination.timeout)

    @cached_property
    def lease(self) -> Lease:
        """The lock of a deploy, which is renewed while it lasts."""
        return Lease(self.kubectl, self.settings.stack)

    @cached_property
    def document(self) -> Document:
        """What Compose makes of its files."""
        return self.read(self.settings, self.destination)

    def read_live(self) -> Live:
        """Return what runs now."""
        found = self._list_ours()
        facts = {name_object(one): describe_object(one) for one in found}
        return Live(facts, self.store.list_versions(current_version(found)))

    def make_objects(self, image: str) -> Objects:
        """Return what the API itself would make of the objects: its defaults are no difference."""
        release = self._release(image)
        for note in manifests.list_notes(release):
            log.info(note)
        made = self.kubectl.apply(filter(_is_applied, manifests.list_objects(release)), dry=True)
        return {name_object(one): describe_object(one) for one in made}

    def apply(self, image: str) -> int:
        """Bring an image to run under the lease; on any failure return to what ran before."""
        objects = manifests.list_objects(self._release(image))
        jobs = tuple(StackFile({"objects": [one]}) for one in objects if one["kind"] == "Job")
        with self.hold():
            return self.bring(StackFile({"objects": [one for one in objects if one["kind"] != "Job"]}), image, jobs)

    def hold(self) -> AbstractContextManager[None]:
        """Take the lease."""
        return self.lease.hold()

    def read_current(self) -> int:
        """Return the version that runs."""
        return current_version(self.kubectl.list_all("Deployment", self._labels))

    def bring(self, stack: StackFile, image: str, jobs: tuple[StackFile, ...] = (), note: str = "") -> int:
        """Have what the steps stand on, run them, and then bring all of it."""
        objects, previous = list(stack.document["objects"]), self.read_current()
        with self.attempt(stack, image, note, lambda: self._return(previous)) as number:
            self._prepare(objects)
            for job in jobs:
                self._run_job(*job.document["objects"])
            self._bring(objects, number)
        return number

    def status(self) -> tuple[Instance, ...]:
        """Return every pod of the stack."""
        return tuple(map(describe_pod, self._list_pods()))

    def logs(self, service: str, *, follow: bool, tail: int | None) -> Command:
        """Return the command that shows what all copies of a service, or of all, have logged."""
        chosen = self._instance + (f",{DOMAIN}name={make_name(service)}" if service else "")
        words = ("--prefix", "--max-log-requests=1000", f"--tail={-1 if tail is None else tail}")
        command = self.kubectl.command("logs", "--selector", chosen, *words, *(("--follow",) if follow else ()))
        return Command(command.argv)

    @property
    def _instance(self) -> str:
        return f"{DOMAIN}instance={make_name(self.settings.stack)}"

    @property
    def _labels(self) -> str:
        return f"{self._instance},{DOMAIN}managed-by={MANAGER}"

    def _release(self, image: str) -> Release:
        return read_release(self.settings, self.destination, image, self.document)

    def _list_ours(self) -> list[dict[str, Any]]:
        return [one for kind in PRUNED for one in self.kubectl.list_all(kind, self._labels)]

    def _prepare(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Have what the release step and new copies stand on; a claim that is there stays as it is."""
        for one in objects:
            if one["kind"] == "PersistentVolumeClaim":
                self.kubectl.create(one["kind"], one)
        self.kubectl.apply(one for one in objects if one["kind"] in FIRST)

    def _run_job(self, job: Mapping[str, Any]) -> None:
        """Run a step once, and wait for its end; one that has succeeded for this very image is not run again."""
        name = job["metadata"]["name"]
        found = self.kubectl.read("Job", name)
        if _explain(found, "Complete"):
            return
        started = self.clock()
        try:
            with console.status(f"release step: {name}"):
                if found:
                    self.kubectl.remove("Job", name)
                while not self.kubectl.create("Job", job):
                    self._wait(started, f"the job {name} of an earlier deploy does not go")
                self._await_job(name, started)
        except BaseException:
            self.kubectl.remove("Job", name)
            raise

    def _await_job(self, name: str, started: float) -> None:
        while not _explain(found := self.kubectl.read("Job", name), "Complete"):
            if why := _explain(found, "Failed"):
                raise self._failure("the release step failed", f"job-name={name}", why)
            self._wait(started, "the release step did not end")

    def _wait(self, started: float, what: str) -> None:
        """Let a moment pass; raise UnhealthyError when the destination's time is over."""
        if self.clock() - started > self.destination.timeout:
            raise UnhealthyError(f"{what} within {self.destination.timeout} s")
        self.lease.renew()
        self.sleep(POLL_SECONDS)

    def _bring(self, objects: list[dict[str, Any]], number: int, *, returning: bool = False) -> None:
        """Apply objects, wait until every copy is ready, and then remove what is named no more."""
        known = {one["metadata"]["uid"] for one in self._list_pods()}
        self.kubectl.apply(mark_version(one, number) for one in filter(_is_applied, objects))
        names = [one["metadata"]["name"] for one in objects if one["kind"] == "Deployment"]
        started = lost = self.clock()
        with console.status(f"{'returning' if returning else 'rolling'}: {', '.join(names)}"):
            while True:
                try:
                    waiting = self._find_waiting(names, set() if returning else known, judge=not returning)
                    lost = self.clock()
                except LostError:
                    # The cluster goes on by itself; a short silence of its API is no failure of the image.
                    if self.clock() - lost > self.destination.timeout:
                        raise
                    waiting = names
                if not waiting:
                    break
                try:
                    self._wait(started, f"{', '.join(waiting)} did not become healthy")
                except LostError:
                    self.sleep(POLL_SECONDS)
        self._prune(objects)

    def _find_waiting(self, names: list[str], known: set[str], *, judge: bool) -> list[str]:
        """Return the deployments that are not done; raise UnhealthyError where a new copy cannot be helped."""
        found = {one["metadata"]["name"]: one for one in self.kubectl.list_all("Deployment", self._labels)}
        waiting = [name for name in names if not is_settled(found.get(name))]
        if not (waiting and judge):
            return waiting
        for pod in self._list_pods():
            if pod["metadata"]["uid"] not in known and (why := find_fault(pod)):
                service = pod["metadata"]["labels"][f"{DOMAIN}name"]
                raise self._failure(f"{service} did not become healthy", pod, why)
        for name in waiting:
            if why := _explain(found.get(name), "Progressing", "False"):
                raise self._failure(f"{name} did not become healthy", f"{DOMAIN}name={name}", why)
        return waiting

    def _list_pods(self) -> list[dict[str, Any]]:
        return self.kubectl.list_all("Pod", self._instance)

    def _prune(self, objects: Iterable[Mapping[str, Any]]) -> None:
        wanted = {name_object(one) for one in objects}
        for one in self._list_ours():
            if name_object(one) not in wanted:
                self.kubectl.remove(one["kind"], one["metadata"]["name"])

    def _return(self, previous: int) -> None:
        """Bring back what ran before, if anything did."""
        if previous:
            self._bring(list(self.store.read_version(previous).document["objects"]), previous, returning=True)
        else:
            self._prune(())

    def _failure(self, what: str, pods: str | Mapping[str, Any], why: str) -> UnhealthyError:
        """Show the last lines of a failing copy, and return the error."""
        chosen = self.kubectl.list_all("Pod", pods) if isinstance(pods, str) else [pods]
        hint = ""
        for pod in chosen[-1:]:
            name = pod["metadata"]["name"]
            # Of a copy that is started again and again, the run before has the reason.
            again = any(one.get("restartCount") for one in _statuses(pod))
            text = self.kubectl.read_log(name, lines=LOG_LINES, previous=again)
            hint = show_last_words(name, text or self.kubectl.read_log(name, lines=LOG_LINES))
        return UnhealthyError(f"{what}: {why}", hint)


def open_cluster(settings: Settings, destination: Destination) -> Kubernetes:
    """Return a cluster, ready to be asked."""
    if which("kubectl") is None:
        raise DockyardError("there is no kubectl on this machine", "Debian has it as kubectl or kubernetes-client")
    namespace = destination.namespace or make_name(settings.stack)
    return Kubernetes(settings, destination, Kubectl(namespace, destination.context, destination.host))


def name_object(one: Mapping[str, Any]) -> str:
    """Return what an object is called in a plan (pure)."""
    return f"{one['kind'].lower()} {one['metadata']['name']}"


def describe_object(one: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of an object that can differ, by their paths (pure)."""
    meta = one["metadata"]
    notes = {key: value for key, value in (meta.get("annotations") or {}).items() if key not in NOISE}
    rest = {key: value for key, value in one.items() if key not in {"apiVersion", "kind", "metadata", "status"}}
    facts = dict(_flatten({**rest, "labels": meta.get("labels") or {}, "annotations": notes}, ""))
    return {key.replace("spec.template.spec.", "").removeprefix("."): value for key, value in facts.items()}


def _flatten(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}")
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for number, inner in enumerate(value):
            yield from _flatten(inner, f"{path}[{inner.get('name', number)}]")
    else:
        yield path, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def mark_version(one: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return an object that carries a version's number, which starts no copy anew (pure)."""
    return {**one, "metadata": {**one["metadata"], "annotations": {VERSION: str(number)}}}


def current_version(objects: Iterable[Mapping[str, Any]]) -> int:
    """Return the version that runs (pure)."""
    notes = [one["metadata"].get("annotations") or {} for one in objects if one["kind"] == "Deployment"]
    return max((int(one.get(VERSION, 0)) for one in notes), default=0)


def is_settled(deployment: Mapping[str, Any] | None) -> bool:
    """Tell whether all copies are of the newest kind and ready, and no older one is left (pure)."""
    if deployment is None:
        return False
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    return bool(seen) and counts == {wanted}


def find_fault(pod: Mapping[str, Any]) -> str:
    """Return why a pod cannot become ready without help, or an empty string (pure)."""
    for one in _statuses(pod):
        waiting = (one.get("state") or {}).get("waiting") or {}
        ended = (one.get("lastState") or {}).get("terminated") or (one.get("state") or {}).get("terminated") or {}
        if waiting.get("reason") in STUCK:
            return f"{waiting['reason']}: {waiting.get('message') or 'no more is said'}"
        if one.get("restartCount", 0) >= RESTARTS:
            return f"it ended {one['restartCount']} times, at last with exit code {ended.get('exitCode', '?')}"
    return ""


def describe_pod(pod: Mapping[str, Any]) -> Instance:
    """Return one copy as `deploy.status` shows it (pure)."""
    status = pod.get("status") or {}
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or ())
    return Instance(
        service=pod["metadata"]["labels"].get(f"{DOMAIN}name", ""),
        name=pod["metadata"]["name"],
        image=pod["spec"]["containers"][0]["image"],
        state="Terminating" if pod["metadata"].get("deletionTimestamp") else str(status.get("phase", "Unknown")),
        health="ready" if ready else "",
        node=pod["spec"].get("nodeName", ""),
        said=find_fault(pod),
    )


def _statuses(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def _is_applied(one: Mapping[str, Any]) -> bool:
    """Tell whether an object may be written again: a claim is only made, and a job runs once."""
    return one["kind"] not in {"PersistentVolumeClaim", "Job"}


def _explain(one: Mapping[str, Any] | None, condition: str, status: str = "True") -> str:
    """Return what is said of a condition that has a status; empty where it has another one."""
    for said in ((one or {}).get("status") or {}).get("conditions") or ():
        if (said["type"], said["status"]) == (condition, status):
            return str(said.get("message") or said.get("reason") or "no reason is given")
    return ""
