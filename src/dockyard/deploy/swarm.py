"""Deploy to a Docker Swarm: `docker stack deploy` on a manager, watched until all is healthy or as before.

Swarm itself updates copy by copy and returns by itself, so a deploy whose connection is cut ends well without us.
What we add: one deploy at a time, the release step first, the reason of a failure, all services back together, and
every version kept in a config of the Swarm.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard import console
from dockyard.deploy import docker, stackfile
from dockyard.deploy.cluster import Instance, LostError, UnhealthyError, show_last_words
from dockyard.deploy.goal import FRONT, RELEASE, Goal
from dockyard.deploy.plan import Live, Objects
from dockyard.deploy.stackfile import VERSION, StackFile
from dockyard.deploy.versions import Configs, EngineDeployer, list_log_options
from dockyard.errors import DockyardError, UsageError
from dockyard.process import Command

log = logging.getLogger(__name__)

NAMESPACE = "label=com.docker.stack.namespace="
SETTLE_SECONDS = 3.0
"""How long an update may take to begin: until then its state is that of one which needs none."""
REASON_SECONDS = 10.0
"""How long a failing copy may take to end once its service returns: only then it has a reason."""
MOST_FAILURES = 3
BACK = frozenset({"rollback_started", "rollback_completed", "rollback_paused", "paused"})
ILL = "its health check never succeeded (unhealthy)"
ENDED = frozenset({"Failed", "Rejected"})


@dataclass(frozen=True)
class Task:
    """One task of a service, as `docker service ps` tells it."""

    id: str
    service: str
    name: str
    image: str
    node: str
    desired: str
    state: str
    error: str


@dataclass(frozen=True)
class Swarm(EngineDeployer):
    """A Swarm that is reached through one of its managers."""

    lost_hint = "the Swarm goes on by itself, to the new image or back: `invoke deploy.status` shows where it is"
    shelf = Configs
    pause = 1.0

    def read_live(self) -> Live:
        """Return what runs now."""
        services = self._services()
        objects = {f"service {name}": docker.describe_live(one["Spec"]) for name, one in services.items()}
        return Live(objects, self.store.list_versions(current_version(services)))

    def make_objects(self, image: str) -> Objects:
        """Return what should run."""
        stack = stackfile.make_stack(docker.make_goal(self.settings, self.destination, self.docker, image))
        for line in stack.lost:
            log.info(f"a stack file has no word for {line}: it is left out")
        return {f"service {name}": docker.describe_wanted(body) for name, body in stack.services.items()}

    def make_stack(self, goal: Goal) -> tuple[StackFile, tuple[StackFile, ...]]:
        """Return the stack files; raise DockyardError where the Swarm lacks a secret."""
        stack = stackfile.make_stack(goal)
        known = set(self.docker.read("secret", "ls", "--format", "{{.Name}}").split())
        for body in stack.document.get("secrets", {}).values():
            if body["name"] not in known:
                raise DockyardError(
                    f"{self.destination.name} has no secret {body['name']}",
                    f"nothing was changed; make it there: docker secret create {body['name']} FILE",
                )
        return stack, stackfile.make_jobs(goal, stack)

    def choose_front(self) -> str:
        """Return the image of the front that runs, or of one that every node can fetch."""
        if front := self._services().get(FRONT):
            return str(front["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"])
        return docker.push_front(self.settings, self.docker, docker.provide_front(self.settings, self.docker))

    def read_current(self) -> int:
        """Return the version that runs."""
        return current_version(self._services())

    def bring(self, stack: StackFile, image: str, jobs: tuple[StackFile, ...] = (), note: str = "") -> int:
        """Bring what others run first, then the release step, then the project's own services."""
        previous = self.read_current()
        with self.attempt(stack, image, note, lambda: self._return(previous)) as number:
            if others := [name for name, body in stack.services.items() if body["image"] != image and name != FRONT]:
                self._bring(mark_version(stack.select(*others), number), prune=False)
            for job in jobs:
                self._release(job)
            self._bring(mark_version(stack, number))
        with contextlib.suppress(DockyardError):  # the deploy is done, whatever comes now
            nodes = self.docker.read("node", "ls", "--format", "{{.Hostname}} {{.Status}}").splitlines()
            for name in (node.removesuffix(" Down") for node in nodes if node.endswith(" Down")):
                log.warning(
                    f"{name} is down: where it is only cut off, what it ran before serves on until its engine restarts"
                )
        return number

    def status(self) -> tuple[Instance, ...]:
        """Return every task that should run, and those that ended with an error."""
        tasks = [task for task in self._tasks(self._services()) if task.desired in {"Running", "Ready"} or task.error]
        return tuple(Instance(one.service, one.name, one.image, one.state, "", one.node, one.error) for one in tasks)

    def logs(self, service: str, *, follow: bool, tail: int | None) -> Command:
        """Return the command that shows a service's log; Swarm shows one service at a time."""
        services = self._services()
        service = service or next((name for name in services if name not in {FRONT, RELEASE}), "")
        if service not in services:
            raise UsageError(
                f"{self.destination.name} has no service {service!r}", f"it has: {', '.join(services) or 'none'}"
            )
        words = list_log_options(follow=follow, tail=tail)
        return self.docker.engine.command("service", "logs", *words, f"{self.stack}_{service}")

    def _services(self) -> dict[str, Mapping[str, Any]]:
        """Return what Docker says of each service of the stack, by its name within it."""
        found = self.docker.read("service", "ls", "--quiet", "--filter", NAMESPACE + self.stack).split()
        bodies = self.docker.inspect("service", *found)
        return {str(one["Spec"]["Name"]).removeprefix(f"{self.stack}_"): one for one in bodies}

    def _tasks(self, services: Iterable[str]) -> tuple[Task, ...]:
        names = [f"{self.stack}_{name}" for name in services]
        if not names:
            return ()
        said = self.docker.attempt("service", "ps", "--no-trunc", "--format", "{{json .}}", *names).stdout
        return tuple(_task(json.loads(line), self.stack) for line in said.splitlines())

    def _return(self, previous: int) -> None:
        """Bring back what ran before, if anything did."""
        if previous:
            self._bring(mark_version(self.store.read_version(previous), previous), returning=True)
        else:
            self._remove()

    def _remove(self) -> None:
        """Remove a stack that never ran before, and wait until its networks are gone too."""
        self.docker.attempt("stack", "rm", self.stack)
        for late in self.poll(self.destination.timeout):
            left = self.docker.attempt("network", "ls", "--quiet", "--filter", NAMESPACE + self.stack).stdout.strip()
            if late or not left:
                return

    def _release(self, job: StackFile) -> None:
        """Run the release step once and wait for its end; its last lines are told where it fails."""
        name = f"{self.stack}_{RELEASE}"
        self.docker.attempt("service", "rm", name)
        try:
            with console.status(f"release step: {' '.join(job.services[RELEASE].get('command', ['its image']))}"):
                self._deploy(job, prune=False)
                for late in self.poll(self.destination.timeout):
                    tasks = self._tasks([RELEASE])
                    if any(task.state == "Complete" for task in tasks):
                        return
                    ended = [task for task in tasks if task.state in ENDED]
                    if ended or late:
                        why = ended[0].error if ended else f"it did not end within {self.destination.timeout} s"
                        raise self._failure("the release step failed", ended[0].id if ended else name, why)
        finally:
            with contextlib.suppress(LostError):
                self.docker.attempt("service", "rm", name)

    def _deploy(self, stack: StackFile, *, prune: bool) -> None:
        """Hand a stack file to the Swarm; names in it are of files in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
            for name, text in stack.files.items():
                (Path(folder) / name).write_text(text, "utf-8")
            # What is ours has its digest, so no registry has to be asked: a return must not depend on one.
            words = ("--with-registry-auth", "--resolve-image=never", "--detach=true", *(("--prune",) if prune else ()))
            content = json.dumps(stack.document).encode()
            command = ("stack", "deploy", *words, "--compose-file", "-", self.stack)
            self.docker.read(*command, cwd=Path(folder), input=content, timeout=self.destination.timeout)

    def _bring(self, stack: StackFile, *, prune: bool = True, returning: bool = False) -> None:
        """Hand a stack to the Swarm and wait until every copy is healthy; raise UnhealthyError where that cannot be."""
        names = tuple(stack.services)
        old = {task.id for task in self._tasks(names) if task.state in ENDED}
        self._deploy(stack, prune=prune)
        started = self.clock()
        with console.status(f"{'returning' if returning else 'rolling'}: {', '.join(names)}"):
            for late in self.poll(self.destination.timeout):
                passed = self.clock() - started
                services = self._services()
                waiting = [name for name in names if not self._is_settled(services.get(name), passed)]
                if not waiting:
                    return
                if late and returning:
                    raise UnhealthyError(
                        f"{', '.join(waiting)}: what ran before is not back within {self.destination.timeout} s",
                        "`invoke deploy.status` shows more",
                    )
                failed = [one for one in self._tasks(names) if one.id not in old and one.state in ENDED]
                back = [name for name in waiting if update_state(services.get(name)) in BACK]
                if not returning and (back or late or len(failed) >= MOST_FAILURES * len(names)):
                    raise self._blame(back or waiting, old, late=late)

    def _is_settled(self, service: Mapping[str, Any] | None, seconds: float) -> bool:
        """Tell whether a service has as many healthy copies as it should, all of the newest kind."""
        state = update_state(service)
        if service is None or state not in {"", "completed"} or (not state and seconds < SETTLE_SECONDS):
            return False
        shown = self.docker.read("service", "ls", "--filter", f"id={service['ID']}", "--format", "{{.Replicas}}")
        running, _, wanted = (shown.split() or ["0/1"])[0].partition("/")
        if "Global" in service["Spec"].get("Mode", {}):
            # A node that is down keeps its place in the count; a constraint leaves nodes out.
            nodes = self.docker.read("node", "ls", "--format", "{{.Status}} {{.Availability}}").splitlines()
            wanted = str(min(int(wanted), nodes.count("Ready Active")))
        return int(running) >= int(wanted)

    def _blame(self, names: list[str], old: set[str], *, late: bool) -> UnhealthyError:
        """Return the error of services that do not become healthy, with the reason and last words of a copy."""
        for over in self.poll(REASON_SECONDS):
            tasks = [one for one in self._tasks(names) if one.id not in old]
            # One that is ill is ended by Swarm, and may end well: only the update tells that it failed.
            messages = [str((one.get("UpdateStatus") or {}).get("Message")) for one in self._services().values()]
            told = [one for one in tasks if any(one.id in message for message in messages)]
            failed = [one for one in tasks if one.state in ENDED]
            if failed or told or over:
                break
        when = f" within {self.destination.timeout} s" if late else ""
        if not failed and not told:
            return UnhealthyError(
                f"{', '.join(names)} did not become healthy{when}", "`invoke deploy.status` shows more"
            )
        worst = (failed or told)[0]
        return self._failure(f"{worst.service} did not become healthy{when}", worst.id, worst.error or ILL)

    def _failure(self, what: str, task: str, why: str) -> UnhealthyError:
        """Show the last lines of a failing task, and return the error."""
        hint = show_last_words(task[:12], self.docker.read_log(task, "service", "logs", "--raw"))
        return UnhealthyError(f"{what}: {why or 'no reason is given'}", hint)


def _task(row: Mapping[str, str], stack: str) -> Task:
    name = row["Name"].removeprefix(f"{stack}_")
    state, error = row["CurrentState"].partition(" ")[0], row["Error"].strip('"')
    service = name.partition(".")[0]
    return Task(row["ID"], service, name, row["Image"], row["Node"], row["DesiredState"], state, error)


def update_state(service: Mapping[str, Any] | None) -> str:
    """Return how far the update of a service is, as Swarm says it, or '' where there is none (pure)."""
    return str(((service or {}).get("UpdateStatus") or {}).get("State") or "")


def current_version(services: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the version that runs, as labels say: Swarm takes them back when it returns by itself (pure)."""
    labels = [one["Spec"].get("Labels") or {} for name, one in services.items() if name not in {FRONT, RELEASE}]
    return max((int(one.get(VERSION, 0)) for one in labels), default=0)


def mark_version(stack: StackFile, number: int) -> StackFile:
    """Return a stack whose services carry a version's number, in labels that start no copy anew (pure)."""
    return stack.with_services(
        {
            name: {**body, "deploy": {**body["deploy"], "labels": {**body["deploy"]["labels"], VERSION: str(number)}}}
            for name, body in stack.services.items()
        }
    )
