"""Find the line of a Dockerfile that made a layer, by what the image's history says of it (pure)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

ALIKE = 0.8
"""How alike two instructions must be, from 0 to 1, to be taken for the same where a variable stands in one."""

HEREDOC = re.compile(r"<<-?[\"']?([A-Za-z_]\w*)[\"']?")


class Instruction(NamedTuple):
    """One instruction: the number of its first line, its keyword in upper case, and all behind that."""

    line: int
    keyword: str
    rest: str


class Stage(NamedTuple):
    """One stage: its name in lower case, what it is FROM, and its instructions."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]


def lines(dockerfile: str, target: str, history: Sequence[str]) -> tuple[int | None, ...]:
    """Return the line that made each entry of a history (`created_by`, oldest first), None where that is not clear.

    Both are in the order of the build, so a line is looked for behind the one that was found before.
    """
    known = list(chain(dockerfile, target))
    found: list[int | None] = []
    at = 0
    for created_by in history:
        best = max(((likeness(created_by, one), -index) for index, one in enumerate(known[at:])), default=(0.0, 0))
        if best[0] >= ALIKE:
            at -= best[1]
            found.append(known[at].line)
            at += 1
        else:
            found.append(None)
    return tuple(found)


def chain(dockerfile: str, target: str) -> Iterator[Instruction]:
    """Yield the instructions of a target after those of the stages that it stands on; of the last stage without one."""
    named = {stage.name: stage for stage in stages(dockerfile)}
    stage = named.get(target.lower()) or next(reversed(named.values()), None)
    stack: list[Stage] = []
    while stage and stage not in stack:
        stack.append(stage)
        stage = named.get(stage.base)
    for one in reversed(stack):
        yield from one.instructions


def stages(dockerfile: str) -> Iterator[Stage]:
    """Yield the stages of a Dockerfile; one without a name has its number."""
    name, base, kept = "", "", list[Instruction]()
    number = 0
    for one in instructions(dockerfile):
        if one.keyword != "FROM":
            kept.append(one)
            continue
        if number:
            yield Stage(name, base, tuple(kept))
        words = [word for word in one.rest.split() if not word.startswith("--")]
        named = len(words) > 2 and words[1].upper() == "AS"
        name, base, kept = (words[2] if named else str(number)).lower(), words[0].lower() if words else "", []
        number += 1
    if number:
        yield Stage(name, base, tuple(kept))


def instructions(dockerfile: str) -> Iterator[Instruction]:
    """Yield the instructions, continued lines joined; here-documents stay with the instruction that opens them."""
    numbered = enumerate(dockerfile.splitlines(), 1)
    for number, line in numbered:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text = line.strip()
        while text.endswith("\\"):
            more = next((more.strip() for _, more in numbered if not more.lstrip().startswith("#")), "")
            text = f"{text[:-1].rstrip()} {more}"
        for end in HEREDOC.findall(text):
            text += "".join(f"\n{more}" for more in _until(end, numbered))
        keyword, _, rest = text.partition(" ")
        yield Instruction(number, keyword.upper(), rest.strip())


def _until(end: str, numbered: Iterator[tuple[int, str]]) -> Iterator[str]:
    """Yield the lines of a here-document."""
    for _, line in numbered:
        if line.strip() == end:
            return
        yield line


def likeness(created_by: str, one: Instruction) -> float:
    """Return from 0 to 1 how much an instruction looks like what the history says."""
    keyword, said = told(created_by)
    if keyword != one.keyword:
        return 0.0
    wrote = _plain(_without_flags(one.rest))
    if said == wrote:
        return 1.0
    if keyword in ("USER", "CMD", "ENTRYPOINT", "ENV", "LABEL", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"):
        return ALIKE  # the history writes these in a form of its own, and there is seldom more than one
    return SequenceMatcher(None, said, wrote, autojunk=False).ratio()


def told(created_by: str) -> tuple[str, str]:
    """Return the keyword and the rest of an instruction as a history has it, without the marks of the builder."""
    text = created_by.replace("# buildkit", "").strip()
    text = re.sub(r"^(?:/bin/sh -c )?#\(nop\)\s*", "", text)
    text = re.sub(r"^RUN (?:\|[0-9]+ .*?)?/bin/sh -c ", "RUN ", text, flags=re.DOTALL)
    if text.startswith("/bin/sh -c "):
        text = "RUN " + text.removeprefix("/bin/sh -c ")
    keyword, _, rest = text.partition(" ")
    return keyword.upper(), _plain(_without_flags(rest))


def of_layers(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return the `created_by` of every layer out of an image's configuration, oldest first."""
    history = config.get("history")
    rows = history if isinstance(history, list) else []
    return tuple(str(row.get("created_by", "")) for row in rows if not row.get("empty_layer"))


def _without_flags(text: str) -> str:
    return re.sub(r"^(?:--[a-z][\w-]*(?:=\S+)?\s+)+", "", text)


def _plain(text: str) -> str:
    return " ".join(text.replace('"', "").split())
