"""Fixtures for tests that need a real engine: they use the one the pipeline itself would find."""

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard import console
from dockyard.engine import client as engines
from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.settings import Settings, load

from .checkout import remove_made
from .registry_process import programs
from .sample_projects import Installation

__all__ = ["programs"]
ROOT = Path(__file__).parents[2]


COUNTED = ("deploy_swarm", "deploy_host")
"""Files that count requests that fail, of ten thousand: beside builds on every core, checks of a copy time out."""
LIGHT = (
    "embedded_engine",
    "locks",
    "ledger_databases",
    "docs_run",
    "bootstrap",
    "push",
    "locks_environments",
    "locks_platform",
    "kubectl",
    "audit",
    "attest",
    "signing",
    "doctor",
    "ledger_serving",
    "build_elsewhere",
    "manifests",
    "newer_versions",
    "compose_edits",
    "ledger_api",
    "wheel",
)
"""Files that mostly wait, or keep to one core: they may run beside those that are counted."""
FIRST = (
    *(COUNTED[0], *LIGHT[:4], COUNTED[1], *LIGHT[4:]),
    *("init_databases", "init", "verify", "wheels", "private_index", "stack", "production_image", "release", "pages"),
)
"""The order in which workers take files: what is counted beside what is light, then what takes longest.

No worker waits for another, and no long file is left for the end.
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test below this folder as an integration test, and order the files.

    The long tests of deploys are left out unless --soak asks for them.
    """
    soak = [item for item in items if item.get_closest_marker("soak") and not config.getoption("--soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]
    order = {f"test_{name}.py": number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="module", autouse=True)
def other_workers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep files that count requests from running beside any but a light one, in whatever worker that is."""
    name = request.path.stem.removeprefix("test_")
    if name in LIGHT:
        yield
        return
    with (Path(tempfile.gettempdir()) / f"dockyard-integration-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if name in COUNTED else fcntl.LOCK_SH)
        yield


@pytest.fixture(scope="module")
def module_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder that goes when the tests of its file are over."""
    folder = tmp_path_factory.mktemp(request.path.stem)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def shown_progress() -> Iterator[None]:
    """Show progress as a task does, and no longer than the test: unit tests in the same run want none."""
    before = list(console.log.handlers)
    console.show_progress()
    yield
    console.log.handlers[:] = before


@pytest.fixture(scope="session")
def project() -> Settings:
    """Return this repository's own settings."""
    return load(ROOT, os.environ)


@pytest.fixture(scope="session")
def engine(project: Settings) -> Engine:
    """Return the engine that the pipeline finds or starts on this machine."""
    return engines.find_engine(project)


@pytest.fixture
def unique(engine: Engine) -> Iterator[str]:
    """Yield a name of this test's own, and remove every container, image, network and volume that begins with it."""
    name = f"dockyard-test-{secrets.token_hex(4)}"
    yield name
    remove_made(engine, name)


@pytest.fixture(scope="session")
def ledger_image(project: Settings, engine: Engine) -> Iterator[str]:
    """Yield the name under which the ledger's development and production images are, until all tests are over.

    While they are there, no other image of the same layers has to be unpacked, which takes longer than its build.
    """
    name = f"dockyard-test-{secrets.token_hex(4)}"
    targets = ("development", "production")
    build.build_images(project._replace(image=name), build.Request(targets=targets), engine=engine)
    yield name
    remove_made(engine, name)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return Dockyard as a user has it; it is installed once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Installation(folder / "installed")
        return made if (made.programs / "pre-commit").exists() else made.make("pre-commit")
