"""The bake file that BuildKit is given, and what is read out of its progress."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from dockyard.image import bake
from dockyard.image.bake import BakeTarget
from dockyard.image.record_types import CacheRecord, StepRecord

PLAIN = """\
#0 building with "default" instance using docker driver

#1 [internal] load local bake definitions
#1 reading from stdin 154B done
#1 DONE 0.0s

#2 [shop-3_13 internal] load build definition from Dockerfile
#2 transferring dockerfile: 113B done
#2 DONE 0.0s

#3 [auth] library/python:pull token for a registry
#3 DONE 0.0s

#5 [shop-3_13 internal] load build context
#5 transferring context: 22B done
#5 DONE 0.0s

#6 [shop-3_13 base 1/2] FROM python:3.13-slim
#6 CACHED

#7 [shop-3_13 base 2/2] RUN --mount=type=bind,target=/x pip install
#7 0.345 #9 CACHED is only something that pip prints
#7 DONE 4.1s

#8 [shop-3_13 production 1/1] COPY --link src /app
#8 CACHED

#9 [shop-3_13] exporting to image
#9 exporting layers done
#9 DONE 0.0s
"""

TERMINAL = (
    "\x1b[?25l[+] Building 0.1s (2/3)                              docker:default\r\n"
    "\x1b[34m => [internal] load local bake definitions             0.0s\r\n"
    "\x1b[0m => [shop-3_13 base 1/2] FROM python:3.13-slim          0.0s\r\n"
    "\x1b[?25h\x1b[1A\x1b[1A\x1b[0G\x1b[?25l[+] Building 0.2s (13/13) FINISHED   docker:default\r\n"
    "\x1b[34m => [internal] load local bake definitions             0.0s\r\n"
    "\x1b[0m\x1b[34m => => reading from stdin 154B                   0.0s\r\n"
    "\x1b[0m\x1b[34m => [shop-3_13 internal] load build context      0.0s\r\n"
    "\x1b[0m\x1b[34m => CACHED [shop-3_13 base 1/2] FROM python:3.1  0.0s\r\n"
    "\x1b[0m\x1b[34m => [shop-3_13 base 2/2] RUN pip install         4.1s\r\n"
    "\x1b[0m\x1b[34m => CACHED [shop-3_13 production 1/1] COPY --li  0.0s\r\n"
    "\x1b[0m\x1b[34m => [shop-3_13] exporting to image               0.0s\r\n"
    "\x1b[0m\x1b[34m => => naming to shop:1                          0.0s\r\n"
    "\x1b[0m\x1b[?25h"
)


def used(log: str) -> CacheRecord:
    """Return what came from the cache by a log that came at once."""
    return bake.cache_use(bake.read_steps([(0.0, log)]))


@pytest.mark.parametrize(
    "log", [PLAIN, PLAIN.replace("\n", "\r\n"), TERMINAL], ids=["plain", "plain, crlf", "terminal"]
)
def test_cache_use(log: str) -> None:
    """Three steps of the Dockerfile, two of them cached; BuildKit's own work does not count."""
    assert used(log) == {"steps": 3, "cached": 2}


def test_libraries_that_steps_found_missing() -> None:
    """Plain or drawn on a terminal, which cuts lines: each library once, by the longest line."""
    plain = "#12 0.5 missing shared library: libpq.so.5, needed by /venv/a.so; usually in libpq5\r\n"
    drawn = "\x1b[2m => => # missing shared library: libpq.so.5, needed by /ve\x1b[0m\r\n"
    other = "#13 0.1 missing shared library: libown.so, needed by /venv/b.so\n#13 0.2 done\n"
    assert bake.missing_libraries(drawn + plain + plain + other) == (
        "libpq.so.5, needed by /venv/a.so; usually in libpq5",
        "libown.so, needed by /venv/b.so",
    )
    assert bake.missing_libraries("#13 0.1 done") == ()


def test_cache_use_of_a_shared_step() -> None:
    """A step that BuildKit lists twice under one name counts once, in both forms of the log."""
    plain = "#6 [y a 1/1] COPY a /a\n#6 CACHED\n\n#11 [y a 1/1] COPY a /a\n#11 CACHED\n"
    drawn = " => CACHED [y a 1/1] COPY a /a  0.0s\r\n => CACHED [y a 1/1] COPY a /a  0.0s\r\n"
    assert used(plain) == used(drawn) == {"steps": 1, "cached": 1}


def test_cache_use_of_a_failed_step() -> None:
    """A step that failed or was cancelled is one that ran, not one that was cached."""
    drawn = " => ERROR [x 1/2] RUN false  0.1s\r\n => CANCELED [x 2/2] RUN sleep 9  0.1s\r\n"
    assert used(drawn) == {"steps": 2, "cached": 0}


@pytest.mark.parametrize("log", ["", "ERROR: no builder\n", "\x1b[31m\xff\x00"])
def test_cache_use_of_something_else(log: str) -> None:
    """No step, no hit, no exception."""
    assert used(log) == {"steps": 0, "cached": 0}


def test_a_build_with_a_platform_in_its_step_names() -> None:
    """A build for several platforms names them in each step."""
    plain = "#6 [linux/amd64 x a 1/1] COPY a /a\n#6 CACHED\n#7 [linux/arm64 x a 1/1] COPY a /a\n#7 DONE 0.1s\n"
    assert used(plain) == {"steps": 2, "cached": 1}


def read_document(images: Sequence[BakeTarget]) -> Any:
    """Return the bake file as BuildKit reads it."""
    return json.loads(json.dumps(bake.document(images)))


def test_document_builds_all_in_one_solve() -> None:
    """Every image is a target of the default group, and empty fields are left to bake's defaults."""
    found = read_document([BakeTarget("a", "production", ("shop:1",)), BakeTarget("b", "test", ())])
    assert found == {
        "group": {"default": {"targets": ["a", "b"]}},
        "target": {
            "a": {"context": ".", "dockerfile": "Dockerfile", "target": "production", "tags": ["shop:1"]},
            "b": {"context": ".", "dockerfile": "Dockerfile", "target": "test"},
        },
    }


def test_document_carries_everything() -> None:
    """Arguments, contexts, labels, secrets, platforms and caches reach bake under its own names."""
    image = BakeTarget("a", "t", ("shop:1",), {"A": "1"}, {"python:3.13-slim": "docker-image://x"}, {"k": "v"},
                  ("id=ca,src=/ca",), ("linux/arm64",), ("type=registry,ref=cache",),
                  ("type=registry,ref=cache,mode=max",), output=("type=oci,dest=/x",))  # fmt: skip
    written = read_document([image])["target"]["a"]
    assert written == {
        "context": ".",
        "dockerfile": "Dockerfile",
        "target": "t",
        "tags": ["shop:1"],
        "args": {"A": "1"},
        "contexts": {"python:3.13-slim": "docker-image://x"},
        "labels": {"k": "v"},
        "secret": ["id=ca,src=/ca"],
        "platforms": ["linux/arm64"],
        "cache-from": ["type=registry,ref=cache"],
        "cache-to": ["type=registry,ref=cache,mode=max"],
        "output": ["type=oci,dest=/x"],
    }


COMMANDS = {
    "plain": ({}, "buildx bake --file=- --provenance=false --metadata-file=/m --load"),
    "push": ({"result": "--push"}, "buildx bake --file=- --provenance=false --metadata-file=/m --push"),
    "the file says it": ({"result": ""}, "buildx bake --file=- --provenance=false --metadata-file=/m"),
    "builder": (
        {"builder": "far", "no_cache": True},
        "buildx bake --builder far --file=- --provenance=false --metadata-file=/m --no-cache --load",
    ),
}


@pytest.mark.parametrize(("options", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_arguments(options: dict[str, object], expected: str) -> None:
    """The words that docker gets, in order."""
    assert " ".join(bake.arguments(metadata="/m", **options)) == expected  # type: ignore[arg-type]


PLAIN = """#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#7 [build 1/2] FROM x
#7 CACHED
#8 [build 2/2] RUN install
#8 0.512 Collecting flask
#9 [test 1/1] RUN false
#8 ...
#9 0.1 no
#9 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1
#8 [build 2/2] RUN install
#8 DONE 2.5s
#10 exporting to image
#10 exporting layers 0.2s done
#10 DONE 0.4s
"""


def arriving(text: str, every: float = 0.5) -> list[tuple[float, str]]:
    """Return a log as it comes, a line each time, some of them in two halves."""
    pieces = []
    for number, line in enumerate(text.splitlines(keepends=True)):
        pieces += [(number * every, line[:3]), (number * every, line[3:])]
    return pieces


def tuple_of(step: StepRecord) -> tuple[str, float, bool, bool]:
    """Return what matters of a step."""
    return step["name"], step["duration_seconds"], step["cached"], step.get("outcome") == "failed"


def test_steps_of_plain_progress() -> None:
    """What took how long, what came from the cache, and what failed; the log's own lines are no steps."""
    steps = [tuple_of(step) for step in bake.read_steps(arriving(PLAIN))]
    assert sorted(steps) == [
        ("[build 1/2] FROM x", 0.0, True, False),
        ("[build 2/2] RUN install", 2.5, False, False),
        ("[internal] load build definition from Dockerfile", 0.0, False, False),
        ("[test 1/1] RUN false", 1.5, False, True),
        ("exporting to image", 0.4, False, False),
    ]
    starts = [step["started_seconds"] for step in bake.read_steps(arriving(PLAIN))]
    assert starts == sorted(starts)
    (install,) = [step for step in bake.read_steps(arriving(PLAIN)) if "install" in step["name"]]
    assert install["started_seconds"] == 3.0  # it ended at 5.5
    later = bake.read_steps(arriving(PLAIN), began=10.5)
    assert [step["started_seconds"] for step in later] == [10.5 + start for start in starts]


DRAWN = (
    "\x1b[1A\x1b[0G\x1b[?25l[+] Building 0.1s (1/3)\r\n => CACHED [build 1/2] FROM x                  0.0s\r\n"
    "\x1b[0m => [build 2/2] RUN install                     0.1s\r\n",
    "\x1b[34m => [build 2/2] RUN install                    1.1s\r\n => => # Collecting flask\r\n",
    " => ERROR [build 2/2] RUN install                      2.4s\r\n => exporting to image                    0.3s\r\n",
)


def test_steps_of_drawn_progress() -> None:
    """The same, from what is drawn anew on a terminal: the last time beside a name is its own."""
    steps = bake.read_steps((0.2 + number, piece) for number, piece in enumerate(DRAWN))
    assert [tuple_of(step) for step in steps] == [
        ("[build 2/2] RUN install", 2.4, False, True),
        ("[build 1/2] FROM x", 0.0, True, False),
        ("exporting to image", 0.3, False, False),
    ]
    assert [round(step["started_seconds"], 1) for step in steps] == [0.1, 0.2, 1.9]
