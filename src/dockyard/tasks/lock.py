"""`invoke lock`: make, check and explain the locks, and print what came of it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dockyard import console
from dockyard.errors import ChangesPending, UsageError
from dockyard.tasks.boundary import settings, task

if TYPE_CHECKING:
    from dockyard.image.record_types import LockRecord
    from dockyard.locks.compile import Outcome
    from dockyard.locks.inputs import Problem
    from dockyard.locks.plan import Wish
    from dockyard.settings import Settings


@task(
    help={
        "check": "only check, offline: exit 1 and say where when a lock is stale or was edited",
        "upgrade": "let every package move to its newest fitting version",
        "upgrade_package": "let one package move: NAME, or NAME==VERSION; may be repeated",
        "dry_run": "compile and show, write nothing; exit 1 when changes are pending",
        "outdated": "show which packages --upgrade would move, and how far; write nothing",
        "why": "say who asks for a package, in which locks",
    },
)
def lock(
    check: bool = False,
    upgrade: bool = False,
    upgrade_package: list[str] | None = None,
    dry_run: bool = False,
    outdated: bool = False,
    why: str = "",
    json: bool = False,
) -> None:
    """Compile what is stale of requirements/*.in to hashed locks, one for each purpose and Python."""
    from dockyard.locks.plan import Wish

    loaded = settings()
    if check:
        print_problems(loaded, as_json=json)
    elif why:
        print_chains(loaded, why, as_json=json)
    elif outdated:
        print_outdated(loaded, as_json=json)
    else:
        make_and_print(loaded, Wish(upgrade, tuple(upgrade_package or ())), dry_run=dry_run, as_json=json)


def print_problems(project: "Settings", *, as_json: bool) -> None:
    """Check the locks offline and print every problem; raise ChangesPending when there is one."""
    from dockyard.locks.check import check_project

    problems = (*check_project(project), *find_uncopied_lines(project))
    if problems or as_json:
        rows = [(f"{each.path}:{each.line}", each.message) for each in problems]
        console.tell([each._asdict() for each in problems], ("where", "what is wrong"), rows, json=as_json)
    if problems:
        mends = "; ".join(dict.fromkeys(problem.mend for problem in problems))
        raise ChangesPending(f"{_count(len(problems), 'problem')} with the locks", f"to mend: {mends}")
    console.log.info("every lock is as its inputs want it")


def find_uncopied_lines(project: "Settings") -> "Iterator[Problem]":
    """Yield what the project asks for elsewhere by now, where `dockyard init` has copied it into an input once."""
    from dockyard.adopt.files import COPIED, PRODUCTION, find_uncopied
    from dockyard.adopt.snapshot import read_snapshot
    from dockyard.locks.inputs import Problem

    file = project.root / PRODUCTION
    if not file.is_file() or COPIED not in file.read_text("utf-8", "replace"):
        return  # a large repository is not read for nothing
    lines, source = find_uncopied(read_snapshot(project.root))
    for line in lines:
        mend = "copy what `dockyard init --diff` shows; or take out the comment, and the file is yours alone"
        yield Problem(PRODUCTION, 1, f"{line} is missing, which {source} asks for", mend)


def warn_of_stale_locks(project: "Settings", *, locked: bool) -> None:
    """Say that a build takes locks which are not as their inputs want them; with `locked` raise instead."""
    from dockyard.locks.check import inspect_locks, list_purposes

    found = inspect_locks(project)
    problems = found.problems if list_purposes(project.root) else ()
    if not problems or (found.unmade and not locked):  # a build says itself that there is no lock at all
        return
    first = problems[0]
    more = f", and {_count(len(problems) - 1, 'more problem')} with the locks" if len(problems) > 1 else ""
    said = f"{first.path}:{first.line}: {first.message}{more}"
    if locked:
        raise ChangesPending(said, f"to mend: {first.mend}")
    console.log.warning(f"{said}; the image gets the locks as they are; to mend: {first.mend}")


def make_and_print(project: "Settings", wish: "Wish", *, dry_run: bool, as_json: bool) -> None:
    """Compile, show what changed, and write it; in a dry run raise ChangesPending instead."""
    from dockyard.image.records import record_run
    from dockyard.locks.compile import make_locks, write_outcome

    if dry_run:
        outcome = make_locks(project, wish)
    else:
        with record_run(project, "lock") as recording:
            with recording.step("compile"):
                outcome = make_locks(project, wish)
            write_outcome(project, outcome)
            recording.details["lock"] = describe_changes(outcome)
            recording.failed = outcome.failed is not None
            recording.idle = not outcome.locks and not outcome.files
    if as_json:
        console.as_json(describe_outcome(outcome))
    else:
        print_outcome(project, outcome)
    for line in outcome.yanked:
        console.log.warning(line)
    console.log.info(summarize_outcome(outcome, dry_run=dry_run))
    if outcome.failed:
        raise outcome.failed
    if dry_run and outcome.files:
        raise ChangesPending("the locks would change", "run it again without --dry-run")


def print_outcome(project: "Settings", outcome: "Outcome") -> None:
    """Print what changed, and what is built from source."""
    if outcome.changes:
        rows = []
        for each in outcome.changes:
            askers = ", ".join(name.removeprefix("-r ") for name in each.via)
            locks = name_locks(project, each.locks)
            rows.append((each.package, each.before or "-", each.after or "-", each.step, locks, askers))
        console.table(("package", "from", "to", "step", "locks", "because of"), rows)
    if outcome.built:
        sources = [(each.package, ", ".join(each.platforms), name_locks(project, each.locks)) for each in outcome.built]
        console.table(("built from source", "on", "locks"), sources)


def describe_changes(outcome: "Outcome") -> "LockRecord":
    """Return what a run record holds of new locks: a package that moved alike in several is told once."""
    moved = dict.fromkeys((each.package, each.before or None, each.after or None) for each in outcome.changes)
    return {
        "locks": outcome.locks,
        "changes": [{"name": name, "from": before, "to": after} for name, before, after in moved],
    }


def print_chains(project: "Settings", name: str, *, as_json: bool) -> None:
    """Print who asks for a package, for each lock that has it; locks with one story share a row."""
    from dockyard.locks.check import inspect_locks
    from dockyard.locks.pins import find_chains, read_name

    stories: dict[tuple[str, tuple[tuple[str, ...], ...]], list[str]] = {}
    for one in inspect_locks(project).locks:
        pins = {pin.name: pin for pin in one.pins}
        if found := pins.get(read_name(name)):
            stories.setdefault((found.requirement, find_chains(name, pins)), []).append(one.path)
    if not stories:
        raise UsageError(f"no lock has a package {name}", "`invoke lock --check` shows whether all are up to date")
    told = [{"pin": pin, "locks": paths, "chains": ways} for (pin, ways), paths in stories.items()]
    rows = [
        (pin, "\n".join(" -> ".join(way) for way in ways), name_locks(project, paths))
        for (pin, ways), paths in stories.items()
    ]
    console.tell(told, ("pin", "asked for by", "locks"), rows, json=as_json)


def describe_outcome(outcome: "Outcome") -> dict[str, Any]:
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
        "yanked": outcome.yanked,
        "built": [each._asdict() for each in outcome.built],
        "files": sorted(outcome.files),
        "compiled": outcome.locks,
    }


def summarize_outcome(outcome: "Outcome", *, dry_run: bool) -> str:
    """Return the last line of a run."""
    removed = sum(new is None for new in outcome.files.values())
    written = len(outcome.files) - removed
    would = "would be " if dry_run else ""
    said = f"{_count(written, 'lock')} {would}written" if written else "no lock changed" if outcome.locks else ""
    return (said or "nothing was stale") + (f"; {removed} {would}removed" if removed else "")


def name_locks(project: "Settings", paths: Sequence[str]) -> str:
    """Name locks briefly: 'all' or 'production 3.11 3.12, test all'."""
    from dockyard.locks.check import list_purposes

    wanted: dict[str, list[str]] = {}
    for path in paths:
        _, python, file = path.split("/")
        wanted.setdefault(file.removesuffix(".txt"), []).append(python)
    every = len(project.pythons)
    short = {purpose: "all" if len(pythons) == every else " ".join(pythons) for purpose, pythons in wanted.items()}
    if set(short) == set(list_purposes(project.root)) and set(short.values()) == {"all"}:
        return "all"
    return ", ".join(f"{purpose} {pythons}" for purpose, pythons in short.items())


def print_outdated(project: "Settings", *, as_json: bool) -> None:
    """Print the newest version that each Python and the inputs allow, for every pin that is another."""
    from dockyard.locks.compile import make_locks
    from dockyard.locks.plan import Wish

    outcome = make_locks(project, Wish(everything=True))
    if outcome.failed:
        raise outcome.failed
    columns = ("package", "locked", "newest", "step", "locks")
    # What an upgrade adds or drops is not outdated.
    behind = [each for each in outcome.changes if each.before and each.after]
    told = [(each.package, each.before, each.after, each.step, each.locks) for each in behind]
    if told or as_json:
        rows = [(*row, name_locks(project, locks)) for *row, locks in told]
        console.tell([dict(zip(columns, row, strict=True)) for row in told], columns, rows, json=as_json)
    allowed = "what the .in files and each Python allow"
    said = f"{_count(len({each.package for each in behind}), 'package')} behind {allowed}"
    tip = "`invoke lock --upgrade` takes the newest"
    console.log.info(f"{said}; {tip}" if behind else f"no package is behind {allowed}")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
