"""`invoke base.list` and `invoke base.update`: the images that a Dockerfile's FROM stands for."""

from typing import TYPE_CHECKING

from dockyard import console
from dockyard.tasks.boundary import settings, task
from dockyard.tasks.build import read_request

if TYPE_CHECKING:
    from dockyard.engine.client import Engine
    from dockyard.settings import Settings


@task(name="list", help={"json": "print the list as JSON, with every Debian package"})
def show(json: bool = False) -> None:
    """List each Python's base image: its pin, and the one made from Debian packages; and pins of services."""
    from dockyard.bases import lookup
    from dockyard.bases.resolve import list_bases

    chosen = settings()
    rows = list_bases(chosen, chosen.pythons)
    pins = lookup.read_bases_lock(chosen.root).items()
    services = [{"reference": name, "digest": digest} for name, digest in pins if not lookup.is_python(name)]
    cells = []
    for row in rows:
        made = row["debian"]
        known = ("not yet" if row["release"] else "no release ships it", "-", "-")
        if made:
            stale = "" if made["current"] else ", by an older recipe"
            known = (f"{made['release']}{stale}", made["version"], console.size(made["size"]))
        cells.append((row["python"], (row["pin"] or "-")[:19], *known))
    cells += [(one["reference"], one["digest"][:19], "-", "-", "-") for one in services]
    columns = ("image", "pinned in bases.lock", "made from Debian", "version", "size")
    told = {"base": chosen.base, "bases": rows, "services": services}
    console.tell(told, columns, cells, json=json, title=f'base = "{chosen.base}"', right=("size",))


@task(
    help={
        "python": "a supported Python; may be given again (default: all, and the images of the stack's services)",
        "dry_run": "only show what would change, and exit with 1 if anything would",
        "json": "print the changes as JSON",
    },
)
def update(python: list[str], dry_run: bool = False, json: bool = False) -> None:
    """Move the pins in bases.lock, also of services, to the registry's images, and Debian-made bases to the mirror."""
    from dockyard.bases.resolve import apply_updates, plan_updates
    from dockyard.engine.client import find_engine
    from dockyard.errors import ChangesPending

    chosen = settings()
    pythons = [each.python for each in read_request(chosen, (), python or ["all"], ()).variants(chosen)]
    engine = find_engine(chosen)
    images = () if python else list_services(chosen, engine)
    changes, missing = plan_updates(chosen, engine, (*pythons, *images))
    pending = [change for change in changes if change.pending]
    if pending and not dry_run:
        apply_updates(chosen, engine, pending)
    rows = []
    for change in changes:
        moved = [f"{name} {old} → {new}" for name, (old, new) in change.packages.items()]
        more = [f"and {len(moved) - 3} more"] if len(moved) > 3 else []
        after = "\n".join([change.after[:19], *moved[:3], *more]) if change.pending else "up to date"
        rows.append((change.python, change.source, change.before[:19] or "-", after))
    planned = [{**vars(change), "pending": change.pending} for change in changes]
    told = {"changes": planned, "missing": missing, "applied": bool(pending) and not dry_run}
    console.tell(told, ("image", "source", "from", "to"), rows, json=json)
    for absent in missing:
        console.log.warning(f"Python {absent.python} cannot be updated: {absent.reason}")
    if pending and dry_run:
        names = ", ".join(change.python for change in pending)
        raise ChangesPending(f"images can be updated: {names}", "`invoke base.update` does it")


def list_services(chosen: "Settings", engine: "Engine") -> tuple[str, ...]:
    """Return the images of the stack's services that may be pinned; none where there is no Compose file."""
    from dockyard.stack import compose, prepare
    from dockyard.stack.stack import Stack, find_files, read_model

    if not any((chosen.root / file).is_file() for file in compose.FILES):
        return ()
    stack = Stack(chosen, engine, find_files(chosen.root, production=False))
    return prepare.list_official_images(read_model(stack))
