"""What the tests of adoption share: projects that exist only as texts."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockyard.adopt.detection import detect
from dockyard.adopt.model import Overrides, Project
from dockyard.adopt.snapshot import Snapshot, read_snapshot
from dockyard.tasks import namespace

SAMPLES = Path(__file__).parent.parent / "samples"


def snapshot(files: dict[str, str], name: str = "shop") -> Snapshot:
    """Return a snapshot of a project that holds some texts."""
    return Snapshot(name, frozenset(files), files)


def detected(files: dict[str, str], overrides: Overrides | None = None, *, name: str = "shop") -> Project:
    """Return what is detected in a project that holds some texts; a requirements.txt asks for Flask."""
    return detect(snapshot({"requirements.txt": "flask\n", **files}, name), overrides or Overrides())


@pytest.fixture(autouse=True)
def _helps() -> Iterator[None]:
    """Keep the tasks' help texts for other tests: Invoke takes them out as it reads them."""
    before = {name: dict(namespace[name].help) for name in namespace.task_names}
    yield
    for name, texts in before.items():
        namespace[name].help = texts


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Project]:
    """Return what is detected in one of the sample projects."""
    return lambda name: detect(read_snapshot(SAMPLES / name), Overrides())
