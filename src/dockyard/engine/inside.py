"""What runs inside containers: the programs of `payload` handed to them, and how hard production would run them.

Builds get the programs as a folder; a Python that nothing mounts gets an archive, or one program on its command line.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dockyard.engine.client import Engine

PAYLOAD = Path(__file__).resolve().parents[1] / "payload"
"""What builds get as the named context `dockyard`; nothing on the host imports it."""
USER = "65532"
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    f"--user={USER}:{USER}",
    "--pids-limit=512",
)
ENGINE_SECONDS = 60.0
"""How long an engine may take to start or remove a container, and one that only looks around to do so."""


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


def choose_options(environment: Mapping[str, str], tmpfs: Sequence[str], *, hardened: bool = True) -> tuple[str, ...]:
    """Return the options of `docker run` for what production gives: variables, and folders that may be written."""
    writable = (f"--tmpfs={folder}:uid={USER},gid={USER},mode=0700" for folder in tmpfs)
    given = (f"--env={key}={value}" for key, value in environment.items())
    return (*(HARDENED if hardened else ()), *writable, *given)


def hide_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that are shown nowhere: any may be a secret, but those too short to be one."""
    return tuple(value for value in environment.values() if len(value) > 3)


def ask_python(
    engine: "Engine", image: str, verb: str, *words: str, options: Sequence[str] = (), said: Any = ""
) -> Any:
    """Let an image's Python look around, hardened; return what it answers, None where it cannot be run."""
    hardened = ("--rm", "--interactive", "--network=none", "--no-healthcheck", *HARDENED, *options)
    asked = (*hardened, "--entrypoint=python", image, *probe(verb, *words))
    done = engine.attempt("run", *asked, input=json.dumps(said).encode(), timeout=ENGINE_SECONDS)
    return parse_json(done.stdout)


def parse_json(text: str) -> Any:
    """Return what a text says, None where it is no JSON: the program that should have written it could not be run."""
    try:
        return json.loads(text)
    except ValueError:
        return None
