"""Hand the programs of `payload` to containers: as a folder to builds, or to a Python that nothing mounts."""

import io
import zipfile
from pathlib import Path

PAYLOAD = Path(__file__).resolve().parents[1] / "payload"
"""What builds get as the named context `dockyard`; nothing on the host imports it."""


def archive() -> bytes:
    """Return the package `payload` as an archive that Python imports from; equal files make equal bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:  # uncompressed: a Python can lack zlib
        for path in sorted(PAYLOAD.glob("*.py")):
            opened.writestr(zipfile.ZipInfo(f"{PAYLOAD.name}/{path.name}"), path.read_bytes())
    return made.getvalue()


def probe(verb: str, *words: str) -> tuple[str, ...]:
    """Return the arguments of a Python that make it look around, see payload/probes.py; the answer is JSON."""
    return ("-I", "-c", (PAYLOAD / "probes.py").read_text("utf-8"), verb, *words)
