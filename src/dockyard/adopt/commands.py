"""Read the commands that a project names already: Procfile, an existing Dockerfile's CMD, .flaskenv (pure)."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import DockyardError
from dockyard.image.dockerfile import Stage, parse_dockerfile

SERVERS = ("gunicorn", "uvicorn", "granian", "waitress-serve", "hypercorn")
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(.*\))?")
PROCFILE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+)$", re.MULTILINE)
OURS = {"-b", "--bind", "--host", "--port", "-p", "--listen", "-w", "--worker-tmp-dir", "--chdir", "--pythonpath",
        "--reload", "--daemon", "-D", "--uds", "--user", "--group", "-u", "-g", "--pid", "--env", "-e"}  # fmt: skip
"""Options that the image decides, or that have no use in a container."""
FLAGS = {"--reload", "--daemon", "-D", "--preload", "--factory", "--proxy-headers", "--no-control-socket"}
"""Options that take no value."""


@dataclass(frozen=True)
class Named:
    """A command that the project itself names, and where."""

    words: tuple[str, ...]
    source: str

    @property
    def server(self) -> str:
        """The server that it starts; empty where that is none we know."""
        return next((name for name in SERVERS if name in self.program), "")

    @property
    def program(self) -> tuple[str, ...]:
        """The programs that the command may start: its first word, or the module behind `python -m`."""
        first = [word.rsplit("/", 1)[-1] for word in self.words[:1]]
        after = self.words.index("-m") + 1 if "-m" in self.words else 0
        return (*first, *self.words[after : after + 1])

    @property
    def app(self) -> str:
        """The application that it names, as `module:object`, or as FLASK_APP has it; empty where it names none."""
        found = next((word for word in self.words if REFERENCE.fullmatch(word)), "")
        if found or not self.words:
            return found
        if "flask" in self.program:
            return next(
                (
                    word.partition("=")[2] or self.words[at + 1]
                    for at, word in enumerate(self.words[:-1])
                    if word in {"--app", "-A"} or word.startswith("--app=")
                ),
                "",
            )
        if self.program[0].startswith("python"):
            return next((word for word in self.words[1:] if word.endswith(".py")), "")
        if self.server and not self.words[-1].startswith("-") and len(self.words) > 1:
            return self.words[-1]
        return ""

    @property
    def folder(self) -> str:
        """The folder that imports begin at, where the command changes it."""
        for option in ("--chdir", "--pythonpath", "--app-dir"):
            for at, word in enumerate(self.words):
                if word == option and at + 1 < len(self.words):
                    return self.words[at + 1].strip("./")
                if word.startswith(option + "="):
                    return word.partition("=")[2].strip("./")
        return ""

    @property
    def options(self) -> tuple[str, ...]:
        """The server's options, without those that the image decides."""
        kept: list[str] = []
        words = iter(self.words[self.words.index(self.server) + 1 :] if self.server in self.words else ())
        for word in words:
            name = word.partition("=")[0]
            takes_next = word.startswith("-") and "=" not in word and word not in FLAGS
            value = (next(words, ""),) if takes_next else ()
            # What the shell would fill in has no value here: there is no shell.
            if word.startswith("-") and name not in OURS and "$" not in "".join((word, *value)):
                kept += [word, *value]
        return tuple(kept)


def procfile(snapshot: Snapshot) -> dict[str, Named]:
    """Return the process types of a Procfile."""
    return {
        match[1]: Named(split(match[2]), f"`{match[1]}` in Procfile")
        for match in PROCFILE.finditer(snapshot.text("Procfile"))
    }


def is_ours(dockerfile: str) -> bool:
    """Return whether a Dockerfile is built on Dockyard's payload: then init wrote it, or could have (pure)."""
    return "python /dockyard " in dockerfile


def read_stages(snapshot: Snapshot) -> tuple[Stage, ...]:
    """Return the stages of an existing Dockerfile, none where BuildKit would not read it either (pure)."""
    try:
        return parse_dockerfile(snapshot.text("Dockerfile")).stages
    except DockyardError:
        return ()


def dockerfile_commands(snapshot: Snapshot) -> Iterator[Named]:
    """Yield the CMD of an existing Dockerfile, the last one first, for that is the image's; ours says nothing new."""
    if is_ours(snapshot.text("Dockerfile")):
        return
    for stage in reversed(read_stages(snapshot)):
        for one in reversed(stage.instructions):
            if one.keyword in ("CMD", "ENTRYPOINT"):
                yield Named(_command(one.rest), "CMD in Dockerfile")


def _command(text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text)
    except ValueError:
        return split(text)
    if not isinstance(words, list):
        return ()
    if [str(word).rsplit("/", 1)[-1] for word in words[:1]] in (["sh"], ["bash"]):
        return split(str(words[-1]))
    return tuple(map(str, words))


def split(text: str) -> tuple[str, ...]:
    """Return the words of a shell command: the last part of `a && b`, without `exec` and assignments before it."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return ()
    for joint in ("&&", ";"):
        while joint in words:
            words = words[words.index(joint) + 1 :]
    while words and (words[0] in {"exec", "env"} or re.match(r"\w+=", words[0])):
        words = words[1:]
    return tuple(words)


def variables(text: str) -> dict[str, str]:
    """Return the variables of a dotenv file."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#") and "=" in line)
    return {name.strip().removeprefix("export ").strip(): value.strip().strip("'\"") for name, _, value in pairs}
