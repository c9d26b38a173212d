"""Move base images on: pins to what the registry has now, Debian-made bases to the mirror's packages of today."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dockyard import files
from dockyard.bases import cache, debian, lookup, recipe
from dockyard.bases.lookup import Answer, Missing, Pin, Source, UnavailableError, local_name, reference
from dockyard.bases.parallel import run_each
from dockyard.bases.resolve import Known, collect_known, from_registry
from dockyard.errors import DockyardError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine
    from dockyard.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What an update changes for one Python; `before` is empty where there is nothing yet.

    For a pin these are digests, for packages the version of Python, and `packages` names each package's versions.
    """

    python: str
    source: Source
    before: str
    after: str
    packages: Mapping[str, tuple[str, str]]

    @property
    def pending(self) -> bool:
        """Whether there is anything to change."""
        return self.before != self.after or bool(self.packages)


def plan_updates(
    settings: "Settings", engine: "Engine", pythons: Sequence[str]
) -> tuple[tuple[Change, ...], tuple[Missing, ...]]:
    """Return what an update would change for each Python, and the Pythons that have no base here; change nothing."""
    with files.disk_errors():
        pinned = lookup.read_bases_lock(settings.root)
        answers: Mapping[str, Answer] = {}
        if settings.base != "debian":
            log.info("asking the registry")
            answers = lookup.ask_registry(engine, [reference(python) for python in pythons])
        digests = {python: answers[reference(python)].digest for python in pythons if reference(python) in answers}
        changes = [
            Change(python, "registry", pinned[python].digest if python in pinned else "", digest, {})
            for python, digest in digests.items()
            if digest
        ]
        rest = [python for python in pythons if not digests.get(python)]
        if settings.base == "registry":
            known = {python: Known(answer=answers[reference(python)]) for python in rest}
            return tuple(changes), tuple(from_registry(known, rest)[1])
        more, missing = _packages(settings, rest)
        return tuple(sorted((*changes, *more), key=lambda change: pythons.index(change.python))), missing


def apply_updates(settings: "Settings", engine: "Engine", changes: Sequence[Change]) -> None:
    """Carry out those changes that are pending: write bases.lock, make the bases anew and give them to the engine."""
    moved = {change.python: change.after for change in changes if change.source == "registry" and change.pending}
    with files.disk_errors():
        if moved:
            new = {python: Pin(reference(python), digest) for python, digest in moved.items()}
            lookup.write_bases_lock(settings.root, {**lookup.read_bases_lock(settings.root), **new})
        stale = [change.python for change in changes if change.source == "debian" and change.pending]
        allowed = settings.allow_expired_release
        remade = run_each(lambda python: debian.ensure_base(python, allow_expired=allowed, anew=True), stale)
        for outcome in remade.values():
            if isinstance(outcome, DockyardError):
                raise outcome
            cache.load_images(engine, {local_name(outcome.python): outcome})


def move_packages(python: str, record: cache.Record | None, current: str, offered: Mapping[str, str]) -> Change:
    """Return the change from a base to the package versions that a mirror offers (pure).

    A simulated installation may name a few packages more than a real one, so those alone are no change.
    """
    after = recipe.python_version(offered, python)
    if record is None or record.recipe != current:
        return Change(python, "debian", "", after, {})
    held = record.packages
    differing = {name: (held[name], offered[name]) for name in held if offered.get(name, held[name]) != held[name]}
    return Change(python, "debian", record.version, after, differing)


def list_bases(settings: "Settings", pythons: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is known of each Python's base image without asking anybody, as plain values."""
    pinned = lookup.read_bases_lock(settings.root)
    known = collect_known(settings, pythons, pinned)
    rows = []
    for python in pythons:
        record, answer = debian.cached(python), known[python].answer
        rows.append(
            {
                "python": python,
                "reference": reference(python),
                "pin": known[python].pin or None,
                "registry": asdict(answer) if answer else None,
                "debian": _described(python, record) if record else None,
                "release": recipe.RELEASES.get(python),
            }
        )
    return rows


def _described(python: str, record: cache.Record) -> dict[str, Any]:
    return {
        "image": local_name(python),
        "version": record.version,
        "release": record.release,
        "architecture": record.architecture,
        "digest": record.image.config,
        "manifest": record.image.manifest,
        "size": record.image.size,
        "current": record.recipe == debian.current(record.python),
        "packages": dict(record.packages),
    }


def _packages(settings: "Settings", pythons: Sequence[str]) -> tuple[list[Change], tuple[Missing, ...]]:
    if pythons:
        log.info(f"asking the Debian mirror about Python {', '.join(pythons)}")
    changes, missing = [], []
    allowed = settings.allow_expired_release
    for python, offered in run_each(lambda python: debian.simulate(python, allow_expired=allowed), pythons).items():
        if isinstance(offered, UnavailableError):
            missing.append(Missing(python, f"{offered.message}{f' ({offered.hint})' if offered.hint else ''}"))
        elif isinstance(offered, DockyardError):
            raise offered
        else:
            changes.append(move_packages(python, debian.cached(python), debian.current(python), offered))
    return changes, tuple(missing)
