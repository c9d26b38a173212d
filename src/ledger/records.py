"""Read and check run records: the JSON format that a pipeline and the ledger share."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import fastjsonschema

SCHEMA_FILE = Path(__file__).with_name("run-record.schema.json")
EARLIER = {"dockyard.run/1": SCHEMA_FILE.with_name("run-record-1.schema.json")}
"""Versions of the format that are still taken: a pipeline may be older than its ledger."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Beyond this, implementations of JSON no longer agree on a whole number's value (RFC 7493, section 2.2).
LARGEST_INTEGER = 2**53 - 1
LONGEST_MESSAGE = 300
"""In characters: what is wrong with a record is told without all that somebody sent."""


class MalformedJSONError(ValueError):
    """The bytes are not a JSON text that every reader understands alike."""


@dataclass(frozen=True)
class Violation:
    """One way in which a record breaks the schema; `path` is a JSON Pointer, empty for the whole record."""

    path: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """Return the violation as the API shows it."""
        return asdict(self)


def parse(body: bytes) -> Any:
    """Decode strict JSON: UTF-8, finite numbers, exact integers, no lone surrogates, no repeated names."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_exact,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise MalformedJSONError(f"the text is not valid Unicode: {error.reason}") from error
    except RecursionError as error:
        raise MalformedJSONError("the values are nested too deeply") from error
    except ValueError as error:
        raise MalformedJSONError(str(error)) from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise MalformedJSONError("a name occurs twice in one object")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedJSONError(f"{text[:40]} is not a finite number")
    return number


def _exact(text: str) -> int:
    number = int(text) if len(text) <= len(str(-LARGEST_INTEGER)) else LARGEST_INTEGER + 1
    if abs(number) > LARGEST_INTEGER:
        raise MalformedJSONError(f"{text[:40]} is beyond the whole numbers that JSON carries exactly")
    return number


def violations(record: Any) -> tuple[Violation, ...]:
    """Compare a decoded record with the schema; an empty result means that it is valid."""
    version = record.get("schema") if isinstance(record, dict) else None
    file = EARLIER.get(version, SCHEMA_FILE) if isinstance(version, str) else SCHEMA_FILE
    try:
        _validator(file)(record)
    except fastjsonschema.JsonSchemaValuesException as error:
        return tuple(_violation(one) for one in error.errors)
    try:
        started_microseconds(record["started"])
    except ValueError as error:
        return (Violation("/started", f"must be a date and time that exists: {error}"),)
    return ()


def _violation(error: fastjsonschema.JsonSchemaValueException) -> Violation:
    """Turn the library's `data.image.digest must …` into a pointer and a message."""
    name = error.name or "data"
    path = "".join(f"/{part}" for part in error.path[1:])
    return Violation(path[:LONGEST_MESSAGE], error.message.removeprefix(name).strip()[:LONGEST_MESSAGE])


@cache
def _validator(file: Path) -> Callable[[Any], Any]:
    schema = json.loads(file.read_text(encoding="utf-8"))
    return cast("Callable[[Any], Any]", fastjsonschema.compile(schema, fast_fail=False))


def started_microseconds(started: str) -> int:
    """Return a record's start as microseconds since 1970, so that times with and without a fraction sort alike."""
    return (datetime.fromisoformat(started) - EPOCH) // timedelta(microseconds=1)
