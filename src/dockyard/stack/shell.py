"""Ways into a running service: a shell, in its container or beside a minimal one, and Python's own debugger.

From 3.14 on, Python lets a debugger into a running process (PEP 768), and nothing is restarted. An older one has
to be at the terminal from the start: the service stops, and runs in the foreground until that ends.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dockyard.engine.inside import probe
from dockyard.errors import DockyardError, UsageError
from dockyard.image.names import PRODUCTION, Variant, local_name
from dockyard.process import Command
from dockyard.stack.compose import Container
from dockyard.stack.prepare import local_targets
from dockyard.stack.stack import Stack, chosen

log = logging.getLogger(__name__)


ATTACHED = ("--interactive", "--tty")
TOOLS = "development"
FIRST_TO_ATTACH = (3, 14)
AS_ROOT = ("--user=0", "--privileged")
"""The kernel lets nobody else into a process where it is set up strictly (Yama), be it one's own."""


@dataclass(frozen=True)
class PythonProcess:
    """A Python process of a container, by the numbers that it has in there."""

    pid: int
    parent: int
    command: str


def command(stack: Stack, service: str, *, terminal: bool) -> Command:
    """Return the command that opens a shell in a running container, or beside one whose image has none."""
    container = running(stack, service)
    attached = ATTACHED if terminal else ATTACHED[:1]
    if stack.engine.attempt("exec", container.id, "sh", "-c", ":").ok:
        return stack.engine.command("exec", *attached, container.id, "sh")
    tools = local_name(stack.settings, Variant(TOOLS, stack.settings.python))
    if stack.engine.inspect_image(tools) is None:
        raise DockyardError(
            f"the image of {container.service} has no shell, and {tools}, whose shell could stand beside it, is absent",
            f"`invoke build --target {TOOLS}` makes it",
        )
    log.info(f"{container.image} has no shell: this is {tools} beside it; its files are below /proc/1/root")
    # Only the same user and group may look into its file system, in numbers: its image may say so by names that no
    # other image knows, and leave the group to its own files.
    asked = stack.engine.attempt("exec", container.id, "python", *probe("user"))
    user = json.loads(asked.stdout) if asked.ok else ""
    user = user or stack.engine.run("inspect", "--format", "{{.Config.User}}", container.id).stdout.strip() or "0:0"
    shared = (f"--pid=container:{container.id}", f"--network=container:{container.id}", "--user", str(user))
    return stack.engine.command("run", "--rm", *attached, *shared, "--no-healthcheck", tools, "sh")


def running(stack: Stack, service: str) -> Container:
    """Return the running container that is meant: of the named service, else of the project's own."""
    found = chosen(stack, service)
    alive = [one for one in found if one.running]
    if not alive:
        raise DockyardError(f"{found[0].service} does not run", "`invoke logs` may say why; `invoke up` starts it")
    if service or len({one.service for one in alive}) == 1:
        return alive[0]
    built = local_targets(stack.settings)
    own = [one for one in alive if one.image in built]
    if own:
        return own[0]
    names = ", ".join(dict.fromkeys(one.service for one in alive))
    raise UsageError("which service is meant?", f"name one with --service: {names}")


def debug_service(stack: Stack, service: str, pid: int | None, *, terminal: bool) -> Command | None:
    """Return the command that attaches the debugger to a running service of the development stack.

    Where its Python lets none in, run the service at this terminal instead until it ends, and return None.
    """
    container = running(stack, service)
    if container.image == local_name(stack.settings, Variant(PRODUCTION, stack.settings.python)):
        raise DockyardError(
            f"{container.service} runs the production image: a debugger would hold up whoever uses it",
            "`invoke up` brings the development stack; `invoke shell` looks around beside this one",
        )
    done = stack.engine.attempt("exec", *AS_ROOT, container.id, "python", *probe("processes"))
    if not done.ok:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise DockyardError(
            f"there is no Python to ask in {container.service}: {said}",
            "name the service that is a Python program with --service",
        )
    said = json.loads(done.stdout)
    if tuple(said["version"]) >= FIRST_TO_ATTACH:
        process = select_process([PythonProcess(*row) for row in said["processes"]], pid)
        words = (*(ATTACHED if terminal else ATTACHED[:1]), *AS_ROOT, container.id)
        return stack.engine.command("exec", *words, "python", "-m", "pdb", "-p", str(process.pid))
    version = ".".join(map(str, said["version"]))
    log.info(f"Python {version} lets no debugger into a running process, 3.14 is the first that does")
    published = [port for _, port, _ in container.addresses]
    run_in_foreground(replace(stack, port=published[0] if published else None), container, terminal=terminal)
    return None


def select_process(processes: Sequence[PythonProcess], pid: int | None) -> PythonProcess:
    """Return the process that is meant: the named one, else the one that has no other below it (pure).

    Servers have a process that only watches the others: a reloader, a master of workers.
    """
    parents = {process.parent for process in processes}
    candidates = [one for one in processes if one.pid == pid or (pid is None and one.pid not in parents)]
    if len(candidates) == 1:
        return candidates[0]
    listed = "; ".join(f"{one.pid} {one.command}" for one in processes) or "none"
    if pid is not None:
        raise UsageError(f"there is no Python process {pid} in the service", f"there are: {listed}")
    raise UsageError("which process is meant?", f"name one with --pid; there are: {listed}")


def run_in_foreground(stack: Stack, container: Container, *, terminal: bool) -> None:
    """Run a service at this terminal until it ends, then let it run by itself again."""
    service = container.service
    log.info(f"{service} stops, and runs here: `breakpoint()` in its source opens the debugger, Ctrl-C ends it")
    stack.run(stack.by_name("stop", service))
    words = ("run", "--rm", "--service-ports", "--use-aliases", *(() if terminal else ("--no-TTY",)), service)
    try:
        stack.engine.runner.stream(stack.by_files(*words), check=False)
    finally:
        stack.run(stack.by_name("start", service))
        log.info(f"{service} runs by itself again")
