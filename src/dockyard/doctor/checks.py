"""Look at everything that the pipeline needs of this machine, side by side and within a time limit."""

import contextlib
import queue
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dockyard.bases.parallel import end_children
from dockyard.doctor import machine, network
from dockyard.doctor.machine import ENGINE_SECONDS, Check, Machine, Once, Row, State
from dockyard.errors import DockyardError
from dockyard.git import Git, read_git
from dockyard.process import Command

if TYPE_CHECKING:
    from dockyard.settings import Settings


def check_git(machine: Machine) -> Iterable[Row]:
    """Read the commit that images would be named after."""
    if machine.which("git") is None:
        yield Row("git", State.WARN, "not installed: images get no tag and no date from a commit", "install git")
        return
    root = machine.settings.root
    done = machine.run(
        Command(("git", "rev-parse", "--git-dir"), cwd=root, env={"LC_ALL": "C"}, timeout=5), check=False
    )
    yield git_row(read_git(root), done.stderr.strip())


def git_row(git: Git | None, said: str = "") -> Row:
    """Say which commit images would be named after; `said` is why git gives no answer."""
    if "dubious ownership" in said:
        advice = re.search(r"git config --global --add safe\.directory .*", said)
        return Row("git", State.WARN, "the repository belongs to another user", advice[0] if advice else "chown it")
    if git is None:
        what = "no commit yet" if not said else "no repository here"
        return Row("git", State.WARN, f"{what}: images get no tag and no date", "`git init` and a first commit")
    found = f"{git.commit[:12]}{f', {git.tag}' if git.tag else ''}"
    if git.dirty:
        found += ", with changes that are not committed: images are marked dirty"
    if git.branch is None:
        return Row("git", State.WARN, f"detached head at {found}", "`git switch BRANCH`, unless this is a CI job")
    return Row("git", State.OK, f"{git.branch} at {found}")


def check_locks(machine: Machine) -> Iterable[Row]:
    """Compare the locks with what they were made from."""
    from dockyard.locks.check import check_project

    yield lock_row(check_project(machine.settings))


def lock_row(problems: Sequence[tuple[str, int, str, str]]) -> Row:
    """Say whether the locks agree with their inputs; a problem is path, line, message and what mends it."""
    if not problems:
        return Row("locks", State.OK, "all agree with requirements/*.in")
    path, line, message, mend = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Row("locks", State.FAIL, f"{path}:{line}: {message}{more}", mend)


def check_ports(machine: Machine) -> Iterable[Row]:
    """See whether the ports of the development stack are free."""
    held = [port for port in machine.settings.ports if machine.is_taken("127.0.0.1", port)]
    own = find_own_ports(machine) if held else frozenset()
    for port in machine.settings.ports:
        yield port_row(port, held=port in held, ours=port in own)


def port_row(port: int, *, held: bool, ours: bool = False) -> Row:
    """Say whether a port of the development stack is free."""
    if ours:
        return Row(f"port {port}", State.OK, "this project's own stack has it")
    if not held:
        return Row(f"port {port}", State.OK, "free")
    found = "another program has it: `invoke up` will not start"
    return Row(f"port {port}", State.WARN, found, f"`ss -ltnp sport = :{port}` names it: end it, or change ports")


def find_own_ports(machine: Machine) -> frozenset[int]:
    """Return the host ports that this project's own stack publishes."""
    changes = machine.docker()
    if changes is None or not machine.engines().info:
        return frozenset()
    label = f"label=com.docker.compose.project={machine.settings.stack}"
    command = Command(
        ("docker", "ps", "--filter", label, "--format", "{{.Ports}}"), env=changes, timeout=ENGINE_SECONDS
    )
    return frozenset(map(int, re.findall(r":(\d+)->", machine.run(command, check=False).stdout)))


def check_python(machine: Machine) -> Iterable[Row]:
    """Look at the Python that runs the pipeline."""
    own = Path(sys.prefix).resolve() == (machine.settings.root / ".venv").resolve()
    yield python_row(tuple(sys.version_info[:3]), sys.prefix, own=own)


def python_row(version: tuple[int, ...], prefix: str, *, own: bool = False) -> Row:
    """Say whether the Python that runs the pipeline will do; it is best the project's `own`."""
    shown = ".".join(map(str, version))
    if not own:
        found = f"{shown} in {prefix}, not the project's .venv"
        return Row("Python", State.WARN, found, "start it with the Python of the project's .venv")
    return Row("Python", State.OK, f"{shown} in .venv")


def check_hook(machine: Machine) -> Iterable[Row]:
    """See whether pre-commit is git's hook, in a project that uses it."""
    root = machine.settings.root
    if not (root / ".pre-commit-config.yaml").exists() or machine.which("git") is None:
        return
    done = machine.run(
        Command(("git", "rev-parse", "--git-path", "hooks/pre-commit"), cwd=root, timeout=5), check=False
    )
    if done.ok:
        installed = (root / done.stdout.strip()).exists()
        found = "installed" if installed else "not installed: `pre-commit install` would"
        yield Row("pre-commit", State.OK, found)


LIMIT = 10.0
"""Seconds after which the doctor stops waiting."""


def examine(settings: "Settings", environment: Mapping[str, str]) -> tuple[Row, ...]:
    """Return every row of the table, in the order of CHECKS."""
    return run_checks(
        CHECKS, Machine(settings, environment, Once(lambda: machine.look_at_engines(settings, environment)))
    )


def run_checks(checks: Mapping[str, Check], machine: Machine, limit: float = LIMIT) -> tuple[Row, ...]:
    """Run checks side by side; one that fails or does not end within `limit` seconds becomes a failing row."""
    done: queue.SimpleQueue[tuple[str, tuple[Row, ...]]] = queue.SimpleQueue()

    def work(name: str, check: Check) -> None:
        done.put((name, survive(name, check, machine)))

    # Daemon threads: one that hangs on the network must not keep the doctor from going home.
    threads = [threading.Thread(target=work, args=item, daemon=True) for item in checks.items()]
    for thread in threads:
        thread.start()
    rows: dict[str, tuple[Row, ...]] = {}
    over = time.monotonic() + limit
    try:
        with contextlib.suppress(queue.Empty):
            while len(rows) < len(checks):
                name, rows[name] = done.get(timeout=max(0.0, over - time.monotonic()))
    finally:
        end_children({thread.native_id for thread in threads if thread.is_alive() and thread.native_id})
    late = f"no answer within {limit:g} s"
    return tuple(
        row for name in checks for row in rows.get(name, (Row(name, State.FAIL, late, "check the network, try again"),))
    )


def survive(name: str, check: Check, machine: Machine) -> tuple[Row, ...]:
    """Return a check's rows; whatever it raises becomes a failing row."""
    try:
        return tuple(check(machine))
    except DockyardError as error:
        return (Row(name, State.FAIL, error.message, error.hint),)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not take the other rows with it
        return (Row(name, State.FAIL, f"the check itself broke: {error!r}", "please report it as a bug"),)


CHECKS: Mapping[str, Check] = {
    "engine": machine.check_engine,
    "builder": machine.check_builder,
    "disk": machine.check_disk,
    "memory": machine.check_memory,
    "base images": network.check_bases,
    "registry": network.check_registry,
    "package index": network.check_index,
    "apt mirror": network.check_mirror,
    "CA bundle": network.check_certificates,
    "git": check_git,
    "locks": check_locks,
    "ports": check_ports,
    "Python": check_python,
    "pre-commit": check_hook,
}
"""Every check, in the order of the table: what has most often to be mended comes first."""
