"""Write values as YAML that people read: block style, keys in their order, and a comment where one would ask (pure).

There is no reader here: what is read comes as JSON.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What every version of YAML reads as this very text; anything else stands in quotes, as JSON, which is YAML too.
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@:-]*[A-Za-z0-9_/]|[A-Za-z]")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def write_documents(documents: list[Mapping[str, Any]], comments: Mapping[str, str], head: str = "") -> str:
    """Return documents as one text; `comments` are by the key that they stand above, once in each text."""
    left = dict(comments)
    texts = ["\n".join(_mapping(one, 0, left)) + "\n" for one in documents]
    first = "".join(f"# {line}\n" for line in head.splitlines())
    return first + "---\n".join(texts)


def _mapping(value: Mapping[str, Any], depth: int, comments: dict[str, str]) -> Iterator[str]:
    space = "  " * depth
    for key, inner in value.items():
        for line in comments.pop(key, "").splitlines():
            yield f"{space}# {line}"
        if isinstance(inner, Mapping) and inner:
            yield f"{space}{_scalar(key)}:"
            yield from _mapping(inner, depth + 1, comments)
        elif isinstance(inner, list | tuple) and inner:
            yield f"{space}{_scalar(key)}:"
            yield from _sequence(inner, depth + 1, comments)
        else:
            yield f"{space}{_scalar(key)}: {_scalar(inner)}"


def _sequence(values: list[Any] | tuple[Any, ...], depth: int, comments: dict[str, str]) -> Iterator[str]:
    space = "  " * depth
    for value in values:
        if not isinstance(value, Mapping) or not value:
            yield f"{space}- {_scalar(value)}"
            continue
        waiting: list[str] = []
        begun = False
        for line in _mapping(value, depth + 1, comments):
            # A comment of the first key stands above the dash.
            if not begun and line.lstrip().startswith("#"):
                waiting.append(f"{space}{line.lstrip()}")
                continue
            if not begun:
                yield from waiting
                yield f"{space}- {line[len(space) + 2 :]}"
                begun = True
                continue
            yield line


def _scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS and ": " not in value:
        return value
    # JSON is YAML too: it serves for what is empty, and for a list within a list.
    return json.dumps(value, ensure_ascii=False)
