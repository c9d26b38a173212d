"""`invoke push`: bring images to their registry and check that they arrived."""

import logging

from invoke.context import Context

from dockyard import console
from dockyard.tasks.boundary import settings, task

log = logging.getLogger(__name__)


@task(
    iterable=["target", "python", "tag"],
    help={
        "target": "a target whose image is pushed; may be given again (default: production)",
        "python": "a supported Python, or `all`; may be given again (default: the settings' python)",
        "tag": "a tag instead of those from git; may be given again",
        "force": "push although there are uncommitted changes",
        "dry_run": "show what would be pushed",
        "json": "print the result as JSON",
    },
)
def push(
    _context: Context,
    target: list[str],
    python: list[str],
    tag: list[str],
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Push images under their tags, and check that the registry has them."""
    from dockyard.image.build import Request
    from dockyard.registry.push import explain_refusal
    from dockyard.release.push import choose_references, push_variants

    chosen = settings()
    pythons = chosen.pythons if "all" in python else tuple(dict.fromkeys(python))
    request = Request(tuple(dict.fromkeys(target)) or ("production",), pythons, tags=tuple(tag))
    wanted = choose_references(chosen, request)
    if dry_run:
        planned = [(variant.target, variant.python, name) for variant, names in wanted.items() for name in names]
        if json:
            console.as_json([dict(zip(("target", "python", "reference"), row, strict=True)) for row in planned])
            return
        console.table(("target", "Python", "would be pushed as"), planned)
        if dirty := explain_refusal([name for _, _, name in planned], force=force):
            log.warning(dirty)
        return
    pushed = push_variants(chosen, wanted, force=force)
    if json:
        console.as_json([{**vars(image), "pinned": image.pinned} for image in pushed])
        return
    columns = ("pushed", "size", "new layers", "time")
    rows = [(one.reference, console.size(one.size), str(one.pushed), console.duration(one.seconds)) for one in pushed]
    console.table(columns, rows, right=columns[1:])
    for name in dict.fromkeys(image.pinned for image in pushed):
        print(name)
