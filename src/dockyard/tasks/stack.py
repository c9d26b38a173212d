"""`invoke up`, `down`, `ps`, `logs`, `shell`, `restart` and `debug`: the Compose stack of the project."""

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import UsageError
from dockyard.tasks.boundary import parse_number, print_lines, settings, task

if TYPE_CHECKING:
    from dockyard.stack.compose import Container
    from dockyard.stack.stack import Stack

SERVICE = "the service that is meant (default: all)"


@task(
    help={
        "production": "the stack as it is in production: compose.production.yaml on top of compose.yaml",
        "build": "build the images anew before the start",
        "no_build": "build nothing: an absent image is an error",
        "port": "the port of this machine to publish at (default: as compose.yaml says)",
    },
)
def up(
    production: bool = False,
    build: bool = False,
    no_build: bool = False,
    port: str = "",
    timeout: str = "",
    json: bool = False,
) -> None:
    """Start the stack, building what is absent, wait until it is ready, and print where it answers."""
    from dockyard.engine.client import find_engine
    from dockyard.stack import stack

    if build and no_build:
        raise UsageError("--build and --no-build exclude each other", "leave one of them out")
    request = stack.StartRequest(
        production=production,
        build="always" if build else "never" if no_build else "absent",
        port=parse_number(port, "--port", 65535),
        timeout=parse_number(timeout, "--timeout", 86_400) or stack.StartRequest.timeout,
    )
    chosen = settings()
    stack.find_files(chosen.root, production=production)  # a missing file is said before an engine starts
    done = stack.up(chosen, find_engine(chosen), request)
    services = [_describe(one, chosen.ports) for one in done.containers]
    if json:
        console.as_json({"stack": chosen.stack, "changed": done.changed, "seconds": done.seconds, "services": services})
        return
    took = f"ready after {console.duration(done.seconds)}" if done.changed else "up and up to date already"
    console.log.info(f"the stack {chosen.stack} is {took}")
    count = Counter(one["service"] for one in services)
    shown = {one["service"] if count[one["service"]] == 1 else one["container"]: one["addresses"] for one in services}
    console.pairs({name: "  ".join(addresses) for name, addresses in shown.items() if addresses})


@task(
    help={
        "volumes": "remove the stack's data too",
        "production": "changes nothing: the stack has one name, however it was started",
    }
)
def down(volumes: bool = False, production: bool = False) -> None:  # noqa: ARG001 - people type it
    """Stop the stack and remove its containers and networks; its data stays."""
    from dockyard.stack import stack

    containers, data = stack.down(_stack(), volumes=volumes)
    console.log.info(f"removed: {', '.join(containers)}" if containers else "there was no container to remove")
    if data:
        console.log.info(f"removed with all data: {', '.join(data)}")


@task()
def ps(json: bool = False) -> None:
    """Show the stack's containers, how they do, and where they answer."""
    stack = _stack()
    found = stack.containers()
    if not found and not json:
        console.log.info(f"the stack {stack.settings.stack} is not there: `invoke up` starts it")
        return
    services = [_describe(one, stack.settings.ports) for one in found]
    rows = []
    for each, one in zip(found, services, strict=True):
        addresses = "\n".join(one["addresses"])
        rows.append((each.service, each.state, each.health or "-", each.image, addresses or "-", each.status))
    console.tell(services, ("service", "state", "health", "image", "address", "status"), rows, json=json)


@task(help={"service": SERVICE})
def logs(follow: bool = False, service: str = "", tail: str = "") -> None:
    """Show what the stack's services have logged."""
    from dockyard import process
    from dockyard.stack import stack

    its = _stack()
    command = stack.logs(its, service, parse_number(tail, "--tail", 1_000_000_000, lowest=0), follow=follow)
    if sys.stdout.isatty():
        process.replace(command)
    print_lines(its.engine.runner.lines(command))


@task()
def shell(service: str = "") -> None:
    """Open a shell in a running service, or beside it where its image has none."""
    from dockyard.process import replace
    from dockyard.stack import shell

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    replace(shell.command(_stack(), service, terminal=terminal))


@task(help={"service": SERVICE})
def restart(service: str = "", timeout: str = "") -> None:
    """Restart the stack, or one service of it, and wait until it is ready again."""
    from dockyard.stack import stack

    seconds = parse_number(timeout, "--timeout", 86_400) or stack.StartRequest.timeout
    restarted = stack.restart(_stack(), service, seconds)
    console.log.info(f"restarted: {', '.join(one.name for one in restarted if service in {'', one.service})}")


def _stack(*, files: bool = False) -> "Stack":
    from dockyard.engine.client import find_engine
    from dockyard.stack.stack import Stack, find_files

    chosen = settings()
    found = find_files(chosen.root, production=False) if files else ()
    return Stack(chosen, find_engine(chosen), found)


def _describe(container: "Container", web: tuple[int, ...]) -> dict[str, Any]:
    from dockyard.stack.ports import format_addresses

    return {
        "service": container.service,
        "container": container.name,
        "image": container.image,
        "state": container.state,
        "health": container.health or None,
        "exit_code": None if container.running else container.exit_code,
        "addresses": format_addresses(container, web),
    }


@task(help={"pid": "the process in its container (default: the one that has no other Python process below it)"})
def debug(service: str = "", pid: str = "") -> None:
    """Attach Python's debugger to a running service; before Python 3.14, run the service at this terminal instead."""
    from dockyard.process import replace
    from dockyard.stack.shell import debug_service

    number = parse_number(pid, "--pid", 2**22)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if command := debug_service(_stack(files=True), service, number, terminal=terminal):
        replace(command)
