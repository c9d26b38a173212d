"""Tests that hold the reference pages to the code."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

from dockyard import settings
from dockyard.deploy.destination import Destination
from dockyard.errors import ExitCode

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def rows(page: str) -> list[list[str]]:
    """Return the cells of every table row of a page, without the head."""
    lines = (REFERENCE / page).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in cells[1:] if not set(row[0]) <= set("-: ")]


def test_the_settings_page_has_every_key_and_no_other() -> None:
    """A key that is added, renamed or removed changes its row."""
    assert [row[0].strip("`") for row in rows("settings.md")] == list(settings.KEYS)


def test_the_settings_page_has_the_right_environment_names() -> None:
    """Each row names the variable that overrides its key."""
    names = {row[0].strip("`"): row[1].strip("`") for row in rows("settings.md")}
    assert names == {key: settings.PREFIX + key.upper().replace("-", "_") for key in settings.KEYS}


def test_the_settings_page_has_the_right_defaults() -> None:
    """A default that is written as a value is the default; others are computed, and stand there in words."""
    described = {"app": "required", "image": "required", "python": "the last of `pythons`"}
    described["stack"] = "the last part of `image`"
    described["allow"] = described["accept-vulnerabilities"] = described["trial-environment"] = described["deploy"] = (
        "empty"
    )
    for key, _, default, _ in rows("settings.md"):
        name = key.strip("`")
        value = settings.Settings._field_defaults.get(name.replace("-", "_"), "")
        written = str(list(value) if isinstance(value, tuple) else value).replace("'", '"')
        written = f'"{value}"' if isinstance(value, str) else written.lower()
        assert default == described.get(name, f"`{written}`"), name


def test_the_settings_page_names_every_choice() -> None:
    """A key with a fixed choice says what there is to choose from."""
    meanings = {row[0].strip("`"): row[3] for row in rows("settings.md")}
    for key, choices in {
        "base": {"auto", "registry", "debian"},
        "engine": {"auto", "host", "embedded"},
        "resolver": {"pip-tools", "uv"},
        "hashes": {"all", "platform"},
    }.items():
        assert choices <= set(re.findall(r"`([a-z-]+)`", meanings[key])), key


def test_the_destinations_page_has_every_key_and_default() -> None:
    """A key of a destination that is added, renamed or removed changes its row."""
    expected = {}
    for item in fields(Destination)[1:]:
        value = {} if item.default_factory is not MISSING else item.default
        written = f'"{value}"' if isinstance(value, str) else str(list(value) if value == () else value).lower()
        expected[f"`{item.name}`"] = "required" if value is MISSING else "empty" if value == {} else f"`{written}`"
    assert {row[0]: row[1] for row in rows("destinations.md")} == expected


def test_the_exit_codes_page_has_every_code() -> None:
    """The page lists the codes of ExitCode, in order."""
    assert [int(row[0]) for row in rows("exit-codes.md")] == [int(code) for code in ExitCode]


def test_the_ledger_page_has_every_setting_command_and_address() -> None:
    """What the service reads, does and answers is on its page; the service itself is not imported here."""
    source = Path(__file__).parents[1] / "src" / "ledger"
    page = (REFERENCE / "ledger.md").read_text(encoding="utf-8")
    texts = {name: (source / f"{name}.py").read_text(encoding="utf-8") for name in ("settings", "commands", "api")}
    plain = re.findall(r"""(?:environ\.get\(|_count\(environ, )"(\w+)\"""", texts["settings"])
    secret = re.findall(r"""_secret\(environ, "(\w+)"\)""", texts["settings"])
    commands = re.findall(r"""@group\.command\("(\w+)"\)""", texts["commands"])
    tokens = re.findall(r"""@token\.command\("(\w+)"\)""", texts["commands"])
    paths = re.findall(r"""@bp\.(\w+)\("([^"]+)"\)""", texts["api"])
    assert len(plain) > 3
    assert len(secret) > 3
    assert len(paths) > 4
    expected = {*(f"`{name}`" for name in plain), *(f"`{name}`, `{name}_FILE`" for name in secret)}
    expected |= {f"| `{name}" for name in commands} | {f"| `token {name}" for name in tokens}
    expected |= {
        f"`{method.upper()} /api{re.sub('<(?:path:)?(?:run_)?([a-z]+)>', lambda found: found[1].upper(), path)}`"
        for method, path in paths
    }
    assert {word for word in expected if word not in page} == set()
