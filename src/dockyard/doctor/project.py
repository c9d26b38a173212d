"""Checks of the project: its commit, its locks, its ports, and the Python and hooks around it."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from dockyard.doctor.engine import ENGINE_SECONDS
from dockyard.doctor.model import Machine, Row, State
from dockyard.git import Git, read_git
from dockyard.process import Command

OLDEST_PYTHON = (3, 11)


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
    if version[:2] < OLDEST_PYTHON:
        return Row("Python", State.FAIL, f"{shown} is too old", "use Python 3.11 or newer")
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
