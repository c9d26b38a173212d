"""Fixtures for tests that need a real engine: they use the one the pipeline itself would find."""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard import console
from dockyard.engine import client as engines
from dockyard.engine.client import Engine
from dockyard.settings import Settings, load

from .checkout import remove_made
from .sample_projects import Installation

ROOT = Path(__file__).parents[2]


SLOWEST = (
    "deploy_swarm",
    "deploy_host",
    "docs_run",
    "wheels",
    "init",
    "verify",
    "private_index",
    "stack",
    "release",
    "production_image",
    "bootstrap",
    "pages",
)
"""Files that take longest: with several workers they begin first, so that none is left for the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test below this folder as an integration test, and order the slow files first.

    The long tests of deploys are left out unless --soak asks for them.
    """
    soak = [item for item in items if item.get_closest_marker("soak") and not config.getoption("--soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]
    order = {f"test_{name}.py": number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


ALONE = ("build_elsewhere", "deploy_host", "deploy_swarm", "embedded_engine", "other_engines")
"""Files that start and stop engines, which share the machine's firewall, or that count requests that fail.

Three engines, a deploy and ten thousand requests need two cores: beside another worker's builds, checks time out.
"""


@pytest.fixture(scope="module", autouse=True)
def other_workers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep files that start engines from running beside any other, in whatever worker that is."""
    alone = request.path.name in {f"test_{name}.py" for name in ALONE}
    with (Path(tempfile.gettempdir()) / f"dockyard-integration-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


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
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return Dockyard as a user has it; it is installed once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "installed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Installation(folder / "installed")
        return made if (made.programs / "pre-commit").exists() else made.make("pre-commit")
