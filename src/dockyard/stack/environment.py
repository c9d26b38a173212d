"""The secrets that compose.env names: each is made once, kept in .dockyard/secrets/, and given to Compose."""

import logging
import re
from pathlib import Path

from dockyard.stack.prepare import SECRETS, make_secret

log = logging.getLogger(__name__)

FILE = "compose.env"


def named_secrets(text: str) -> tuple[str, ...]:
    """Return the variables that the values of a compose.env are made of: `${NAME}`, without a default (pure)."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return tuple(dict.fromkeys(name for line in lines for name in re.findall(r"\$\{(\w+)\}", line)))


def read_secrets(root: Path, known: frozenset[str]) -> dict[str, str]:
    """Return a value for each variable that compose.env is made of and that is not `known`; make what is absent."""
    try:
        text = (root / FILE).read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    found: dict[str, str] = {}
    for name in named_secrets(text):
        if name not in known:
            path = root / SECRETS / name.lower()
            if make_secret(path):
                log.info(f"made a random secret for {name} of {FILE}: {path.relative_to(root)}")
            found[name] = path.read_text("utf-8").strip()
    return found
