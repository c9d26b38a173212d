"""What a base image is, which one a project is held to, and what a registry says: asked briefly, and remembered.

The reference is written as in the Dockerfile: which registry answers is the configuration of the engine, not ours.
bases.lock holds images by digest; it is committed, `invoke base.update` writes it, and nothing else does.
"""

import json
import re
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dockyard import files
from dockyard.bases.parallel import run_each
from dockyard.errors import CommandError, DockyardError, SettingsError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine


Source = Literal["registry", "debian"]
ANSWER_SECONDS = 24 * 3600
"""How long a registry's answer counts."""
SILENCE_SECONDS = 15 * 60
"""How long a registry that did not answer is left alone."""


class UnavailableError(DockyardError):
    """A Python has no base image here, while others may: callers name it in their summary and go on."""


@dataclass(frozen=True)
class Base:
    """The image that stands behind `reference`, which is what the Dockerfile's FROM says.

    `image` is its name for the engine (`docker run`, docker-image://). `digest` names its content: the
    registry's manifest, or for Debian packages the image configuration, which names the uncompressed layer.
    `layout` is FOLDER@DIGEST of an OCI layout on this host, empty where the engine must resolve `image`.
    """

    python: str
    reference: str
    source: Source
    image: str
    digest: str
    layout: str = ""

    @property
    def context(self) -> str:
        """The value of the named build context that replaces `reference`.

        BuildKit reads a layout through the client, so that it reaches for no registry at all and a remote
        builder can use it too. An image of the engine, in containerd's store, is looked up in a registry first.
        """
        return f"oci-layout://{self.layout}" if self.layout else f"docker-image://{self.image}"


@dataclass(frozen=True)
class Missing:
    """A Python without a base image here, and why."""

    python: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """What a registry said about a reference: a digest, or why not; `at` is in seconds since the epoch."""

    digest: str = ""
    reason: str = ""
    at: float = 0.0
    absent: bool = False

    def fresh(self, now: float) -> bool:
        """Tell whether it still counts."""
        return 0 <= now - self.at < (ANSWER_SECONDS if self.digest else SILENCE_SECONDS)


def reference(python: str) -> str:
    """Return what the Dockerfile's FROM says for a Python; the image of a service is named as its stack names it."""
    return f"python:{python}-slim" if is_python(python) else python


def is_python(name: str) -> bool:
    """Tell whether a name is a Python's, and not that of the image of a service, such as postgres:17."""
    return name.replace(".", "").isdecimal()


def local_name(python: str) -> str:
    """Return the name in the engine of a base made from Debian packages."""
    return f"dockyard-base/{reference(python)}"


FILE = "bases.lock"
HEAD = "# Base images by digest: written by `invoke base.update`, to be committed.\n"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


MEND = "delete the file and run `invoke base.update`"


def read_bases_lock(root: Path) -> dict[str, str]:
    """Return the digests that a project is held to, by Python and by the image of a service; raise SettingsError."""
    try:
        return parse_bases_lock((root / FILE).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{FILE}: cannot be read: {error}", MEND) from None


def write_bases_lock(root: Path, pins: Mapping[str, str]) -> None:
    """Replace the project's pins; the reference beside each digest is for people."""
    pythons = sorted(filter(is_python, pins), key=lambda python: [int(part) for part in python.split(".")])
    tables = (
        f'\n[{"python" if is_python(name) else "service"}."{name}"]\n'
        f'reference = "{reference(name)}"\ndigest = "{pins[name]}"\n'
        for name in (*pythons, *sorted(pins.keys() - set(pythons)))
    )
    files.write_atomically(root / FILE, HEAD + "".join(tables))


def parse_bases_lock(text: str) -> dict[str, str]:
    """Return the pins that a file's text holds; raise SettingsError naming the line's place and value."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{FILE}: not valid TOML: {error}", MEND) from None
    pins: dict[str, str] = {}
    for kind, held in (("python", "version"), ("service", "image")):
        tables = document.get(kind, {})
        if not isinstance(tables, dict):
            raise SettingsError(f"{FILE}: {kind} must be a table for each {held}", MEND)
        for name, table in tables.items():
            digest = table.get("digest") if isinstance(table, dict) else table
            if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
                wrong = f'[{kind}."{name}"] digest = {digest!r}: must be sha256: and 64 hexadecimal digits'
                raise SettingsError(f"{FILE}: {wrong}", MEND)
            pins[name] = digest
    return pins


PATIENCE = 5.0
"""Seconds that a registry gets to answer."""
ABSENT = re.compile(r"(?i)not found|manifest unknown|name unknown|no such manifest")
MEMORY = "answers.json"


def ask_registry(engine: "Engine", references: Sequence[str]) -> dict[str, Answer]:
    """Return what the registry says about each reference; all are asked at the same time, and remembered."""
    answers = run_each(lambda reference: ask_once(engine, reference), references)
    remember_answers(answers)
    return answers


def recall_answers(now: float | None = None) -> dict[str, Answer]:
    """Return the answers that still count."""
    now = time.time() if now is None else now
    try:
        stored = json.loads((files.folder() / MEMORY).read_text("utf-8"))
        answers = {reference: Answer(**fields) for reference, fields in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {reference: answer for reference, answer in answers.items() if answer.fresh(now)}


def remember_answers(answers: Mapping[str, Answer]) -> None:
    """Add answers to those that still count."""
    kept = {reference: asdict(answer) for reference, answer in {**recall_answers(), **answers}.items()}
    files.write_atomically(files.folder() / MEMORY, json.dumps(kept, indent=1) + "\n")


def read_refusal(said: str, now: float) -> Answer:
    """Return the answer in an error of `docker buildx imagetools inspect`: unreachable, or without that image."""
    line = (said.strip().splitlines() or ["no answer"])[-1].removeprefix("ERROR: ")
    line = re.sub(r'failed to do request: \w+ "[^"]*": |dial tcp: ', "", line)
    return Answer(reason=line, at=now, absent=bool(ABSENT.search(line)) and "lookup" not in line)


def ask_once(engine: "Engine", reference: str, patience: float = PATIENCE) -> Answer:
    """Return what the registry says about a reference within so many seconds."""
    words = ("buildx", "imagetools", "inspect", reference, "--format", "{{json .Manifest}}")
    said = ""
    try:
        said = engine.run(*words, timeout=patience).stdout
        return Answer(digest=str(json.loads(said)["digest"]), at=time.time())
    except CommandError as error:
        silent = error.message if error.returncode == 127 else f"no answer within {patience:g} s"
        return read_refusal(error.output or silent, time.time())
    except (ValueError, KeyError, TypeError):
        return Answer(reason=f"the registry's answer is not understood: {said.strip()[:80]!r}", at=time.time())
