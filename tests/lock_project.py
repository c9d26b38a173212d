"""A small project with locks that no engine made: what a compiler would have written is given as text."""

from collections.abc import Mapping
from pathlib import Path

from dockyard.locks.check import inspect_locks
from dockyard.locks.plan import JobAnswer, Wish, finish_locks, plan_batches
from dockyard.settings import Settings

INPUTS = {
    "base": "# what the application needs\nflask>=3  # the framework\nfastjsonschema\n",
    "production": "-r base.in\ngunicorn\n",
    "test": '-r base.in\npytest ; python_version >= "3.9"\n',
}


def pin(name: str, version: str, via: str, hashes: int = 2) -> str:
    """Return a pin as a compiler writes it, with hashes made up from its name."""
    digests = [f"{abs(hash((name, version, number))):064x}"[-64:] for number in range(hashes)]
    return (
        f"{name}=={version} \\\n"
        + " \\\n".join(f"    --hash=sha256:{each}" for each in digests)
        + f"\n    # via {via}\n"
    )


FLASK = pin("flask", "3.1.3", "-r requirements/base.in") + pin("fastjsonschema", "2.22.3", "-r requirements/base.in")
COMPILED = {
    "base": FLASK,
    "production": FLASK + pin("gunicorn", "27.0.1", "-r requirements/production.in"),
    "test": FLASK + pin("pytest", "9.2.0", "-r requirements/test.in"),
}


def write_inputs(root: Path, inputs: Mapping[str, str] = INPUTS) -> None:
    """Write the .in files of a project."""
    (root / "requirements").mkdir(exist_ok=True)
    for name, text in inputs.items():
        (root / "requirements" / f"{name}.in").write_text(text, encoding="utf-8", newline="")


def compiled_here(texts: Mapping[str, str]) -> dict[str, JobAnswer]:
    """Return the answers of a compiler that had one environment to resolve for."""
    return {purpose: JobAnswer({"here": text}) for purpose, text in texts.items()}


def lock_all(settings: Settings, compiled: Mapping[str, str] = COMPILED) -> None:
    """Write the locks that a compiler with these answers would leave."""
    state = inspect_locks(settings)
    for batch in plan_batches(state, Wish(everything=True)):
        for path, text in finish_locks(batch, compiled_here(compiled)).items():
            (settings.root / path).parent.mkdir(exist_ok=True)
            (settings.root / path).write_text(text, encoding="utf-8")


def locked_project(settings: Settings) -> Settings:
    """Write inputs and locks into the project of these settings."""
    write_inputs(settings.root)
    lock_all(settings)
    return settings
