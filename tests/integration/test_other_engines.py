"""One commit on several engines: with other data, for another user, of another version. The image is the same."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from dockyard import apt, files, process
from dockyard.engine import archive
from dockyard.engine.archive import Image
from dockyard.engine.client import Engine
from dockyard.engine.embedded import install, processes
from dockyard.errors import DockyardError
from dockyard.process import Command, capture
from dockyard.settings import Settings
from dockyard.verify.compare import compare_images, read_entry
from dockyard.verify.model import Entry
from tests.integration import second_engine
from tests.integration.checkout import committed, copied, elsewhere, invoke, plain

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a second engine needs root"),
    pytest.mark.skipif(process.which("apt-get") is None, reason="a second engine needs apt"),
]

OTHER_RELEASE = "testing"
USER = "4321"
SOMEBODY_ELSE = ("unshare", f"--map-user={USER}", f"--map-group={USER}")
"""A user namespace in which we, and our files, have another user id: the pipeline, docker and buildx see that one."""


@dataclass(frozen=True)
class Made:
    """An image, and the engine that built it."""

    engine: Engine
    image: Image[Entry]


@pytest.fixture(scope="module")
def named(engine: Engine) -> Iterator[Mapping[str, str]]:
    """Yield the environment that names every image of this module alike, since an image's labels hold its name."""
    name = f"dockyard-engines-{secrets.token_hex(4)}"
    yield {"DOCKYARD_IMAGE": name}
    listing = ("images", "--filter", f"reference={name}", "--format", "{{.Repository}}:{{.Tag}}")
    capture(engine.command("rmi", "--force", *capture(engine.command(*listing)).stdout.split()))


@pytest.fixture(scope="module")
def first(engine: Engine, named: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return the image as the engine in use makes it, out of whatever caches it has."""
    folder = tmp_path_factory.mktemp("first") / "here"
    copied(folder, 0o022, 1_600_000_000)
    return built(engine, folder, "022", {**plain(), **named})


def built(
    engine: Engine, folder: Path, umask: str, environment: Mapping[str, str], under: tuple[str, ...] = ()
) -> Made:
    """Commit a checkout, build its production image, and read it."""
    committed(folder)
    told = invoke(folder, umask, {**engine.environment, **environment}, "build", "--json", under=under)
    assert told.ok, told.stderr[-3000:]
    (made,) = json.loads(told.stdout)["images"]
    return Made(engine, archive.read_image(engine, made["references"][0], read_entry))


def test_other_data_another_user(first: Made, named: Mapping[str, str], tmp_path: Path) -> None:
    """On a second engine with nothing in its data root, for another user elsewhere: the same manifest digest."""
    folder = tmp_path / "a longer path" / "there"
    copied(folder, 0o077, 1_650_000_000.5)
    environment = {**elsewhere(tmp_path / "home"), **named}
    assert capture(Command((*SOMEBODY_ELSE, "id", "-u"))).stdout.strip() == USER
    with second_engine.running(second_engine.provide_engine(), second_engine.provide_carrier()) as second:
        again = built(second, folder, "077", environment, under=SOMEBODY_ELSE)
    verdict, findings = compare_images(first.image, again.image)
    assert findings == ()
    assert again.image.config_digest == first.image.config_digest
    if (second.version, second.snapshotter) == (first.engine.version, first.engine.snapshotter):
        assert verdict == "identical"
        assert again.image.manifest == first.image.manifest != ""


def test_another_version(first: Made, named: Mapping[str, str], project: Settings, tmp_path: Path) -> None:
    """On the engine of Debian's next release: the same configuration and layers, if maybe packed otherwise."""
    try:
        packages = install.wanted(apt.codename(), OTHER_RELEASE)
        apt.unpack(packages, tmp_path / "engine", allow_expired=project.allow_expired_release)
    except DockyardError as error:
        pytest.skip(f"no engine of Debian {OTHER_RELEASE}: {error}")
    copied(tmp_path / "there", 0o027, 1_500_000_000)
    with second_engine.running(tmp_path / "engine", second_engine.provide_carrier()) as second:
        again = built(second, tmp_path / "there", "027", {**plain(), **named})
    verdict, findings = compare_images(first.image, again.image)
    assert findings == ()
    assert again.image.config_digest == first.image.config_digest
    assert verdict in ("identical", "recompressed")


def traces(home: Path) -> set[str]:
    """Return what there is of the second engine that lives in a folder: programs, mounts, the folder itself."""
    running = processes.running().values()
    return {
        *(one.name for one in running if any(word.startswith(str(home)) for word in one.argv)),
        *files.list_mounts([home]),
        *(str(folder) for folder in (home, home.parent) if folder.exists()),
    }


def test_nothing_stays_of_one_whose_user_is_killed() -> None:
    """Killed without a chance to clean up, the user of a second engine leaves none behind."""
    code = (
        "import sys, time; from pathlib import Path; from tests.integration import second_engine\n"
        "with second_engine.running(*map(Path, sys.argv[1:])) as engine:\n"
        "    print(engine.environment['DOCKER_CONFIG'], flush=True); time.sleep(600)"
    )
    argv = (sys.executable, "-c", code, str(second_engine.provide_engine()), str(second_engine.provide_carrier()))
    paths = f"{second_engine.ROOT}{os.pathsep}{second_engine.ROOT / 'src'}"
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout
        home = Path(user.stdout.readline().strip()).parent
        assert "dockerd" in traces(home)
        user.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while traces(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert traces(home) == set()
