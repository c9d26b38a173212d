"""Tests that hold the house to its rules: few rooms, no circles, short modules, one fence."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from .house import GROUND, SOURCE, House, draw_house, order_circles, read_house


@pytest.fixture(scope="module")
def house() -> House:
    """Return the house as the source has it now."""
    return read_house()


def test_the_top_is_seen_in_one_look(house: House) -> None:
    """At most 8 modules that everything stands on, and at most 12 folders, each of one subject."""
    ground = {name for name, room in house.place.items() if room == GROUND} - {"__init__"}
    folders = {module.room for module in house.modules.values()} - {GROUND}
    assert len(ground) <= 8, sorted(ground)
    assert len(folders) <= 12, sorted(folders)


def test_no_modules_go_in_circles(house: House) -> None:
    """No module leads back to itself, also not by an import inside a function."""
    assert house.circles == []


def test_rooms_stand_on_floors(house: House) -> None:
    """No room looks up: their imports make no circle either, and at most 9 floors."""
    assert [circle for circle in order_circles(house.rooms) if len(circle) > 1] == []
    assert len(house.floors) <= 9


def test_modules_are_short(house: House) -> None:
    """No module has more than 400 lines."""
    assert {module.name: module.lines for module in house.modules.values() if module.lines > 400} == {}


def test_no_module_shares_its_name_with_its_function(house: House) -> None:
    """So no import needs an alias; the doors' functions are named as people type them, and nobody imports those."""
    doors = {name for name, room in house.place.items() if room == "tasks"}
    names = {name for name, module in house.modules.items() if name.rpartition(".")[2] in module.functions}
    assert names - doors == set()


def test_no_module_is_renamed_where_it_is_imported(house: House) -> None:
    """A name that clashes is mended where it is given: `build as building` reads as two things."""
    renamed = re.compile(r"^\s*from (dockyard[\w.]*) import .*?\b(\w+) as \w+", re.MULTILINE)
    found = [each for path in SOURCE.rglob("*.py") for each in renamed.findall(path.read_text("utf-8"))]
    names = {f"{package}.{name}".removeprefix("dockyard.") for package, name in found}
    assert names & house.modules.keys() == set()


def test_the_payload_is_fenced(house: House) -> None:
    """What runs inside containers imports the standard library and itself, and nothing on the host imports it."""
    inside = {name for name, room in house.place.items() if room == "payload"}
    assert inside
    for name in inside:
        assert house.modules[name].foreign <= sys.stdlib_module_names, name
        assert house.imports[name] <= inside, name
    assert [name for name in house.imports.keys() - inside if house.imports[name] & inside] == []


def test_one_module_starts_programs(house: House) -> None:
    """On the host, whatever is started goes through one place."""
    starters = {name for name, module in house.modules.items() if "subprocess" in module.foreign}
    assert {name for name in starters if house.place[name] != "payload"} <= {"process"}


def test_pipeline_and_service_do_not_know_each_other(house: House) -> None:
    """They meet only in the documented format of run records."""
    service = read_house(Path(__file__).parents[1] / "src" / "ledger")
    assert not any("ledger" in module.foreign for module in house.modules.values())
    assert not any("dockyard" in module.foreign for module in service.modules.values())


Build = Callable[[Mapping[str, str]], House]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Return a function that reads a small package of these files."""

    def write(files: Mapping[str, str]) -> House:
        for name, text in files.items():
            path = tmp_path / "small" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_house(tmp_path / "small")

    return write


def test_every_way_to_import_counts(build: Build) -> None:
    """Absolute, relative, inside a function, a name out of a module or a package; not what only types need."""
    found = build(
        {
            "__init__.py": "",
            "a.py": "import small.b\nfrom small.room import inner\nfrom typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import small.d\n",
            "b.py": "def f():\n    from small.c import x\n",
            "c.py": "from . import d\nfrom .room.inner import y\n",
            "d.py": "import json\nfrom small import __version__\n",
            "room/__init__.py": "from small.room.inner import y\n",
            "room/inner.py": "from ..d import x\n",
        }
    )
    assert found.imports == {
        "__init__": frozenset(),
        "a": {"b", "room.inner"},
        "b": {"c"},
        "c": {"d", "room.inner"},
        "d": frozenset(),
        "room": {"room.inner"},
        "room.inner": {"d"},
    }
    assert found.modules["d"].foreign == {"json"}


def test_circles_are_found(build: Build) -> None:
    """Of any length, and none where modules only share what they import."""
    found = build(
        {"a.py": "import small.b", "b.py": "import small.c", "c.py": "import small.a", "d.py": "import small.a"}
    )
    assert found.circles == [["a", "b", "c"]]


def test_rooms_stand_above_what_they_import(build: Build) -> None:
    """A module at the top is on the ground, unless it enters a room: then it is a door."""
    found = build(
        {
            "base.py": "",
            "one/a.py": "import small.base",
            "two/b.py": "import small.one.a",
            "door.py": "import small.two.b",
        }
    )
    assert found.floors == [[GROUND], ["one"], ["two"], ["door"]]
    picture = draw_house(found)
    assert picture.index(">door<") < picture.index(">two<") < picture.index(">one<") < picture.index(f">{GROUND}<")
    assert picture.count("<path") == 3


PATCHES = 59
"""How many patches by name the tests have: fewer is better, and this number goes down with them.

What is left has no caller who could hand anything in: the standard library's own (sys, os, tempfile, a file that cannot
be replaced), the machine that the embedded engine and the bootstrap stand on, and what a task finds by itself.
"""


def test_values_are_handed_in_and_not_patched() -> None:
    """A test gives what it tests an engine, a runner or a value; tests/scripted_docker.py is the engine for all."""
    files = (Path(__file__).parent).rglob("*.py")
    found = sum(path.read_text("utf-8").count("monkeypatch." + "setattr(") for path in files)
    assert found <= PATCHES, "hand it in: see Engine.runner, dockyard.process.Runner and tests/scripted_docker.py"
