"""The Dockerfile of a minimal image that the guide gives to other projects."""

import re
import shutil
from pathlib import Path

from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.build import Request
from dockyard.locks import status
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


def test_minimal_image(project: Settings, engine: Engine, unique: str, tmp_path: Path) -> None:
    """As it stands there, it makes an image that keeps to the policy, and answers."""
    guide = (project.root / GUIDE).read_text("utf-8")
    (dockerfile,) = re.findall(r"```dockerfile\n(ARG [^`]+FROM scratch AS production[^`]+)```", guide)
    (tmp_path / "Dockerfile").write_text(dockerfile)
    (tmp_path / "pyproject.toml").write_text(TABLE.format(image=unique))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(SHOP)
    shop = load(tmp_path, {})
    lock = status.path(shop, "3.13", "production")
    lock.parent.mkdir(parents=True)
    shutil.copyfile(status.path(project, "3.13", "production"), lock)
    build.build_images(shop, Request(), engine=engine)
    found = verify.verify_image(shop, ImageQuery(), engine=engine)
    assert found.verdict.violations == ()
