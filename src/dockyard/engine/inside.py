"""Hand the programs of `payload` to containers: as a folder to builds, as text to a Python that nothing mounts."""

from pathlib import Path

PAYLOAD = Path(__file__).resolve().parents[1] / "payload"
"""What builds get as the named context `dockyard`; nothing on the host imports it."""


def program(name: str) -> str:
    """Return the text of a program that runs alone."""
    return (PAYLOAD / f"{name}.py").read_text("utf-8")


def probe(verb: str, *words: str) -> tuple[str, ...]:
    """Return the arguments of a Python that make it look around, see payload/probes.py; the answer is JSON."""
    return ("-I", "-c", program("probes"), verb, *words)
