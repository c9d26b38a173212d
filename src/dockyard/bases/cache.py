"""Keep the images made from Debian packages: one OCI layout each in the cache, and their names in engines.

`python-VERSION-ARCH.json` or `service-NAME-ARCH.json` in the cache says what is current; the layout that it names is
complete before the file is written, so that an interrupt leaves the older image or none, never half a one.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dockyard import files, process
from dockyard.bases import oci
from dockyard.bases.model import Base, local_name, reference
from dockyard.errors import CommandError, EngineError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine


@dataclass(frozen=True)
class Record:
    """An image made from Debian packages: what is in it and where its layout lies, relative to the cache.

    `kind` is "python", and `python` the base's version; or it is "service", and `python` the service's name.
    """

    python: str
    version: str
    release: str
    architecture: str
    recipe: str
    packages: Mapping[str, str]
    image: oci.Image
    folder: str
    kind: str = "python"


def read_record(python: str, architecture: str, kind: str = "python") -> Record | None:
    """Return the current base of a Python, or None where the cache has none that is whole."""
    try:
        found = json.loads(_file(kind, python, architecture).read_text("utf-8"))
        record = Record(**{**found, "image": oci.Image(**found["image"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if oci.complete(files.folder() / record.folder, record.image) else None


def store_record(made: Path, record: Record) -> Record:
    """Move a finished layout into the cache, make it the current base of its Python and forget the older one."""
    stem = _stem(record.kind, record.python, record.architecture)
    name = f"{stem}-{record.image.manifest.partition(':')[2][:12]}"
    record = dataclasses.replace(record, folder=name)
    place = files.folder() / name
    if not oci.complete(place, record.image):
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
    files.write_atomically(files.folder() / f"{stem}.json", json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    for older in files.folder().glob(f"{stem}-*/"):
        if older != place:
            shutil.rmtree(older, ignore_errors=True)
    return record


def make_base(record: Record, *, layouts: bool) -> Base:
    """Return the base that a record describes; `layouts` says whether the engine's BuildKit can read a layout."""
    place = f"{files.folder() / record.folder}@{record.image.manifest}" if layouts else ""
    name = local_name(record.python)
    return Base(record.python, reference(record.python), "debian", name, record.image.config, place)


def load_images(engine: "Engine", records: Mapping[str, Record]) -> None:
    """Give the engine every image, by its name there, that it lacks or has in another state.

    That is one question, and nothing else if it has all.
    """
    held = list_layers(engine, tuple(records))
    for name, record in records.items():
        if held.get(name) == record.image.diff_id:
            continue
        content = oci.archive(files.folder() / record.folder, record.image, name)
        try:
            process.capture(engine.command("load", "--quiet", input=content))
        except CommandError as error:
            raise EngineError(
                f"the engine did not take the image {name}: {error.output}",
                "`invoke doctor` shows how much its disk has left; then run this again",
            ) from None


def list_layers(engine: "Engine", names: Sequence[str]) -> dict[str, str]:
    """Return, of the images that the engine has, the digest of the layer of those with a single one."""
    if not names:
        return {}
    asked = ("image", "inspect", "--format", '{"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}}}', *names)
    found: dict[str, str] = {}
    for line in process.capture(engine.command(*asked), check=False).stdout.splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if len(said["layers"] or ()) == 1:
                found.update(dict.fromkeys(said["tags"] or (), said["layers"][0]))
    return found


def _file(kind: str, name: str, architecture: str) -> Path:
    return files.folder() / f"{_stem(kind, name, architecture)}.json"


def _stem(kind: str, name: str, architecture: str) -> str:
    return f"{kind}-{name}-{architecture}"
