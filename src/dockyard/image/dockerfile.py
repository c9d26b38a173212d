"""Read a Dockerfile as BuildKit reads it: its stages, their names, arguments and instructions (pure).

The one reader: comments, continued lines, here-documents, quotes and the arguments before the first FROM. Lines are
continued by a backslash alone: the directive that chooses another letter serves Windows images.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dockyard.errors import DockyardError

NAME = "Dockerfile"
HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
WITH_HEREDOCS = re.compile(r"(?:ONBUILD\s+)?(?:ADD|COPY|RUN)\s+(?!\[)", re.IGNORECASE)
CONTINUED = re.compile(r"(?:^|(?<=[^\\]))\\[ \t]*$")
WORD = re.compile(r"""(?:\\.|'[^']*(?:'|\Z)|"(?:\\.|[^"\\])*(?:"|\Z)|\S)+""", re.DOTALL)
QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"])*)"|\\(.)|(["'])""")
FLAG = re.compile(r"--[a-z][\w-]*(?:=(?:\"[^\"]*\"|'[^']*'|\S)*)?(?:\s+|$)")
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+?])([^{}]*))?\})")


@dataclass(frozen=True)
class Instruction:
    """One instruction: the number of its first line, its keyword in upper case, its flags, and all behind these."""

    line: int
    keyword: str
    flags: tuple[str, ...]
    rest: str
    heredocs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage: its name in lower case, empty where it has none, what it is FROM, and its instructions."""

    name: str
    number: int
    base: str
    line: int
    instructions: list[Instruction]


@dataclass(frozen=True)
class Dockerfile:
    """A whole Dockerfile; `arguments` are all names that an ARG declares anywhere, `defaults` those before FROM."""

    stages: tuple[Stage, ...] = ()
    arguments: frozenset[str] = frozenset()
    defaults: Mapping[str, str] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the stages that have one: these can be built."""
        return tuple(dict.fromkeys(stage.name for stage in self.stages if stage.name))


def read_dockerfile(root: Path, name: str = NAME, values: Mapping[str, str] | None = None) -> Dockerfile:
    """Return the Dockerfile of a project; raise DockyardError where there is none, or where it cannot be read."""
    try:
        text = (root / name).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DockyardError(f"there is no {name} in {root}", "`dockyard init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DockyardError(f"{name} cannot be read: {error}", "it must be a file of text in UTF-8") from None
    return parse_dockerfile(text, values)


def parse_dockerfile(text: str, values: Mapping[str, str] | None = None) -> Dockerfile:
    """Return what a Dockerfile says; raise DockyardError, with the line, where nobody can tell what the stages are.

    `values` are build arguments: they stand for the defaults of the arguments before the first FROM.
    """
    known: dict[str, str] = {}
    arguments: set[str] = set()
    stages: list[Stage] = []
    for one in parse_instructions(text):
        if one.keyword == "ARG":
            for name, value in _declared(one, known if not stages else {}):
                arguments.add(name)
                if not stages:
                    known[name] = (values or {}).get(name, value)
        if one.keyword == "FROM":
            name, base = _from(one, known)
            stages.append(Stage(name, len(stages), base, one.line, []))
        elif stages:
            stages[-1].instructions.append(one)
    return Dockerfile(tuple(stages), frozenset(arguments), known)


def parse_instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions: continued lines joined, comments and empty lines between them left out."""
    numbered = iter(enumerate(re.split(r"\r?\n", text.removeprefix("\ufeff")), 1))
    for first, line in numbered:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        joined, more = CONTINUED.subn("", line.lstrip())
        while more and (following := next(numbered, None)):
            if following[1].strip() and not following[1].lstrip().startswith("#"):
                part, more = CONTINUED.subn("", following[1])
                joined += part
        words = joined.split(None, 1)
        if not words:
            continue
        heredocs = tuple(_heredocs(joined, numbered, first))
        flags, rest = _flags("".join(words[1:]).strip())
        yield Instruction(first, words[0].upper(), flags, rest, heredocs)


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of an instruction as they are written, with their quotes; a quote that stays open ends there."""
    return tuple(WORD.findall(text))


def unquote(word: str) -> str:
    """Return a word without its quotes and escapes."""
    return QUOTED.sub(lambda found: found[1] or re.sub(r"\\(.)", r"\1", found[2] or "") or found[3] or "", word)


def substitute(text: str, known: Mapping[str, str]) -> str:
    """Return a text with its variables filled in; one that is not known is empty, or what the text says instead."""

    def value(found: re.Match[str]) -> str:
        name, how, other = found[1] or found[2], found[3] or "", found[4] or ""
        there = name in known and (":" not in how or bool(known[name]))
        if how.endswith("+"):
            return other if there else ""
        return known[name] if there else other if how.endswith("-") else ""

    return VARIABLE.sub(value, text)


def _flags(rest: str) -> tuple[tuple[str, ...], str]:
    """Return the flags at the beginning of an instruction, and what comes behind them."""
    flags: list[str] = []
    while found := FLAG.match(rest):
        flags.append(found[0].strip())
        rest = rest[found.end() :]
    return tuple(flags), rest


def _heredocs(instruction: str, numbered: Iterator[tuple[int, str]], first: int) -> Iterator[str]:
    """Yield the here-documents that an instruction opens, taking their lines from those that follow it."""
    if not WITH_HEREDOCS.match(instruction):
        return
    for word in split_words(instruction):
        found = HEREDOC.fullmatch(word)
        if not found:
            continue
        end, content = unquote(found[2]), list[str]()
        for _, line in numbered:
            if (line.lstrip("\t") if found[1] else line) == end:
                break
            content.append(line)
        else:
            raise _wrong(first, f"the here-document {end} has no end", f"a line with {end} alone ends it")
        yield "\n".join(content)


def _declared(one: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the arguments that an ARG declares, with their defaults."""
    so_far = dict(known)
    for word in split_words(one.rest):
        name, _, value = word.partition("=")
        literal = value.startswith("'")
        so_far[name] = unquote(value) if literal else substitute(unquote(value), so_far)
        yield name, so_far[name]


def _from(one: Instruction, known: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of the stage that a FROM begins, and the image."""
    words = one.rest.split()  # FROM knows no quotes around blanks
    if len(words) != 1 and not (len(words) == 3 and words[1].upper() == "AS"):
        raise _wrong(one.line, "FROM takes an image, or an image, AS and a name", "write FROM IMAGE AS NAME")
    name = words[2].lower() if len(words) == 3 else ""
    return name, substitute(unquote(words[0]), known)


def _wrong(line: int, what: str, hint: str) -> DockyardError:
    return DockyardError(f"line {line} of the {NAME}: {what}", hint)
