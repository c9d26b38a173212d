"""Read a changelog in the form of Keep a Changelog, and make release notes out of one version's section (pure)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from dockyard.errors import DockyardError

FILE = "CHANGELOG.md"
UNRELEASED = "unreleased"
HEADING = re.compile(r"##\s+\[?v?(?P<version>[^\]\s(]+)\]?(?:\([^)]*\))?(?P<rest>.*)")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
DEFINITION = re.compile(r" {0,3}\[(?P<label>[^\]]+)\]:\s*\S+")
REFERENCE = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True)
class Section:
    """What a changelog says of one version: `date` as it is written, `body` without the heading."""

    version: str
    date: str
    body: str

    @property
    def empty(self) -> bool:
        """Whether nothing stands below the heading but further headings."""
        return not any(line.strip() and not line.startswith("#") for line in self.body.splitlines())


def parse_sections(text: str) -> tuple[Section, ...]:
    """Return a changelog's sections in their order; headings inside code blocks are none."""
    found: list[tuple[re.Match[str], list[str]]] = []
    definitions: dict[str, str] = {}
    for line, code in _lines(text):
        heading = None if code else HEADING.fullmatch(line.rstrip())
        definition = None if code else DEFINITION.match(line)
        if heading:
            found.append((heading, []))
        elif definition:
            definitions[definition["label"].casefold()] = line.strip()
        elif found:
            found[-1][1].append(line)
    return tuple(_section(heading, body, definitions) for heading, body in found)


def find_section(every: Sequence[Section], version: str) -> Section:
    """Return the section of a version; raise DockyardError where there is none, several, or nothing in it."""
    its = [one for one in every if equal_versions(one.version, version)]
    if not its:
        raise _absent(every, version)
    if len(its) > 1:
        raise DockyardError(f"{FILE} has {len(its)} sections for {version}", "make one of them")
    if its[0].empty:
        raise DockyardError(f"{FILE} says nothing about {version}", f"write what changed below its heading in {FILE}")
    return its[0]


def find_newest(every: Sequence[Section]) -> str:
    """Return the topmost version, or an empty string where there is none yet."""
    return next((one.version for one in every if one.version[0].isdigit()), "")


def format_notes(name: str, found: Section, pinned: str, tags: Iterable[str]) -> str:
    """Return the release notes: what changed, and the image by the name that never means another one."""
    date = f" ({found.date})" if found.date else ""
    named = ", ".join(f"`{tag}`" for tag in tags)
    return f"# {name} {found.version}{date}\n\n{found.body}\n\n## Image\n\n```text\n{pinned}\n```\n\nTags: {named}\n"


def equal_versions(one: str, other: str) -> bool:
    """Say whether two ways of writing mean one version: 1.0.0-rc.1 is 1.0.0rc1."""
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one.casefold() == other.casefold()


def _absent(every: Iterable[Section], version: str) -> DockyardError:
    waiting = next((one for one in every if one.version.casefold() == UNRELEASED), None)
    write = f"## [{version}] - YYYY-MM-DD"
    hint = f"write a section `{write}` and commit it, then move the tag"
    if waiting and not waiting.empty:
        hint = f"put `{write}` between [Unreleased] and its entries and commit it, then move the tag"
    return DockyardError(f"{FILE} has no section for {version}", hint)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield every line, and whether it belongs to a fenced block of code."""
    fence = ""
    for line in text.removeprefix("\ufeff").splitlines():
        mark = FENCE.match(line)
        if not fence and mark:
            fence = mark[1]
            yield line, True
        elif fence and mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
            yield line, True
        else:
            yield line, bool(fence)


def _section(heading: re.Match[str], lines: Iterable[str], definitions: dict[str, str]) -> Section:
    """Return a section; the link definitions that it uses come with it, wherever they stand in the file."""
    body = "\n".join(lines).strip("\n")
    used = dict.fromkeys(label.casefold() for label in REFERENCE.findall(body))
    links = [definitions[label] for label in used if label in definitions]
    date = DATE.search(heading["rest"])
    return Section(heading["version"], date[0] if date else "", "\n\n".join(filter(None, (body, "\n".join(links)))))
