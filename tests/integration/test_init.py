"""From clone to a healthy container in three commands: some of the samples; `benchmarks/samples.py` walks all."""

from pathlib import Path

import pytest

from dockyard import console
from dockyard.engine.client import Engine

from .sample_projects import Installation
from .three_commands import ALL, Sample, Walk

CORE = ("single", "migrations", "django", "variables", "postgres", "own_compose")
"""One shape each that another lacks; the tutorial, whose blocks are run too, begins with `factory`."""


@pytest.mark.parametrize("sample", [pytest.param(one, id=one.name) for one in ALL if one.name in CORE])
def test_three_commands(
    sample: Sample, installation: Installation, engine: Engine, tmp_path: Path, unique: str
) -> None:
    """A project that knows nothing of containers answers, keeps its data, passes the policy and its own tests."""
    walk = Walk(sample, installation.programs, tmp_path / sample.name, unique, engine, console.log.info)
    story = walk.follow()
    assert story.tests == 1
    assert not story.edits
    assert story.lines.get("Dockerfile", 0) <= 80
