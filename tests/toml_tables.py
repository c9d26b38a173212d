"""Tables of TOML: merged, and written, as the standard library only reads them."""

import json
from collections.abc import Mapping
from typing import Any


def merge_tables(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables in one; the second decides where both have a key, and tables within are merged likewise."""
    merged = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], dict) and isinstance(second[key], dict):
            merged[key] = merge_tables(first[key], second[key])
    return merged


def write_tables(table: Mapping[str, Any], *path: str) -> str:
    """Return a table as TOML: a string, number or list of JSON is one of TOML too."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"[{'.'.join(map(json.dumps, path))}]"] if path and plain else []
    lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in plain.items()]
    return "\n".join([*lines, *(write_tables(table[key], *path, key) for key in table if key not in plain), ""])
