"""Do the same work for several Pythons or images side by side, and end all of it when one interrupt comes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dockyard.errors import DockyardError

K = TypeVar("K")
T = TypeVar("T")
PAUSE = 0.1
"""Seconds between two looks at whether the others have ended."""


def run_each(
    work: Callable[[K], T],
    items: Iterable[K],
    workers: int = max(2, os.cpu_count() or 1),
    end: Callable[[Iterable[int], Set[int]], set[int]] | None = None,
) -> dict[K, T]:
    """Return what `work` returns for every item, in their order; raise an error of its once all have ended.

    Only the main thread hears of an interrupt: it ends the programs that the others wait for, so that
    each of them cleans up what it has begun, and then goes on with the interrupt.
    """
    items = tuple(items)
    working: set[int] = set()
    stopped = threading.Event()

    def run(item: K) -> T:
        thread = threading.get_native_id()
        working.add(thread)
        try:
            if stopped.is_set():
                raise DockyardError("interrupted")
            return work(item)
        finally:
            working.discard(thread)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            futures = [pool.submit(run, item) for item in items]
            wait(futures)
        except BaseException:
            stopped.set()
            ended: set[int] = set()
            while working:
                ended |= (end or end_children)(working, ended)
                time.sleep(PAUSE)
            raise
        return {item: future.result() for item, future in zip(items, futures, strict=True)}


def end_children(threads: Iterable[int], told: Set[int] = frozenset()) -> set[int]:
    """Ask the programs that some threads of this process have started, and all below them, to end.

    Those in `told` know already. Return the process ids of the others.
    """
    found: set[int] = set()
    for thread in tuple(threads):
        with suppress(OSError):
            found.update(map(int, Path(f"/proc/self/task/{thread}/children").read_text("ascii").split()))
    for child in found - told:
        with suppress(OSError):
            os.killpg(child, signal.SIGTERM)
    return found - told
