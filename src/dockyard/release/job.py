"""A release under way: what it has the rest of the pipeline do, what it is, and what this machine remembers of it.

Checks leave nothing that a registry could be asked for: which image has passed them stands in .dockyard/release.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dockyard.bases.resolve import Missing
from dockyard.engine.client import Engine
from dockyard.files import write_atomically
from dockyard.image import build, records
from dockyard.image.build import Built
from dockyard.process import Completed, capture
from dockyard.registry import content, documents, push, sign
from dockyard.registry.content import Repository
from dockyard.registry.documents import Attached
from dockyard.registry.push import Pushed
from dockyard.registry.sign import Signer
from dockyard.release import preconditions
from dockyard.release.plan import Names, State
from dockyard.release.preconditions import Local
from dockyard.release.push import push_variants
from dockyard.settings import Settings
from dockyard.verify import contents, matrix, reproduce, verify
from dockyard.verify.model import Facts
from dockyard.verify.output import Report

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


@dataclass(frozen=True)
class Signing:
    """How an image is signed."""

    explain_hindrance: Callable[[str], str] = sign.explain_hindrance
    unlock_key: Callable[[str, Mapping[str, str]], Signer] = sign.unlock_key
    has_signature: Callable[[Signer, str], bool] = sign.has_signature
    sign_digest: Callable[[Signer, str], None] = sign.sign_digest


@dataclass(frozen=True)
class Actions:
    """What looks, what builds and checks, and what speaks with the registry."""

    read_project: Callable[[Settings], Local] = preconditions.read_project
    require_ready: Callable[[Settings, Engine], None] = preconditions.require_ready
    capture: Callable[..., Completed] = capture
    build_images: Callable[..., tuple[tuple[Built, ...], tuple[Missing, ...]]] = build.build_images
    verify_image: Callable[..., Report] = verify.verify_image
    read_image: Callable[[Engine, str], Facts] = contents.read_image
    reproduce_image: Callable[..., reproduce.Outcome] = reproduce.reproduce_image
    run_matrix: Callable[..., tuple[tuple[matrix.Outcome, ...], tuple[Missing, ...]]] = matrix.run_matrix
    preflight: Callable[[Engine, list[str]], None] = push.preflight
    open_repository: Callable[[Engine, str], AbstractContextManager[Repository]] = content.open_repository
    push_variants: Callable[..., tuple[Pushed, ...]] = push_variants
    verify_pushed: Callable[[Engine, str, str], int] = push.verify_pushed
    attest_image: Callable[..., tuple[Attached, ...]] = documents.attest_image
    record_run: Callable[[Settings, records.Kind], AbstractContextManager[records.Recording]] = records.record_run
    signing: Signing = Signing()


PIPELINE = Actions()


@dataclass(frozen=True)
class Job:
    """A release that is under way: what is wanted, where, of which commit, and whom to tell."""

    settings: Settings
    engine: Engine
    version: str
    commit: str
    section: preconditions.Section
    signer: Signer | None = None
    journal: Journal = field(default_factory=Journal)
    actions: Actions = PIPELINE

    @property
    def file(self) -> Path:
        """Where the journal is; the release notes are beside it."""
        return self.settings.root / FOLDER / f"{self.version}.json"

    @property
    def notes(self) -> Path:
        """Where the release notes are."""
        return self.settings.root / FOLDER / f"{self.version}.md"

    def reference(self, tag: str) -> str:
        """Return the image's name with a tag."""
        return f"{self.settings.repository}:{tag}"

    def pinned(self, state: State) -> str:
        """Return the name that means the released image for ever."""
        return f"{self.settings.repository}@{state.digest}"

    def text(self, state: State) -> str:
        """Return what the release notes say."""
        name = self.settings.image.rsplit("/", 1)[-1]
        return preconditions.format_notes(name, self.section, self.pinned(state), state.names.every)


@dataclass(frozen=True)
class Shipped:
    """A complete release as the registry has it, `size` in bytes; `changed` is whether this run did anything for it."""

    version: str
    commit: str
    repository: str
    digest: str
    size: int
    names: Names
    unsigned: str
    notes: Path
    changed: bool
