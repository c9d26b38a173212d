"""A headless Chromium in a container, driven by the DevTools protocol over its standard input and output.

It comes from Debian's packages into an image that is made once and kept, as base images are. It shares the network of
the machine, so that it reaches a server of the test's own at 127.0.0.1, and nothing is installed on the machine.
"""

import base64
import contextlib
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from dockyard.bases import resolve
from dockyard.engine.client import Engine
from dockyard.process import capture
from dockyard.settings import Settings

DOCKERFILE = """
FROM {base}
RUN apt-get -qq update \\
    && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \\
        chromium-headless-shell fonts-dejavu-core >/dev/null \\
    && rm -rf /var/lib/apt/lists/*
"""
PROGRAM = (
    "exec chromium-headless-shell --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --hide-scrollbars --remote-debugging-pipe "
    "about:blank 3<&0 4>&1 1>&2"
)
"""The container is the sandbox. Descriptors 3 and 4 are what DevTools reads and writes: JSON, each ended by a NUL."""
SECONDS = 60.0
KEYS = {"Tab": 9, "Enter": 13, " ": 32}
BAD = ("error", "warning")


def make_image(settings: Settings, engine: Engine) -> str:
    """Return the name of an image with Chromium, made where there is none."""
    python = settings.python
    (base,), _ = resolve.ensure_bases(settings._replace(pythons=(python,)), engine, (python,))
    text = DOCKERFILE.format(base=base.reference)
    image = f"dockyard-test-browser:{sha256(f'{base.digest} {text}'.encode()).hexdigest()[:16]}"
    if not capture(engine.command("image", "inspect", image), check=False).ok:
        context = f"--build-context={base.reference}={base.context}"
        with tempfile.TemporaryDirectory() as folder:  # buildx leaves one behind for a Dockerfile from its input
            (Path(folder) / "Dockerfile").write_text(text)
            build = ("buildx", "build", "--load", "--provenance=false", context, f"--tag={image}", folder)
            capture(engine.command(*build))
    return image


@contextlib.contextmanager
def open_browser(settings: Settings, engine: Engine, name: str) -> Iterator["Browser"]:
    """Yield a browser in a container of this name, which is gone afterwards."""
    options = ("--rm", "--interactive", "--init", "--network=host", f"--name={name}", "--user=65532:65532",
               "--env=HOME=/tmp", "--read-only", "--tmpfs=/tmp:mode=1777", "--cap-drop=ALL")  # fmt: skip
    command = engine.command("run", *options, "--entrypoint=sh", make_image(settings, engine), "-c", PROGRAM)
    with subprocess.Popen(command.argv, env=command.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        try:
            yield Browser(process.stdin, process.stdout)
        finally:
            capture(engine.command("rm", "--force", name), check=False)
            process.kill()


class Browser:
    """The connection: calls that are answered by number, and events that come in between."""

    def __init__(self, into: IO[bytes], out: IO[bytes]) -> None:
        self.into, self.out = into, out
        self.number = 0
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.pages: dict[str, Page] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        rest = b""
        while chunk := self.out.read1(65536):  # type: ignore[attr-defined]
            *whole, rest = (rest + chunk).split(b"\0")
            for message in whole:
                self.messages.put(json.loads(message))
        self.messages.put({"error": {"message": "the browser has ended"}})

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method and return its result; events that come before it reach their page."""
        self.number += 1
        asked = {"id": self.number, "method": method, "params": parameters}
        self.into.write(json.dumps({**asked, **({"sessionId": session} if session else {})}).encode() + b"\0")
        self.into.flush()
        while True:
            message = self.take()
            if message.get("id") == self.number:
                assert "error" not in message, (method, message["error"])
                return dict(message["result"])

    def take(self) -> dict[str, Any]:
        """Return the next message, an event after its page has seen it."""
        message = self.messages.get(timeout=SECONDS)
        assert "id" in message or "error" not in message, message
        if message.get("sessionId") in self.pages and "method" in message:
            self.pages[message["sessionId"]].note(message["method"], message["params"])
        return message

    def new_page(self) -> "Page":
        """Open a page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self.pages[session] = page
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            page.call(f"{domain}.enable")
        return page


def is_problem(method: str, told: dict[str, Any]) -> bool:
    """Say whether an event is one that a quiet page has none of."""
    if method == "Log.entryAdded":
        return told["entry"]["level"] in BAD
    if method == "Runtime.consoleAPICalled":
        return told["type"] in BAD
    return method in ("Network.loadingFailed", "Runtime.exceptionThrown")


@dataclass
class Page:
    """A tab: what it has asked for, and what it had to complain about."""

    browser: Browser
    session: str
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    loaded: int = 0

    def note(self, method: str, told: dict[str, Any]) -> None:
        """Remember an event that tests ask for."""
        if method == "Page.loadEventFired":
            self.loaded += 1
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif is_problem(method, told):
            self.problems.append(f"{method}: {json.dumps(told)[:300]}")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of this page."""
        return self.browser.call(method, self.session, **parameters)

    def open(self, address: str) -> None:
        """Go to an address and wait until all of it is there."""
        before = self.loaded
        self.call("Page.navigate", url=address)
        self.wait(before)

    def wait(self, before: int) -> None:
        """Wait until a page is loaded after `before` others."""
        while self.loaded == before:
            self.browser.take()

    def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Give the page a size and a colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        text = "\r" if key == "Enter" else key if key == " " else ""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def names(self) -> list[tuple[str, str]]:
        """Return the role and name of everything that assistive technology is told of."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        told = [node for node in nodes if not node.get("ignored")]
        return [(str(node["role"]["value"]), str(node.get("name", {}).get("value", ""))) for node in told]

    def picture(self, quality: int = 80) -> bytes:
        """Return a WebP picture of what is seen."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="webp", quality=quality)["data"])
