"""What `invoke lock` does and prints: the meeting point of the locks, the engine and the report."""

import logging
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import ChangesPending, UsageError
from dockyard.locks import check, options
from dockyard.locks import pins as body
from dockyard.locks.plan import Wish, text

if TYPE_CHECKING:
    from dockyard.locks.lock import Outcome
    from dockyard.settings import Settings

log = logging.getLogger(__name__)


def checked(settings: "Settings", *, as_json: bool) -> None:
    """Check the locks offline and print every problem; raise ChangesPending when there is one."""
    problems = check.check(options.of(settings))
    if as_json:
        console.as_json([problem._asdict() for problem in problems])
    elif problems:
        console.table(("where", "what is wrong"), [(f"{each.path}:{each.line}", each.message) for each in problems])
    if problems:
        mends = "; ".join(dict.fromkeys(problem.mend for problem in problems))
        raise ChangesPending(f"{_count(len(problems), 'problem')} with the locks", f"to mend: {mends}")
    log.info("every lock is as its inputs want it")


def made(settings: "Settings", wish: Wish, *, dry_run: bool, as_json: bool) -> None:
    """Compile, show what changed, and write it; in a dry run raise ChangesPending instead."""
    from dockyard.engine import client
    from dockyard.locks import lock as make

    outcome = make.make(settings, wish, find_engine=lambda: client.find_engine(settings))
    if not dry_run:
        make.write(settings, outcome)
    if as_json:
        console.as_json(described(outcome))
    elif outcome.changes:
        console.table(("package", "from", "to", "step", "locks", "because of"), rows(settings, outcome))
    for line in outcome.yanked:
        log.warning(line)
    if outcome.built and not as_json:
        console.table(("built from source", "on", "locks"), built_rows(settings, outcome))
    for problem in outcome.unbuildable:
        log.info(f"{problem.path}:{problem.line}: {problem.message}; {problem.mend}")
    log.info(summary(outcome, dry_run=dry_run))
    if dry_run and outcome.pending:
        raise ChangesPending("the locks would change", "run it again without --dry-run")


def reasons(settings: "Settings", name: str, *, as_json: bool) -> None:
    """Print who asks for a package, for each lock that has it; locks with one story share a row."""
    from dockyard.locks.why import chains

    stories: dict[tuple[str, tuple[tuple[str, ...], ...]], list[str]] = {}
    for lock in check.inspect(options.of(settings)).locks:
        pins = {pin.name: pin for pin in body.parse(text(lock))}
        if pin := pins.get(body.canonical_name(name)):
            stories.setdefault((pin.requirement, chains(name, pins)), []).append(lock.path)
    if not stories:
        raise UsageError(
            f"no lock has a package {name}", "`invoke lock --check` shows whether the locks are up to date"
        )
    if as_json:
        console.as_json([{"pin": pin, "locks": paths, "chains": ways} for (pin, ways), paths in stories.items()])
        return
    shown = [
        (pin, "\n".join(" -> ".join(way) for way in ways), places(settings, paths))
        for (pin, ways), paths in stories.items()
    ]
    console.table(("pin", "asked for by", "locks"), shown)


def described(outcome: "Outcome") -> dict[str, Any]:
    """Return an outcome for machines."""
    return {
        "changes": [
            {
                "package": each.package,
                "from": each.before or None,
                "to": each.after or None,
                "step": each.step,
                "locks": each.locks,
                "via": each.via,
            }
            for each in outcome.changes
        ],
        "rehashed": outcome.rehashed,
        "yanked": outcome.yanked,
        "built": [each._asdict() for each in outcome.built],
        "files": sorted(outcome.files),
        "compiled": outcome.locks,
    }


def rows(settings: "Settings", outcome: "Outcome") -> list[tuple[str, ...]]:
    """Return the rows of the table of changes."""
    return [
        (each.package, each.before or "-", each.after or "-", each.step, places(settings, each.locks), each.why)
        for each in outcome.changes
    ]


def built_rows(settings: "Settings", outcome: "Outcome") -> list[tuple[str, ...]]:
    """Return the rows of the table of packages without a wheel."""
    return [(each.package, ", ".join(each.platforms), places(settings, each.locks)) for each in outcome.built]


def summary(outcome: "Outcome", *, dry_run: bool) -> str:
    """Return the last line of a run."""
    removed = sum(new is None for new in outcome.files.values())
    written = len(outcome.files) - removed
    would = "would be " if dry_run else ""
    said = f"{_count(written, 'lock')} {would}written" if written else "no lock changed" if outcome.locks else ""
    parts = [said or "nothing was stale", f"{removed} {would}removed" if removed else ""]
    if outcome.rehashed and not outcome.changes:
        parts.append(f"new hashes for {', '.join(outcome.rehashed)}")
    return "; ".join(filter(None, parts))


def places(settings: "Settings", paths: "list[str] | tuple[str, ...]") -> str:
    """Name locks briefly: 'all' or 'production 3.11 3.12, test all'."""
    wanted: dict[str, list[str]] = {}
    for path in paths:
        _, python, file = path.split("/")
        wanted.setdefault(file.removesuffix(".txt"), []).append(python)
    every = len(settings.pythons)
    short = {purpose: "all" if len(pythons) == every else " ".join(pythons) for purpose, pythons in wanted.items()}
    if set(short) == set(check.purposes(str(settings.root))) and set(short.values()) == {"all"}:
        return "all"
    return ", ".join(f"{purpose} {pythons}" for purpose, pythons in short.items())


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
