"""Take the pictures of the ledger's pages that docs/how-to/see-what-builds-cost.md shows.

`python -m tests.integration.screenshots` writes them to docs/images; look at them before you commit them.
"""

import os
import re
import secrets
import tempfile
import urllib.request
from pathlib import Path

from dockyard.engine.client import find_engine
from dockyard.settings import load

from .browser import open_browser
from .conftest import ROOT
from .report_server import serve_sample

FOLDER = ROOT / "docs" / "images"
PICTURES = {"ledger-image.webp": (1240, 1430, False), "ledger-run.webp": (900, 1020, True)}
"""Width and height in pixels, and whether the screen is dark."""


def take_pictures() -> None:
    """Open the pages as a person does, and write what is seen."""
    settings = load(ROOT, os.environ)
    name = f"dockyard-test-browser-{secrets.token_hex(4)}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve_sample(Path(scratch)) as address,
        open_browser(settings, find_engine(settings), name) as browser,
    ):
        with urllib.request.urlopen(f"{address}runs?project=shop&kind=release", timeout=30) as answer:
            (release, *_) = re.findall(r'href="/(runs/[0-9a-f]{32})"', answer.read().decode())
        page = browser.new_page()
        for picture, path in zip(PICTURES, ("image?project=shop", release), strict=True):
            width, height, dark = PICTURES[picture]
            page.look(width, height, dark=dark)
            page.open(f"{address}{path}")
            (FOLDER / picture).write_bytes(page.picture())


if __name__ == "__main__":
    take_pictures()
