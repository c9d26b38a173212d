"""The projects that the pages start from, and Dockyard installed from its wheel beside them, as a user would."""

import os
import re
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from dockyard.process import Command, capture
from tests.markdown_blocks import ROOT

from .checkout import committed, copied

APP = {
    "shop/__init__.py": '''\
"""The application of somebody who has never heard of Dockyard."""

from flask import Flask


def create_app():
    """Return the application."""
    app = Flask(__name__)
    app.add_url_rule("/healthz", view_func=dict)
    return app
''',
    "tests/test_shop.py": '''\
"""The tests of the application."""

from shop import create_app


def test_health():
    """It serves."""
    assert create_app().test_client().get("/healthz").status_code == 200
''',
    "requirements/base.in": "flask\n",
    "requirements/production.in": "-r base.in\ngunicorn\n",
    "requirements/test.in": "-r production.in\ncoverage\npytest\n",
    "requirements/development.in": "-r test.in\n",
    ".gitignore": ".dockyard/\n__pycache__/\n",
}


@dataclass(frozen=True)
class Installation:
    """A virtual environment in which the wheel of this very source is installed with its locked dependencies."""

    folder: Path

    @property
    def programs(self) -> Path:
        """The folder to put on PATH."""
        return self.folder / "venv" / "bin"

    @property
    def constraints(self) -> Path:
        """What makes `pip install dockyard` take our wheel, and the versions that we know."""
        return self.folder / "constraints.txt"

    def make(self, *others: str) -> "Installation":
        """Build the wheel, and install it by the command that README.md shows, with other packages if any."""
        built = Command((sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(self.folder)), cwd=ROOT)
        capture(built)
        (wheel,) = self.folder.glob("*.whl")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        lock = (ROOT / "requirements" / version / "development.txt").read_text("utf-8")
        pins = re.findall(r"^[\w.-]+==[\w.+!-]+", lock, re.MULTILINE)
        self.constraints.write_text("\n".join([f"dockyard @ {wheel.as_uri()}", *pins, ""]))
        venv.create(self.folder / "venv", with_pip=True)
        pip = (str(self.programs / "python"), "-m", "pip", "install", "--quiet", "dockyard", *others)
        capture(Command(pip, env={"PIP_CONSTRAINT": str(self.constraints)}))
        return self


def write_app(folder: Path) -> None:
    """Write the application."""
    for name, text in APP.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def write_checkout(folder: Path) -> None:
    """Copy this repository as somebody has it who has just cloned it."""
    copied(folder, os.umask(os.umask(0)), 1_700_000_000)
    committed(folder)
