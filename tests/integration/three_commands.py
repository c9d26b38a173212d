"""From clone to a healthy container in three commands: the samples, what each is asked, and what it took."""

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.process import Command, Completed, capture

from .checkout import CONFIGURATION, ROOT, committed, free_port, remove_made

SAMPLES = ROOT / "tests" / "samples"
PATIENCE = 20.0
"""Seconds for what a page shows a moment later, such as the work of a queue."""
PAUSE = 0.005


@dataclass(frozen=True)
class Sample:
    """A sample: its shape in words, and a page that says something (a regular expression).

    Where it keeps data, `fields` are posted to `write` before, once; the page must say the same when it has started
    anew. It lies in `folder` of its repository.
    """

    name: str
    shape: str
    says: str
    page: str = "/"
    write: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."


ALL = (
    Sample("single", "one file with templates", "Good morning"),
    Sample(
        "factory", "package in src/ with data, SQLite, and its version from git",
        "buy milk", write="/", fields={"text": "buy milk"},
    ),
    Sample("procfile", "wsgi.py, Procfile, pinned requirements", "EUR"),
    Sample("migrations", "Flask-Migrate, Babel, MariaDB", "Besuche: 1$", write="/", fields={"visit": "now"}),
    Sample("postgres", "PostgreSQL by psycopg", "Ada", write="/", fields={"name": "Ada"}),
    Sample("fastapi_poetry", "FastAPI, pydantic settings, Poetry", "21.5"),
    Sample(
        "pipenv", "Waitress, Pipfile with its lock, log files", "watch the door", page="/log", write="/log",
        fields={"text": "watch the door"},
    ),
    Sample("uv_groups", "Starlette factory, uv.lock, groups", r"20\d\d-\d\d-\d\dT"),
    Sample(
        "django", "SQLite at the top, migrations, static files", "Walden", write="/", fields={"title": "Walden"},
    ),
    Sample(
        "worker", "RQ worker, Valkey", '"sent": ?1', page="/letters", write="/letters", fields={"to": "Ada"},
    ),
    Sample("variables", "needs variables and a secret, setup.cfg", "help@example.com"),
    Sample("library", "libmagic by its name", "application/pdf", page="/healthz"),
    Sample("monorepo", "a service in a folder of a larger repository", '"price": ?12', folder="services/prices"),
    Sample("own_dockerfile", "has a Dockerfile, which stays", "Tea or coffee"),
    Sample(
        "own_compose", "has a Dockerfile and a Compose file with a database, a queue and a worker, which stay",
        "Ada", write="/", fields={"name": "Ada"},
    ),
    Sample("compiled", "Cairo compiled from source", "PNG"),
    Sample("npm", "front end built by npm", "<p>Built</p>"),
)  # fmt: skip


@dataclass
class Story:
    """What a sample took: the lines of each file that init wrote, seconds by step, bytes to pull, tests that passed.

    `edits` are the variables that a person must give a value first.
    """

    lines: dict[str, int] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    size: int = 0
    tests: int = 0


@dataclass(frozen=True)
class Walk:
    """The way of one sample: Dockyard's `programs`, the `folder` to work in, and a `name` for all that it makes."""

    sample: Sample
    programs: Path
    folder: Path
    name: str
    engine: Engine
    say: Callable[[str], None]
    story: Story = field(default_factory=Story)
    port: int = field(default_factory=free_port)

    def follow(self) -> Story:
        """Go from a clone to a healthy container that keeps its data, and take all down again.

        Raise DockyardError where a command fails or a page says something else.
        """
        sample, story = self.sample, self.story
        shutil.copytree(SAMPLES / sample.name, self.folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        committed(self.folder)
        up = ("dockyard", "up", "--production", "--port", str(self.port))
        try:
            written = self.read("init", "dockyard", "init", "--json")
            story.lines |= {file["path"]: file["lines"] for file in written["files"] if file["lines"]}
            story.edits += written["needs_a_value"]
            said = self.run("up", *up).stderr
            story.seconds["lock"] = sum(map(float, re.findall(r" in ([\d.]+) s with ", said)))
            self.refuse_mounts()
            if sample.write:
                self.ask(sample.write, sample.fields)
            self.expect(sample.says)
            story.size = int(self.read("verify", "dockyard", "verify", "--json")["size_bytes"])
            self.run("down", "dockyard", "down")
            self.run("again", *up)
            self.expect(sample.says)
            story.seconds["answer"] = self.start_alone()
            told = self.run("tests", "nox", "-s", "tests").stdout
            story.tests = sum(map(int, re.findall(r"\bpassed +(\d+) ", told)))
            if not story.tests:
                raise DockyardError(f"no test of {sample.name} has passed: {told}")
            again = self.read("init again", "dockyard", "init", "--json")
            if changed := [file["path"] for file in again["files"] if file["action"] != "same"]:
                raise DockyardError(f"init would write {', '.join(changed)} once more")
        finally:
            capture(self.command("dockyard", "down", "--volumes"), check=False)
            remove_made(self.engine, self.name)
        return story

    def command(self, program: str, *words: str) -> Command:
        """Return a program of the installation as a command in the project, under a name of the walk's own."""
        env = {**CONFIGURATION, "DOCKYARD_IMAGE": self.name}
        folder = self.folder / self.sample.folder
        return Command((str(self.programs / program), *words), cwd=folder, env=env, timeout=900)

    def run(self, step: str, *words: str) -> Completed:
        """Run a command and keep how long it took."""
        done = capture(self.command(*words))
        self.story.seconds[step] = done.seconds
        self.say(f"{self.sample.name}: {step} {done.seconds:.1f} s")
        return done

    def read(self, step: str, *words: str) -> Any:
        """Run a command and return the document that it prints."""
        return json.loads(self.run(step, *words).stdout)

    def refuse_mounts(self) -> None:
        """Raise DockyardError where a container reads the checkout: production is what the image holds."""
        stack: dict[str, Any] = {"label": f"com.docker.compose.project={self.name}"}
        for container in self.engine.client().containers.list(all=True, filters=stack):
            for mount in container.attrs["Mounts"]:
                source = Path(mount.get("Source") or "/")
                if source.is_relative_to(self.folder) and ".dockyard" not in source.parts:
                    raise DockyardError(f"{container.name} has {source} of the checkout at {mount['Destination']}")

    def ask(self, path: str, fields: Mapping[str, str] | None = None) -> str:
        """Return what a page says; fields are posted to it."""
        data = urlencode(fields).encode() if fields else None
        with urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=10) as answer:
            return str(answer.read().decode(errors="replace"))

    def expect(self, words: str) -> None:
        """Wait until the sample's page says some words; raise DockyardError where it does not."""
        end = time.monotonic() + PATIENCE
        while not re.search(words, said := self.ask(self.sample.page), re.MULTILINE):
            if time.monotonic() > end:
                raise DockyardError(f"{self.sample.page} does not say {words!r}, but {said[:200]!r}")
            time.sleep(0.2)

    def start_alone(self) -> float:
        """Stop the container of the pages, start it, and return the seconds until it answers."""
        services = json.loads(capture(self.command("dockyard", "ps", "--json")).stdout)
        web = next(service["container"] for service in services if service["addresses"])
        container = self.engine.client().containers.get(web)
        container.stop()
        begun = time.monotonic()
        container.start()
        while True:
            try:
                self.ask(self.sample.page)
                return time.monotonic() - begun
            except (URLError, OSError):
                if time.monotonic() > begun + PATIENCE:
                    raise
                time.sleep(PAUSE)
