"""Checkouts of this project as different people would have them, the pipeline run in them, and what it made removed."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from dockyard.engine.client import Engine
from dockyard.process import Command, Completed, capture

ROOT = Path(__file__).parents[2]
INVOKE = "import sys; from invoke.main import program; sys.argv = ['invoke', *sys.argv[1:]]; program.run()"
COMMIT = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "x")
REGISTRIES = ("", "*/", "*/*/")
"""What may stand before the name of an image."""
CONFIGURATION = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def git(folder: Path, *words: str, **environment: str) -> str:
    """Run git in a folder, with no configuration but our own."""
    return capture(Command(("git", *words), cwd=folder, env={**CONFIGURATION, **environment})).stdout


def committed(folder: Path) -> None:
    """Make a folder a repository of one commit, with a date of its own."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, *COMMIT, GIT_COMMITTER_DATE="1700000000 +0000", GIT_AUTHOR_DATE="1700000000 +0000")


def copied(target: Path, umask: int, time: float) -> None:
    """Copy what git knows or would know of this project as somebody with that umask would, at another time."""
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
        source = ROOT / name
        if not name or not source.is_file():
            continue
        made = target / name
        for parent in reversed(made.parents):
            if not parent.exists():
                parent.mkdir(0o777 & ~umask)
                parent.chmod(0o777 & ~umask)
        made.write_bytes(source.read_bytes())
        made.chmod((0o777 if source.stat().st_mode & 0o100 else 0o666) & ~umask)
        os.utime(made, (time, time))


def plain() -> dict[str, str]:
    """Return the locale and time zone of a first build."""
    return {"TZ": "UTC", "LC_ALL": "C.UTF-8"}


def elsewhere(home: Path) -> dict[str, str]:
    """Return the environment of somebody else, far away, whose home is a new folder."""
    home.mkdir(mode=0o700)
    # Where bases are kept follows HOME, and making one anew takes minutes: only that folder stays the same.
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    language = {"TZ": "Pacific/Kiritimati", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "PYTHONHASHSEED": "77"}
    return {**language, "USER": "somebody", "LOGNAME": "somebody", "HOME": str(home), "XDG_CACHE_HOME": cache}


def invoke(
    folder: Path, umask: str, environment: Mapping[str, str], *words: str, under: tuple[str, ...] = ()
) -> Completed:
    """Run a task of the copied project with the copied pipeline, by way of another program where one is named."""
    argv = (*under, "sh", "-c", f'umask {umask} && exec "$@"', "sh", sys.executable, "-c", INVOKE, *words)
    return capture(Command(argv, cwd=folder, env={"PYTHONPATH": "src", **environment}), check=False)


def free_port() -> int:
    """Return a port of this machine that nothing listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def remove_made(engine: Engine, name: str) -> None:
    """Remove every container, image, network and volume of an engine whose name, without a registry, begins so."""
    for kind, listing, removal in (
        ("container", ("ps", "--all", "--quiet", "--filter", f"name={name}"), ("rm", "--force", "--volumes")),
        (
            "image",
            ("images", "--format={{.Repository}}:{{.Tag}}", *(f"--filter=reference={at}{name}*" for at in REGISTRIES)),
            ("rmi", "--force"),
        ),
        ("network", ("network", "ls", "--quiet", "--filter", f"name={name}"), ("network", "rm")),
        ("volume", ("volume", "ls", "--quiet", "--filter", f"name={name}"), ("volume", "rm", "--force")),
    ):
        found = capture(engine.command(*listing), check=False).stdout.split()
        if found:
            left = capture(engine.command(*removal, *sorted(set(found))), check=False)
            assert left.ok, f"{kind} of a test could not be removed: {left.stderr}"
