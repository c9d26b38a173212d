"""Run containers of an image as hard as production would, and look around in them by their own Python."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dockyard.engine.client import Engine
from dockyard.engine.inside import probe

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


def choose_options(environment: Mapping[str, str], tmpfs: Sequence[str], *, hardened: bool = True) -> tuple[str, ...]:
    """Return the options of `docker run` for what production gives: variables, and folders that may be written."""
    writable = (f"--tmpfs={folder}:uid={USER},gid={USER},mode=0700" for folder in tmpfs)
    given = (f"--env={key}={value}" for key, value in environment.items())
    return (*(HARDENED if hardened else ()), *writable, *given)


def hide_values(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that are shown nowhere: any may be a secret, but those too short to be one."""
    return tuple(value for value in environment.values() if len(value) > 3)


def ask_python(engine: Engine, image: str, verb: str, *words: str, options: Sequence[str] = (), said: Any = "") -> Any:
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
