"""The fenced blocks and command lines of the Markdown pages, for the tests that hold the pages to the program.

CONTRIBUTING.md says how a block is marked: its info string is a language, then `no-run: REASON` where it cannot be run;
a comment as its first line names the file that it is; `<!-- project: NAME -->` above it begins a fresh project.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = tuple(sorted((ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"))))
PROJECT = re.compile(r"<!-- project: ([a-z-]+) -->")
FILE = re.compile(r"# (\.?[\w/.-]*(?:Dockerfile|\.\w+))")
PROGRAMS = ("invoke", "dockyard", "nox")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page: `reason` is why it cannot be run, `project` the sample that it starts from."""

    page: Path
    line: int
    language: str
    reason: str
    text: str
    project: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The file of the project that this block is, or nothing."""
        if self.language == "dockerfile" and self.text.startswith("ARG "):
            return "Dockerfile"
        found = FILE.fullmatch(self.text.partition("\n")[0])
        return found[1] if found else ""


def tokens(page: Path) -> list[Token]:
    """Parse a page."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


@cache
def read_blocks(page: Path) -> tuple[Block, ...]:
    """Return the fenced blocks of a page, in order."""
    project, blocks = "", []
    for token in tokens(page):
        if token.type == "html_block" and (found := PROJECT.search(token.content)):
            project = found[1]
        elif token.type == "fence":
            assert token.map
            language, _, rest = token.info.partition(" ")
            mark, _, reason = rest.partition(":")
            assert mark in ("", "no-run"), f"{page}:{token.map[0] + 1}: {token.info}"
            if mark:
                assert reason.strip(), f"{page}:{token.map[0] + 1}: no-run needs a reason"
            blocks.append(Block(page, token.map[0] + 1, language, reason.strip(), token.content, project))
    return tuple(blocks)


def all_blocks() -> Iterator[Block]:
    """Yield the blocks of every page."""
    for page in PAGES:
        yield from read_blocks(page)


def read_console(text: str) -> list[tuple[str, str]]:
    """Return the commands of a `console` block, each with the output that is shown below it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
            continue
        command, output = found.pop()
        continues = not output and command.endswith("\\\n")
        found.append((command + line, "") if continues else (command, output + line))
    return found


def read_script(block: Block) -> str:
    """Return what a block would have a shell run, without the output that it shows."""
    if block.language == "console":
        return "".join(command for command, _ in read_console(block.text))
    return block.text if block.language == "sh" else ""


def split_commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of a script that begins one of our programs, from its name on."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|<>()"):
                while words and re.match(r"\w+=|\./bootstrap$", words[0]):
                    del words[0]
                if words and words[0] in PROGRAMS:
                    yield words
                words = []
            else:
                words.append(word)


def command_lines(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every command line of our programs that a page shows, in a block or in its prose, with where it stands."""
    for block in read_blocks(page):
        for words in split_commands(read_script(block)):
            yield str(block), words
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "code_inline" and re.match(rf"(\./bootstrap )?({'|'.join(PROGRAMS)})\b", child.content):
                for words in split_commands(child.content):
                    yield f"{page.relative_to(ROOT)}:{(token.map or [0])[0] + 1}", words


def slug(heading: str) -> str:
    """Return the anchor that code hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    parsed = tokens(page)
    return {slug(after.content) for token, after in pairwise(parsed) if token.type == "heading_open"}


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and images."""
    for token in tokens(page):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield str(target)
