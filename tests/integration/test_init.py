"""From clone to a healthy container in three commands: some of the samples; `benchmarks/samples.py` walks all."""

from pathlib import Path

import pytest

from dockyard import console
from dockyard.engine.client import Engine

from .sample_projects import Installation
from .three_commands import ALL, Sample, Walk

CORE = ("single", "django", "variables")
"""One shape each that another lacks; the tutorial, whose blocks are run too, begins with `factory`."""


def choose_samples(names: tuple[str, ...]) -> pytest.MarkDecorator:
    """Return what gives a test one sample at a time."""
    return pytest.mark.parametrize("sample", [pytest.param(one, id=one.name) for one in ALL if one.name in names])


def follow_sample(sample: Sample, installation: Installation, engine: Engine, folder: Path, name: str) -> None:
    """Hold that a sample answers, keeps its data, passes the policy and its own tests, and needs no value first."""
    story = Walk(sample, installation.programs, folder / sample.name, name, engine, console.log.info).follow()
    assert story.tests == 1
    assert not story.edits
    assert story.lines.get("Dockerfile", 0) <= 80


@choose_samples(CORE)
def test_three_commands(
    sample: Sample, installation: Installation, engine: Engine, tmp_path: Path, unique: str
) -> None:
    """A project that knows nothing of containers is served by three of them."""
    follow_sample(sample, installation, engine, tmp_path, unique)
