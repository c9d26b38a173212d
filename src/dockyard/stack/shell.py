"""Find a shell for a running service: in its container, or beside it where a minimal image has none."""

import json
import logging

from dockyard.engine.inside import probe
from dockyard.errors import DockyardError, UsageError
from dockyard.image.names import Variant, local_name
from dockyard.process import Command, capture
from dockyard.stack.compose import Container
from dockyard.stack.prepare import local_targets
from dockyard.stack.stack import Stack, chosen

log = logging.getLogger(__name__)


TOOLS = "development"


def command(stack: Stack, service: str, *, terminal: bool) -> Command:
    """Return the command that opens a shell in a running container, or beside one whose image has none."""
    container = running(stack, service)
    attached = ("--interactive", "--tty") if terminal else ("--interactive",)
    if capture(stack.engine.command("exec", container.id, "sh", "-c", ":"), check=False).ok:
        return stack.engine.command("exec", *attached, container.id, "sh")
    return _beside(stack, container, attached)


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


def _beside(stack: Stack, container: Container, attached: tuple[str, ...]) -> Command:
    """Return a shell of the development image that shares a minimal container's processes and network."""
    tools = local_name(stack.settings, Variant(TOOLS, stack.settings.python))
    if not capture(stack.engine.command("image", "inspect", tools), check=False).ok:
        raise DockyardError(
            f"the image of {container.service} has no shell, and {tools}, whose shell could stand beside it, is absent",
            f"`invoke build --target {TOOLS}` makes it",
        )
    log.info(f"{container.image} has no shell: this is {tools} beside it; its files are below /proc/1/root")
    shared = (f"--pid=container:{container.id}", f"--network=container:{container.id}")
    same = ("--user", _user(stack, container))
    return stack.engine.command("run", "--rm", *attached, *shared, *same, "--no-healthcheck", tools, "sh")


def _user(stack: Stack, container: Container) -> str:
    """Return who a container runs as, in numbers: only the same user and group may look into its file system.

    Its image may say so by names that no other image knows, and leave the group to its own files.
    """
    done = capture(stack.engine.command("exec", container.id, "python", *probe("user")), check=False)
    if done.ok:
        return str(json.loads(done.stdout))
    said = capture(stack.engine.command("inspect", "--format", "{{.Config.User}}", container.id)).stdout.strip()
    return said or "0:0"
