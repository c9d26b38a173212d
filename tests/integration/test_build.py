"""Builds on a real engine: what is made, what is recorded, what is said when it fails, what an interrupt leaves."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import build, records
from dockyard.image.build import Request
from dockyard.process import Command, Completed, capture
from dockyard.settings import Settings, load
from tests.test_dockerfile import READ

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.13")
"""Those that both a registry and Debian's stable releases have."""
DOCKERFILE = """\
ARG PYTHON_VERSION=3.13
FROM python:${PYTHON_VERSION}-slim AS base
COPY words /words
RUN cat /words && python -c "import sys; print('%d.%d' % sys.version_info[:2])" > /version

FROM scratch AS test
COPY --from=base /version /tested

FROM scratch AS production
COPY --from=base /version /version
"""
PYPROJECT = """\
[tool.dockyard]
app = "shop:app"
image = "{image}"
pythons = ["3.11", "3.13"]
python = "3.13"
"""


@dataclass
class Shop:
    """A small project of a test's own, and `invoke` in it as a person would start it."""

    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.settings.root

    def write(self, name: str, text: str) -> None:
        """Write one of the project's files."""
        (self.root / name).write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line of an Invoke task."""
        return (sys.executable, "-m", "invoke", *arguments)

    def invoke(self, *arguments: str) -> Completed:
        """Run an Invoke task and return how it ended."""
        command = Command(self.command(*arguments), cwd=self.root, env={**self.environment})
        return capture(command, check=False)

    def runs(self) -> list[dict[str, Any]]:
        """Return the run records, each checked against the documented schema."""
        schema = json.loads((ROOT / "docs" / "reference" / "run-record.schema.json").read_text(encoding="utf-8"))
        valid = fastjsonschema.compile(schema)
        return [valid(json.loads(file.read_text())) for file in sorted((self.root / records.FOLDER).glob("*.json"))]


@pytest.fixture
def shop(tmp_path: Path, unique: str, engine: Engine) -> Shop:
    """Return a project outside any git repository whose images begin with a name of this test's own."""
    root, temporary = tmp_path / "shop", tmp_path / "temporary"
    root.mkdir()
    temporary.mkdir()
    (root / "pyproject.toml").write_text(PYPROJECT.format(image=unique))
    (root / "tasks.py").write_text("from dockyard.tasks import namespace as ns\n")
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / "words").write_text(f"{unique}\n")
    environment = {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(temporary), "NO_COLOR": "1"}
    return Shop(load(root, os.environ), {**engine.environment, **environment})


def git(folder: Path, *arguments: str) -> str:
    """Run git with a name of its own and none of the person's settings; return what it prints."""
    person = {f"GIT_{role}_{part}": f"a@{role}" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    environment = {**person, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return capture(Command(("git", *arguments), cwd=folder, env=environment)).stdout.strip()


def holds(engine: Engine, image: str, path: str, text: str) -> bool:
    """Tell whether a file of an image has `text` in it."""
    container = capture(engine.command("create", image, "none")).stdout.strip()
    try:
        return text in capture(engine.command("cp", f"{container}:{path}", "-")).stdout
    finally:
        capture(engine.command("rm", container))


def test_several_targets_and_pythons_in_one_solve(shop: Shop, engine: Engine) -> None:
    """Each image holds what its own target and Python make, has a record, and is all cached the second time."""
    request = Request(("test", "production"), PYTHONS)
    built, missing = build.build_images(shop.settings, request, engine=engine)
    assert missing == ()
    assert [(image.variant.target, image.variant.python) for image in built] == [
        (target, python) for target in request.targets for python in PYTHONS
    ]
    for image in built:
        path = {"test": "/tested", "production": "/version"}[image.variant.target]
        assert holds(engine, image.references[0], path, f"{image.variant.python}\n")
    assert built[0].cache["cached"] < built[0].cache["steps"]
    again, _ = build.build_images(shop.settings, request, engine=engine)
    assert again[0].cache["cached"] == again[0].cache["steps"] > 0
    assert [image.digest for image in again] == [image.digest for image in built]
    kept = shop.runs()
    assert sorted((run["target"], run["python"]) for run in kept) == sorted(2 * [
        (image.variant.target, image.variant.python) for image in built
    ])  # fmt: skip
    assert {(run["kind"], run["outcome"], run["git"]) for run in kept} == {("build", "passed", None)}
    assert {run["image"]["digest"] for run in kept} == {image.digest for image in built}


def test_the_command_line_outside_git(shop: Shop, engine: Engine) -> None:
    """`invoke build` prints JSON alone on stdout; --tag and `invoke tag` name the same image; no file is left over."""
    done = shop.invoke("build", "--tag", "1.2.3", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (image,) = answer["images"]
    name = shop.settings.image
    assert image["references"] == [f"{name}:1.2.3", f"{name}:production"]
    assert (answer["missing"], image["target"], image["python"]) == ([], "production", "3.13")
    assert shop.invoke("tag", "--tag", "1.2.4").stdout == f"{name}:1.2.4\n"
    formats = '--format={{.Id}} {{index .Config.Labels "org.opencontainers.image.created"}}'
    told = capture(engine.command("image", "inspect", formats, f"{name}:1.2.3", f"{name}:1.2.4")).stdout.splitlines()
    assert set(told) == {f"{image['digest']} 1980-01-01T00:00:00Z"}
    nameless = shop.invoke("tag")
    assert (nameless.returncode, "TIP   name one, such as `--tag 1.2.3`" in nameless.stderr) == (2, True)
    assert [run["image"]["reference"] for run in shop.runs()] == [f"{name}:1.2.3"]
    assert list(Path(shop.environment["TMPDIR"]).iterdir()) == []


def test_a_detached_head(shop: Shop) -> None:
    """The commit names and dates the image; that no branch is checked out is recorded and no trouble."""
    shop.write(".gitignore", "__pycache__\n")
    git(shop.root, "init", "--quiet", ".")
    git(shop.root, "add", ".")
    git(shop.root, "commit", "--quiet", "--message", "One")
    git(shop.root, "checkout", "--quiet", "--detach")
    commit = git(shop.root, "rev-parse", "HEAD")
    done = shop.invoke("build", "--json")
    assert done.returncode == 0, done.stderr
    (image,) = json.loads(done.stdout)["images"]
    assert image["references"] == [f"{shop.settings.image}:{word}" for word in (commit[:12], "production")]
    (run,) = shop.runs()
    assert run["git"] == {"commit": commit, "branch": None, "tag": None, "dirty": False}


def test_an_unknown_target(shop: Shop) -> None:
    """A slip of the finger is a usage error that names the targets; nothing is recorded."""
    done = shop.invoke("build", "--target", "productive")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "ERROR the Dockerfile has no target 'productive'\nTIP   its targets are base, test, production\n"
    )
    assert shop.runs() == []


def test_a_python_that_nobody_ships(shop: Shop, engine: Engine, said: list[str]) -> None:
    """It is named with the reason, and the others are built; where there is no other, that is an error."""
    settings = shop.settings._replace(pythons=(*PYTHONS, "3.99"))
    built, missing = build.build_images(settings, Request(pythons=("3.99", "3.13")), engine=engine)
    assert [image.variant.python for image in built] == ["3.13"]
    assert [(absent.python, bool(absent.reason)) for absent in missing] == [("3.99", True)]
    assert f"Python 3.99 cannot be built here: {missing[0].reason}" in said
    with pytest.raises(DockyardError, match="no Python asked for has a base image here"):
        build.build_images(settings, Request(pythons=("3.99",)), engine=engine)


def test_another_platform_without_its_base(shop: Shop, engine: Engine) -> None:
    """It is refused: BuildKit would take this machine's base and programs, and call the image another platform's."""
    shop.environment["DOCKYARD_BASE"] = "debian"
    done = shop.invoke("build", "--platform", "linux/s390x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ERROR nothing can be built for linux/s390x here: the base image of Python 3.13 is made from" in done.stderr
    assert 'TIP   use base = "registry"' in done.stderr
    assert capture(engine.command("images", "--quiet", shop.settings.image)).stdout == ""


INSTALL = "python -m pip install --no-index --find-links=/wheels --require-hashes -r /wheels/lock.txt"
BROKEN = {
    "a failing step": (
        "RUN exit 7",
        "RUN exit 7 (line",
        "exit code: 7",
    ),
    "a lock edited by hand": (
        f"RUN --mount=type=bind,target=/wheels {INSTALL}",
        "shop==1.0 does not match the hash in its lock",
        "TIP   run `invoke lock`; ",
    ),
}


@pytest.mark.parametrize(("step", "words", "shown"), BROKEN.values(), ids=BROKEN)
def test_a_build_that_fails(shop: Shop, engine: Engine, step: str, words: str, shown: str) -> None:
    """BuildKit's own words, then where and why, and a tip; exit code 1; a record; no image and no temporary file."""
    shop.write("shop-1.0-py3-none-any.whl", "not what was locked")
    shop.write("lock.txt", f"shop==1.0 --hash=sha256:{'0' * 64}\n")
    shop.write("Dockerfile", DOCKERFILE.replace("RUN cat", f"{step}\nRUN cat"))
    done = shop.invoke("build")
    assert (done.returncode, done.stdout) == (1, "")
    before, _, error = done.stderr.partition("ERROR the build failed at [")
    assert "did not complete successfully" in before
    assert words in error
    assert shown in error
    assert "Traceback" not in done.stderr
    (run,) = shop.runs()
    assert (run["outcome"], run["target"], run["python"], run.get("image")) == ("failed", "production", "3.13", None)
    assert capture(engine.command("images", "--quiet", shop.settings.image)).stdout == ""
    assert list(Path(shop.environment["TMPDIR"]).iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a file system of its own that has room for one file or folder, and little in that."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ("-t", "tmpfs", "-o", "size=16k,nr_inodes=2")
    mounted = capture(Command(("mount", *options, "none", str(folder))), check=False)
    if not mounted.ok:
        pytest.skip(f"this user may not mount a small file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        capture(Command(("umount", "--lazy", str(folder))))


def of_the_disk(done: Completed) -> bool:
    """Tell whether a task ended with words about a full disk, what to do, and neither a traceback nor a bug."""
    error = done.stderr[done.stderr.find("ERROR ") :]
    return (
        (done.returncode, done.stdout) == (1, "")
        and "no space" in error.lower()
        and "TIP   " in error
        and not [word for word in ("Traceback", "bug") if word in done.stderr]
    )


def test_a_full_disk_for_temporary_files(shop: Shop, small_disk: Path) -> None:
    """Where BuildKit cannot write what it made, the disk is named, and the folder is as empty as before."""
    shop.environment["TMPDIR"] = str(small_disk)
    done = shop.invoke("build")
    assert of_the_disk(done), done
    assert list(small_disk.iterdir()) == []
    assert [run["outcome"] for run in shop.runs()] == ["failed"]


def test_a_full_disk_for_the_cache(shop: Shop, small_disk: Path) -> None:
    """Where the base images' own folder cannot be filled, nothing half-made stays in it."""
    shop.environment["XDG_CACHE_HOME"] = str(small_disk)
    done = shop.invoke("build")
    assert of_the_disk(done), done
    assert [file for file in small_disk.rglob("*") if not file.is_dir()] == []


def test_a_full_disk_for_records(shop: Shop, small_disk: Path) -> None:
    """An image that was built is built: that its record could not be written is said in one line."""
    (small_disk / "filler").touch()
    (shop.root / ".dockyard").symlink_to(small_disk)
    done = shop.invoke("build", "--json")
    assert done.returncode == 0, done
    assert len(json.loads(done.stdout)["images"]) == 1
    assert "the run record could not be written: " in done.stderr
    assert "No space left on device" in done.stderr


def test_a_full_disk_in_a_step(shop: Shop) -> None:
    """What a program of the Dockerfile says of a full disk is understood, however it is written."""
    mount = "RUN --mount=type=tmpfs,target=/small,size=65536"
    shop.write("Dockerfile", DOCKERFILE.replace("RUN cat", f"{mount} head -c 1000000 /dev/zero > /small/x && cat"))
    done = shop.invoke("build")
    assert of_the_disk(done), done


def processes(word: str) -> list[str]:
    """Return the command line of every process in which a word occurs."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if word in command:
            found.append(command)
    return found


@dataclass(frozen=True)
class Running:
    """`invoke` on its way, in a session of its own: on a terminal where keys can be pressed, or in a pipe."""

    process: "subprocess.Popen[bytes]"
    source: int
    terminal: bool

    def read(self, word: str = "", *, seconds: float = 90) -> str:
        """Return what it says up to a word, or without one all that it says to its end."""
        text, deadline = "", time.monotonic() + seconds
        while (not word or word not in text) and time.monotonic() < deadline:
            if not select.select([self.source], [], [], 0.2)[0]:
                continue
            try:
                chunk = os.read(self.source, 65536)
            except OSError:  # so ends a terminal
                break
            if not chunk:
                break
            text += chunk.decode(errors="replace")
        return text

    def interrupt(self) -> None:
        """Press Ctrl-C, or send what a terminal would send: either reaches every process in the foreground."""
        if self.terminal:
            os.write(self.source, b"\x03")
        else:
            os.killpg(self.process.pid, signal.SIGINT)


CONTROLLING = "import fcntl, os, sys, termios as t; fcntl.ioctl(0, t.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""What gives the program in its arguments the terminal on its standard input, so that keys become signals."""


@pytest.fixture
def start(shop: Shop) -> Iterator[Callable[..., Running]]:
    """Return a function that starts an Invoke task; should it outlive the test, it is killed."""
    started: list[Running] = []

    def run(*arguments: str, terminal: bool) -> Running:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        taking = (sys.executable, "-c", CONTROLLING) if terminal else ()
        process = subprocess.Popen(
            (*taking, *shop.command(*arguments)),
            cwd=shop.root,
            env={**os.environ, **shop.environment},
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        started.append(Running(process, ours, terminal))
        return started[-1]

    yield run
    for running in started:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        os.close(running.source)


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_an_interrupt(shop: Shop, start: Callable[..., Running], engine: Engine, terminal: bool) -> None:
    """Ctrl-C in the middle of a step: soon over, exit code 130, recorded, and nothing of it is left anywhere."""
    mark = shop.settings.image
    slow = f"cat /words && python -c 'import time; time.sleep(600)' {mark}"
    shop.write("Dockerfile", DOCKERFILE.replace("cat /words", slow))
    running = start("build", terminal=terminal)
    temporary = Path(shop.environment["TMPDIR"])
    # A terminal cuts lines off at its width, so this is what can be waited for in both.
    said = running.read("time.sleep(600)")
    assert processes(str(temporary)), said
    time.sleep(1)
    running.interrupt()
    said += running.read()
    assert running.process.wait(20) == 130, said
    assert said.rstrip().endswith("interrupted: nothing half-made was kept")
    assert "Traceback" not in said
    assert list(temporary.iterdir()) == []
    assert processes(str(temporary)) == []
    assert eventually(lambda: processes(f"time.sleep(600)' {mark}") == []), "the step goes on in the engine"
    assert [run["outcome"] for run in shop.runs()] == ["interrupted"]
    assert capture(engine.command("images", "--quiet", mark)).stdout == ""


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    """Wait until something is so, and return whether it came to that."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_the_dockerfile_is_read_as_buildkit_reads_it(engine: Engine, tmp_path: Path) -> None:
    """For every form that the parser is tested with, BuildKit itself names the same targets."""
    environment = {**engine.environment, "BUILDX_EXPERIMENTAL": "1"}
    for name, (text, targets) in READ.items():
        if not text.startswith("FROM a AS one"):
            continue
        (tmp_path / "Dockerfile").write_text(text, newline="")
        words = ("docker", "buildx", "build", "--print=targets,format=json", str(tmp_path))
        said = json.loads(capture(Command(words, env=environment)).stdout)
        assert tuple(target["name"] for target in said["targets"] if target.get("name")) == targets, name
