"""The same three commands for samples with a database beside them: a file of its own, for another worker."""

from pathlib import Path

from dockyard.engine.client import Engine

from .sample_projects import Installation
from .test_init import choose_samples, follow_sample
from .three_commands import Sample

CORE = ("migrations", "postgres", "own_compose")


@choose_samples(CORE)
def test_three_commands_with_a_database(
    sample: Sample, installation: Installation, engine: Engine, tmp_path: Path, unique: str
) -> None:
    """What holds for one without holds here."""
    follow_sample(sample, installation, engine, tmp_path, unique)
