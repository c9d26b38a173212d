"""Which lock takes over which other one's pins."""

from pathlib import Path

from dockyard.locks.check import find_agreements, list_included
from dockyard.locks.inputs import Input, parse_input, read_closure


def closures(**files: str) -> dict[str, tuple[Input, ...]]:
    """Return the closures of purposes whose files have these texts."""
    known = {
        f"requirements/{name}.in": parse_input(f"requirements/{name}.in", text.encode()) for name, text in files.items()
    }
    return {name: read_closure(Path(), name, known) for name in files}


def test_production_decides_and_what_is_included_follows() -> None:
    """Production takes over nothing, though it includes base; the others take over production and what they include."""
    order = find_agreements(
        closures(base="flask\n", development="-r test.in\n", production="-r base.in\n", test="-r base.in\npytest\n")
    )
    assert list(order) == ["production", "base", "test", "development"]
    assert order["production"] == ()
    assert order["base"] == ("production",)
    assert order["development"] == ("production", "base", "test")


def test_locks_are_made_in_layers() -> None:
    """Whatever their names: all that can be made at a time comes before what waits for it, as headers name them so."""
    order = find_agreements(closures(aa="-r zz.in\n", mm="rq\n", production="flask\n", zz="rq\n"))
    assert list(order) == ["production", "mm", "zz", "aa"]


def test_purposes_without_production_agree_with_what_they_include() -> None:
    """Names are free: two purposes that do not know each other need not agree."""
    assert find_agreements(closures(web="flask\n", worker="rq\n", all="-r web.in\n-r worker.in\n")) == {
        "web": (),
        "worker": (),
        "all": ("web", "worker"),
    }


def test_what_ships_is_production_and_all_that_it_includes() -> None:
    """Not what it is only constrained by, and not what includes it."""
    files = {"base": "flask\n", "extra": "rq\n", "web": "-r base.in\n", "test": "-r production.in\npytest\n"}
    assert list_included("production", closures(**files, production="-r web.in\n-c extra.in\n")) == {
        "production",
        "web",
        "base",
    }
    assert list_included("production", closures(base="flask\n", web="-r base.in\n")) == set()
