"""Remember what an image has passed on its way to release: checks leave nothing that a registry could be asked for."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dockyard.files import write_atomically

FOLDER = Path(".dockyard") / "release"


@dataclass(frozen=True)
class Journal:
    """What this machine remembers of a release: the image of a commit, and the steps that it has passed."""

    commit: str = ""
    digest: str = ""
    passed: tuple[str, ...] = ()


def read_journal(file: Path, commit: str) -> Journal:
    """Return what is remembered of a commit's release; a journal of another commit, or a broken one, is of no use."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        document = json.loads(file.read_bytes())
        found = Journal(str(document["commit"]), str(document["digest"]), tuple(map(str, document["passed"])))
        return found if found.commit == commit else Journal()
    return Journal()


def write_journal(file: Path, journal: Journal) -> None:
    """Keep a journal."""
    write_atomically(file, json.dumps(asdict(journal), indent=2) + "\n")
