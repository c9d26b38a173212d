"""`invoke lock`: make, check and explain the locks."""

from invoke.context import Context

from dockyard.tasks.boundary import settings, task


@task(
    iterable=["upgrade_package"],
    help={
        "check": "only check, offline: exit 1 and say where when a lock is stale or was edited",
        "upgrade": "let every package move to its newest fitting version",
        "upgrade_package": "let one package move: NAME, or NAME==VERSION; may be repeated",
        "dry_run": "compile and show, write nothing; exit 1 when changes are pending",
        "outdated": "show which packages --upgrade would move, and how far; write nothing",
        "why": "say who asks for a package, in which locks",
        "json": "print the result as JSON",
    },
)
def lock(
    _context: Context,
    check: bool = False,
    upgrade: bool = False,
    upgrade_package: list[str] | None = None,
    dry_run: bool = False,
    outdated: bool = False,
    why: str = "",
    json: bool = False,
) -> None:
    """Compile what is stale of requirements/*.in to hashed locks, one for each purpose and Python."""
    from dockyard.locks import outdated as behind
    from dockyard.locks import show
    from dockyard.locks.plan import Wish

    loaded = settings()
    if check:
        show.checked(loaded, as_json=json)
    elif why:
        show.reasons(loaded, why, as_json=json)
    elif outdated:
        behind.outdated(loaded, as_json=json)
    else:
        show.made(loaded, Wish(upgrade, tuple(upgrade_package or ())), dry_run=dry_run, as_json=json)
