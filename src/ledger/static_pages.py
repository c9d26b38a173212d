"""Write the pages to a folder that any web server, or none, can show: a CI keeps it beside a build."""

import hashlib
import html
import re
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from flask import Flask

MOST_PAGES = 1000
LINK = re.compile(r' href="(/[^"#]*)"')
STATIC = "/static/"
FILES = Path(__file__).parent / "static"
MARK = "ledger.css"
"""A folder with this file is one that was written before."""


class FolderInUseError(Exception):
    """The folder holds something else, which would be in the way."""


@dataclass(frozen=True)
class Written:
    """How many pages there are, and how many links lead to ones that were left out."""

    pages: int
    left_out: int


def write_pages(app: Flask, folder: Path, most: int = MOST_PAGES) -> Written:
    """Write every page that links lead to, the overview first, as files that link to each other."""
    _empty(folder)
    app.config["LEDGER_STATIC"] = True
    found, left_out = _follow(app, most)
    names = {address: file_name(address, text) for address, text in found.items()}
    for address, text in found.items():
        (folder / names[address]).write_text(_relink(text, names), encoding="utf-8")
    for file in FILES.iterdir():
        shutil.copyfile(file, folder / file.name)
    return Written(len(found), len(left_out))


def _empty(folder: Path) -> None:
    """Make the folder, and take out what an earlier run wrote; anything else in it is left alone, and told."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / MARK).is_file():
        raise FolderInUseError(f"{folder} is not empty, and not of pages: name another folder")
    for pattern in ("*.html", "*.json"):
        for path in folder.glob(pattern):
            path.unlink()


def _follow(app: Flask, most: int) -> tuple[dict[str, str], set[str]]:
    """Return the text of every address that can be reached, within the bound; comparisons, which are many, last."""
    client = app.test_client()
    waiting, later = deque(["/"]), deque[str]()
    seen = {"/"}
    found: dict[str, str] = {}
    while (waiting or later) and len(found) < most:
        address = waiting.popleft() if waiting else later.popleft()
        answer = client.get(address, base_url="http://localhost")
        if answer.status_code != 200:
            continue
        found[address] = answer.text
        for link in map(html.unescape, LINK.findall(answer.text) if answer.mimetype == "text/html" else ()):
            if link not in seen and not link.startswith(STATIC):
                seen.add(link)
                (later if link.startswith("/compare") else waiting).append(link)
    return found, seen - found.keys()


def file_name(address: str, text: str) -> str:
    """Return the name of an address's file: readable, and its own."""
    if address == "/":
        return "index.html"
    words = re.sub(r"[^A-Za-z0-9]+", "-", address).strip("-")[:60].lower()
    ending = "html" if text.startswith("<!doctype html>") else "json"
    return f"{words}-{hashlib.sha256(address.encode()).hexdigest()[:8]}.{ending}"


def _relink(text: str, names: dict[str, str]) -> str:
    """Point links to files; one that leads to a page which is not there is none."""

    def point(match: re.Match[str]) -> str:
        address = html.unescape(match[1])
        if address.startswith(STATIC):
            return f' href="{address.removeprefix(STATIC)}"'
        return f' href="{names[address]}"' if address in names else ""

    return LINK.sub(point, text) if text.startswith("<!doctype html>") else text
