"""The Dockerfiles that the guide gives to other projects."""

import re
import shutil
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.build import Request
from dockyard.locks.check import lock_path
from dockyard.process import capture
from dockyard.settings import Settings, load
from dockyard.verify import verify
from dockyard.verify.model import ImageQuery

GUIDE = Path("docs") / "how-to" / "use-in-your-project.md"
TABLE = """\
[tool.dockyard]
app = "shop:create_app()"
image = "{image}"
sources = ["shop"]
pythons = ["3.13"]
"""
SHOP = """\
from flask import Flask


def create_app():
    app = Flask(__name__)
    app.add_url_rule("/healthz", view_func=dict)
    return app
"""
TEST = """\
from shop import create_app


def test_shop():
    assert create_app().test_client().get("/healthz").status_code == 200
"""


@pytest.fixture
def shop(project: Settings, unique: str, tmp_path: Path) -> Settings:
    """Return a project as the guide's reader has one: an app, a test, and locks."""
    (tmp_path / "pyproject.toml").write_text(TABLE.format(image=unique))
    for folder, text in (("shop", SHOP), ("tests", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text(text)
    (tmp_path / "tests" / "test_shop.py").write_text(TEST)
    made = load(tmp_path, {})
    for purpose in ("production", "test"):
        lock = made.root / lock_path("3.13", purpose)
        lock.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project.root / lock_path("3.13", purpose), lock)
    return made


def dockerfile(project: Settings, number: int) -> str:
    """Return one of the two whole Dockerfiles in the guide."""
    guide = (project.root / GUIDE).read_text("utf-8")
    return str(re.findall(r"```dockerfile\n(ARG [^`]+(?:`[^`]+`[^`]+)*)```", guide)[number])


def test_short_dockerfile(project: Settings, shop: Settings, engine: Engine) -> None:
    """As it stands there, it makes an image that serves, and one that tests."""
    (shop.root / "Dockerfile").write_text(dockerfile(project, 0))
    build.build_images(shop, Request(("production", "test")), engine=engine)
    found = verify.verify_image(shop, ImageQuery(), engine=engine)
    assert found.case.trial.serves
    assert not [line for line in found.case.trial.log if "ERROR" in line]
    command = ("run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--tmpfs=/results", f"{shop.image}:test")
    assert "1 passed" in capture(engine.command(*command)).stdout


def test_minimal_image(project: Settings, shop: Settings, engine: Engine) -> None:
    """As it stands there, it makes an image that keeps to the policy, and answers."""
    (shop.root / "Dockerfile").write_text(dockerfile(project, 1))
    build.build_images(shop, Request(), engine=engine)
    found = verify.verify_image(shop, ImageQuery(), engine=engine)
    assert found.verdict.violations == ()
