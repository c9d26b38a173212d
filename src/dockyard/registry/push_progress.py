"""Follow the layers of a push from the engine's events, and show them."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from dockyard import console

log = logging.getLogger(__name__)


State = Literal["waiting", "pushing", "pushed", "existing", "mounted"]
FINISHED = ("pushed", "existing", "mounted")
_STATES: Mapping[str, State] = {
    "Preparing": "waiting",
    "Waiting": "waiting",
    "Pushing": "pushing",
    "Pushed": "pushed",
    "Layer already exists": "existing",
}
_MOUNTED = "Mounted from "


@dataclass
class Layer:
    """A layer on its way: bytes sent and to send, and when it began and was last heard of, by a steady clock."""

    id: str
    state: State = "waiting"
    source: str = ""
    sent: int = 0
    total: int = 0
    started: float = 0.0
    seen: float = 0.0

    @property
    def rate(self) -> float:
        """Bytes per second on the way, 0 where it was over too soon to tell."""
        return self.sent / (self.seen - self.started) if self.started and self.seen > self.started else 0.0

    @property
    def words(self) -> str:
        """The state as people read it, with bytes and rate while they are sent and when they have been."""
        if self.state == "mounted":
            return f"mounted from {self.source}"
        if self.state == "existing":
            return "already there"
        pace = f", {console.size(int(self.rate))}/s" if self.rate else ""
        if self.state == "pushing":
            return f"{console.size(self.sent)} of {console.size(self.total)}{pace}"
        size = f" {console.size(self.total)}" if self.total else ""
        time = f" in {console.duration(self.seen - self.started)}" if self.rate else ""
        return f"{self.state}{size}{time}{pace}"


@dataclass
class Layers:
    """The layers of one push; `retried` tells that the engine itself has tried some again."""

    found: dict[str, Layer] = field(default_factory=dict)
    retried: bool = False

    def feed(self, event: Mapping[str, Any], now: float) -> Layer | None:
        """Take in an event of the engine's and return the layer that it tells of, None where it tells of none."""
        status, name = str(event.get("status") or ""), event.get("id")
        if status.startswith("Retrying"):
            self.retried = True
        state: State | None = "mounted" if status.startswith(_MOUNTED) else _STATES.get(status)
        if not name or not state:
            return None
        layer = self.found.setdefault(str(name), Layer(str(name)))
        if state == "pushing":
            layer.started = layer.started or now
            progress = event.get("progressDetail") or {}
            layer.sent, layer.total = progress.get("current") or layer.sent, progress.get("total") or layer.total
        layer.state, layer.source = state, status.removeprefix(_MOUNTED) if state == "mounted" else ""
        layer.sent = layer.total if state == "pushed" else layer.sent
        layer.seen = now
        return layer

    def count(self, state: State) -> int:
        """Return how many layers are in a state."""
        return sum(layer.state == state for layer in self.found.values())


@contextlib.contextmanager
def display() -> Iterator[Callable[[Layer], None]]:
    """Yield what shows a layer: a bar each on a terminal, elsewhere one line as each is finished."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=console.make_console(sys.stderr)) as progress:
        bars: dict[str, TaskID] = {}

        def show(layer: Layer) -> None:
            if layer.id not in bars:
                bars[layer.id] = progress.add_task(layer.id, total=None, words="")
            total = layer.total or (1 if layer.state in FINISHED else None)
            sent = total if layer.state in FINISHED else layer.sent
            progress.update(bars[layer.id], total=total, completed=sent, words=layer.words)

        yield show


def _lines() -> Callable[[Layer], None]:
    shown: set[str] = set()

    def show(layer: Layer) -> None:
        if layer.state in FINISHED and layer.id not in shown:
            shown.add(layer.id)
            log.info(f"  {layer.id}  {layer.words}")

    return show
