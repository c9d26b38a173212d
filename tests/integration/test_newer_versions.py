"""What has happened in the index since the locks were made: newer versions, and versions that were taken back."""

import json

import pytest

from dockyard.engine.client import Engine
from dockyard.locks.plan import Wish
from dockyard.settings import Settings
from dockyard.tasks.lock import make_and_print, print_outdated
from tests.conftest import replace_everywhere

from .package_index import Index
from .test_locks import RESOLVERS, Yard, index, tools, yard

__all__ = ["index", "tools", "yard"]


@pytest.fixture(params=[False, True], ids=["HTML", "JSON"])
def aged(request: pytest.FixtureRequest, index: Index, yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Lock from an index that answers in one of its two ways, and then let it go on."""

    def find(_settings: Settings, **_say: object) -> Engine:
        return yard.engine

    replace_everywhere(monkeypatch, "find_engine", find)
    index.json = request.param
    yard.write(index)
    return index


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_what_is_behind(
    yard: Yard, aged: Index, resolver: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest that fits: no pre-release, nothing yanked, nothing for other Pythons only; and nothing is written."""
    yard.lock(resolver=resolver)
    before = yard.tree()
    aged.add("router", "1.6", requires=">=3.9")
    aged.add("router", "2.0rc1")
    aged.add("router", "3.0", yanked=True)
    aged.add("router", "4.0", requires=">=3.99")
    if resolver == "pip-tools":  # uv heeds no upper bound of requires-python, on purpose
        aged.add("server", "4.1", requires="<3.0")
    aged.add("speed", "1.2.4")
    aged.add("checker", "2.0", 'speed>=1 ; extra == "fast"', "router")
    asked = yard.settings._replace(resolver=resolver)
    print_outdated(asked, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [(each["package"], each["locked"], each["newest"], each["step"]) for each in told] == [
        ("checker", "0.9", "2.0", "major"),
        ("router", "1.5", "1.6", "minor"),
        ("speed", "1.2.3", "1.2.4", "patch"),
    ]
    assert [len(each["locks"]) for each in told] == [1, 3, 1]
    print_outdated(asked, as_json=False)
    out, err = capsys.readouterr()
    assert ["router", "1.5", "1.6", "minor", "all"] in [line.split() for line in out.splitlines()]
    assert "3 packages behind" in err
    assert yard.tree() == before


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_pin_that_was_yanked_since_is_kept_and_told(
    yard: Yard, aged: Index, resolver: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the reason and the command; that command moves it, and then there is nothing to tell."""
    asked = yard.settings._replace(resolver=resolver)
    make_and_print(asked, Wish(), dry_run=False, as_json=False)
    assert "yanked" not in capsys.readouterr().err
    aged.yank("router-1.5")
    yard.write(aged, base="webapp>=1\nspeed\n")
    make_and_print(asked, Wish(), dry_run=False, as_json=False)
    told = [line for line in capsys.readouterr().err.splitlines() if "yanked" in line]
    assert told == [
        "WARNING router==1.5 was yanked from its index, because: broken; "
        "the lock keeps it until `invoke lock --upgrade-package router`, or while an input asks for this very version"
    ]
    assert yard.pins("production")["router"].version == "1.5"
    make_and_print(asked, Wish(packages=("router",)), dry_run=False, as_json=False)
    assert "yanked" not in capsys.readouterr().err
    assert yard.pins("production")["router"].version == "1.0"
