"""Choose where each Python's base image comes from, ask for it or make it, and move it on when that is asked for.

`registry` and `debian` are obeyed. `auto` prefers a registry that answers, and a choice once made is kept as
long as nothing new is learnt, so that one commit does not get one base today and another tomorrow:

- a pin in bases.lock and a registry that answers: the pinned image;
- a pin, and a registry that lately did not answer: Debian packages, without asking again for a while;
- no pin, and a base from Debian packages is at hand: that one, without asking;
- otherwise the registry is asked, once per run and briefly, then packages are taken.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dockyard import console, files
from dockyard.bases import cache, debian, lookup, recipe
from dockyard.bases.lookup import Answer, Base, Missing, Source, UnavailableError, local_name, reference
from dockyard.bases.parallel import run_each
from dockyard.errors import DockyardError

if TYPE_CHECKING:
    from dockyard.engine.client import Engine
    from dockyard.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

__all__ = ["Base", "Missing", "Source", "UnavailableError", "ensure_bases", "local_name", "reference"]


@dataclass(frozen=True)
class Known:
    """What is known about one Python's base images before anybody is asked."""

    pin: str = ""
    made: bool = False
    answer: Answer | None = None


def ensure_bases(
    settings: "Settings",
    engine: "Engine",
    pythons: Sequence[str],
    *,
    run: bool = True,
    heed: Callable[[Missing], None] = lambda _lost: None,
) -> tuple[tuple[Base, ...], tuple[Missing, ...]]:
    """Return the base image of each Python, asking for it or making it where need be, and the Pythons without one.

    When all is at hand this costs one question to the engine, and no network. A Python that cannot be had here
    is Missing, with the reason; trouble with the network, the disk or the engine is raised as DockyardError.
    Without `run`, the bases serve builds only: an engine whose BuildKit reads them from the cache is not given them.
    Then they are for the settings' platforms, while those made from packages are for this machine's alone.
    `heed` is told of each Missing as soon as it is known, mostly before any base is made; it may raise to end all.
    """
    pinned = lookup.read_bases_lock(settings.root)
    foreign = () if run else debian.foreign(settings.platforms)
    records: dict[str, cache.Record] = {}
    with files.disk_errors():
        known = collect_known(settings, pythons, pinned, made=not foreign)
        why = ask_open(settings, engine, known, pinned)
        outcomes = {python: decide_base(settings.base, python, known[python]) for python in pythons}
        packaged = [python for python, outcome in outcomes.items() if outcome is None]
        if foreign and packaged:
            raise refuse_foreign(foreign, packaged, why)
        for outcome in outcomes.values():
            if isinstance(outcome, Missing):
                heed(outcome)
        allowed = settings.allow_expired_release
        for python, made in run_work(
            lambda one: debian.ensure_base(one, allow_expired=allowed), packaged, known
        ).items():
            if isinstance(made, Missing):
                outcomes[python] = made
                heed(made)
            else:
                records[local_name(python)] = made
                outcomes[python] = cache.make_base(made, layouts=engine.snapshotter)
        if run or not engine.snapshotter:
            cache.load_images(engine, records)
    found = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Base))
    if found:
        log.info(summarize_sources({base.python: base.source for base in found}, why), extra=console.ONCE)
    return found, tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Missing))


def refuse_foreign(foreign: Sequence[str], pythons: Sequence[str], why: str) -> DockyardError:
    """Return the error for platforms that bases from packages are not for: BuildKit would take one of another."""
    return DockyardError(
        f"nothing can be built for {', '.join(foreign)} here: the base image of Python {', '.join(pythons)} "
        f"is made from Debian packages, for {debian.own_platform()} alone" + (f" ({why})" if why else ""),
        'use base = "registry", whose images are for many platforms, '
        f"or build for this one alone: `invoke build --platform {debian.own_platform()}`",
    )


def collect_known(
    settings: "Settings", pythons: Sequence[str], pinned: Mapping[str, str], *, made: bool = True
) -> dict[str, Known]:
    """Return what is known about each Python's base images without asking anybody; those `made` here may not count."""
    answers = lookup.recall_answers()
    held = {python for python in pythons if made and settings.base != "registry" and debian.at_hand(python)}
    return {
        python: Known(pinned.get(python, ""), python in held, answers.get(wanted(python, pinned))) for python in pythons
    }


def wanted(python: str, pinned: Mapping[str, str]) -> str:
    """Return the reference to ask a registry for: with the pinned digest where there is one."""
    return f"{reference(python)}@{pinned[python]}" if python in pinned else reference(python)


def ask_open(settings: "Settings", engine: "Engine", known: dict[str, Known], pinned: Mapping[str, str]) -> str:
    """Ask the registry about those Pythons whose choice needs it, add its answers, and return why it gave none."""
    open_ones = [python for python, one in known.items() if choose_source(settings.base, one) == "ask"]
    if not open_ones:
        return ""
    answers = lookup.ask_registry(engine, [wanted(python, pinned) for python in open_ones])
    for python in open_ones:
        known[python] = replace(known[python], answer=answers[wanted(python, pinned)])
    return next((answer.reason for answer in answers.values() if not answer.digest), "")


def decide_base(mode: str, python: str, known: Known) -> Base | Missing | None:
    """Return the base that a registry has, or that there is none, or None for one that Debian packages make (pure).

    Whoever had to be asked has been asked; raise DockyardError where a registry has to answer, and does not.
    """
    name, answer = reference(python), known.answer or Answer(reason="not asked")
    digest = known.pin or answer.digest
    if choose_source(mode, known) == "debian":
        try:
            recipe.release_of(python)
        except UnavailableError as error:
            return explain_missing(python, error, known.answer)
        return None
    if digest:
        return Base(python, name, "registry", f"{name}@{digest}", digest)
    if answer.absent:
        return Missing(python, f"the registry has no {name}")
    raise DockyardError(
        f"the registry does not say what {name} is: {answer.reason}",
        'check the network and the registry, or set base = "debian" (or "auto") to use Debian packages',
    )


def run_work(work: Callable[[str], T], pythons: Sequence[str], known: Mapping[str, Known]) -> dict[str, T | Missing]:
    """Return what some work with Debian packages gives for each Python; one that cannot be had is Missing."""

    def attempt(python: str) -> T | Missing:
        try:
            return work(python)
        except UnavailableError as error:
            return explain_missing(python, error, known.get(python, Known()).answer)

    return run_each(attempt, pythons)


def explain_missing(python: str, error: UnavailableError, answer: Answer | None = None) -> Missing:
    """Return why a Python has no base: what Debian packages lack, and what the registry said."""
    also = f"; the registry: {answer.reason}" if answer and answer.reason else ""
    return Missing(python, f"{error.message}{f' ({error.hint})' if error.hint else ''}{also}")


def choose_source(mode: str, known: Known) -> Source | Literal["ask"]:
    """Return what to do for one Python under the setting `base`: take it from there, or ask the registry first."""
    if mode == "debian" or (mode == "auto" and known.made and not known.pin):
        return "debian"
    if mode == "registry":
        return "registry" if known.pin or (known.answer and known.answer.digest) else "ask"
    if known.answer is None:
        return "ask"
    return "registry" if known.answer.digest else "debian"


def summarize_sources(sources: Mapping[str, str], why: str = "") -> str:
    """Return the one line that says where the bases of some Pythons come from."""
    parts = []
    for source, name in (("registry", "the registry"), ("debian", "Debian packages")):
        if pythons := [python for python, chosen in sources.items() if chosen == source]:
            parts.append(f"{', '.join(pythons)} from {name}")
    return f"base images: Python {'; '.join(parts)}" + (f" ({why})" if why else "")


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
    """Return what an update would change for each Python, and the Pythons that have no base here; change nothing.

    Images of services may be named too: they are pinned where the registry answers, and left alone where not.
    """
    outcomes: dict[str, Change | Base | Missing | None] = {}
    with files.disk_errors():
        pinned = lookup.read_bases_lock(settings.root)
        answers: Mapping[str, Answer] = {}
        if settings.base != "debian":
            log.info("asking the registry")
            answers = lookup.ask_registry(engine, [reference(python) for python in pythons])
        for python in pythons:
            answer = answers.get(reference(python), Answer())
            if answer.digest:
                outcomes[python] = Change(python, "registry", pinned.get(python, ""), answer.digest, {})
            elif lookup.is_python(python):
                outcomes[python] = decide_base(settings.base, python, Known(answer=answer))
            elif answer.reason:  # what packages make of a service is made when a stack first wants it
                log.info(f"{python} stays as it is: {answer.reason}")
        packaged = [python for python, outcome in outcomes.items() if outcome is None]
        if packaged:
            log.info(f"asking the Debian mirror about Python {', '.join(packaged)}")

        def plan(python: str) -> Change:
            offered = debian.simulate(python, allow_expired=settings.allow_expired_release)
            return move_packages(python, debian.cached(python), debian.current(python), offered)

        outcomes |= run_work(plan, packaged, {})
    changes = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Change))
    return changes, tuple(outcome for outcome in outcomes.values() if isinstance(outcome, Missing))


def apply_updates(settings: "Settings", engine: "Engine", changes: Sequence[Change]) -> None:
    """Carry out those changes that are pending: write bases.lock, make the bases anew and give them to the engine."""
    moved = {change.python: change.after for change in changes if change.source == "registry" and change.pending}
    with files.disk_errors():
        if moved:
            lookup.write_bases_lock(settings.root, {**lookup.read_bases_lock(settings.root), **moved})
        stale = [change.python for change in changes if change.source == "debian" and change.pending]
        allowed = settings.allow_expired_release
        remade = run_each(lambda python: debian.ensure_base(python, allow_expired=allowed, anew=True), stale)
        cache.load_images(engine, {local_name(python): record for python, record in remade.items()})


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
                "debian": record
                and {
                    "image": local_name(python),
                    "version": record.version,
                    "release": record.release,
                    "architecture": record.architecture,
                    "digest": record.image.config,
                    "manifest": record.image.manifest,
                    "size": record.image.size,
                    "current": record.recipe == debian.current(python),
                    "packages": dict(record.packages),
                },
                "release": recipe.RELEASES.get(python),
            }
        )
    return rows
