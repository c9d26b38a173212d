"""Read the commands that a project names already: Procfile, an existing Dockerfile's CMD, .flaskenv (pure)."""

import json
import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dockyard.adopt.snapshot import Snapshot
from dockyard.errors import DockyardError
from dockyard.image.dockerfile import Stage, parse_dockerfile

REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(.*\))?")
SCRIPT = re.compile(r"""^[\s\['"(=]*([\w.-]+)\s*=\s*([A-Za-z_][\w.]*:[A-Za-z_]\w*)""", re.MULTILINE)
PROCFILE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+)$", re.MULTILINE)
OURS = {"-b", "--bind", "--host", "--port", "-p", "--listen", "-w", "--worker-tmp-dir", "--chdir", "--pythonpath",
        "--reload", "--daemon", "-D", "--uds", "--user", "--group", "-u", "-g", "--pid", "--env", "-e"}  # fmt: skip
"""Options that the image decides, or that have no use in a container."""
FLAGS = {"--reload", "--daemon", "-D", "--preload", "--factory", "--proxy-headers", "--no-control-socket"}
"""Options that take no value."""


@dataclass(frozen=True)
class Server:
    """How a server is told where to listen, and of a factory; where `factory` is empty by the brackets behind it."""

    package: str
    listen: str
    factory: str = ""


SERVERS = {
    # Its heartbeat files need memory, for the root is read-only.
    "gunicorn": Server("gunicorn", "--bind 0.0.0.0:{port} --worker-tmp-dir /dev/shm"),
    "uvicorn": Server("uvicorn", "--host 0.0.0.0 --port {port}", "--factory"),
    "granian": Server("granian", "--host 0.0.0.0 --port {port}", "--factory"),
    "waitress-serve": Server("waitress", "--listen=0.0.0.0:{port}", "--call"),
    "hypercorn": Server("hypercorn", "--bind 0.0.0.0:{port}"),
}


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
            return self.option("--app", "-A")
        if self.program[0].startswith("python"):
            return next((word for word in self.words[1:] if word.endswith(".py")), "")
        if self.server and not self.words[-1].startswith("-") and len(self.words) > 1:
            return self.words[-1]
        return ""

    @property
    def port(self) -> int:
        """The port that it names; 0 where it names none, or takes it from $PORT."""
        said = re.search(
            r"(?:--\w*port|-p|--\w*address|--bind|--listen|-b)[= ](?:\S*:)?(\d{2,5})(?: |$)", " ".join(self.words)
        )
        return int(said[1]) if said else 0

    @property
    def folder(self) -> str:
        """The folder that imports begin at, where the command changes it."""
        return self.option("--chdir", "--pythonpath", "--app-dir").strip("./")

    def option(self, *names: str) -> str:
        """Return the value of the first option that has one of some names; empty where there is none."""
        for word, following in zip(self.words, (*self.words[1:], ""), strict=True):
            name, equals, value = word.partition("=")
            if name in names:
                return value if equals else following
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
        match[1]: Named(own_program(snapshot, split(match[2])), f"`{match[1]}` in Procfile")
        for match in PROCFILE.finditer(snapshot.text("Procfile"))
    }


def console_scripts(snapshot: Snapshot) -> dict[str, str]:
    """Return the programs that an installation of the project would have, each with its `module:function`."""
    document = snapshot.toml("pyproject.toml")
    tables = (document.get("project", {}).get("scripts"), document.get("tool", {}).get("poetry", {}).get("scripts"))
    found = {name: said for table in tables if isinstance(table, dict) for name, said in table.items()}
    for path in ("setup.cfg", "setup.py"):
        lines = snapshot.text(path).partition("console_scripts")[2].lstrip("]\"': =[(")
        found |= dict(SCRIPT.findall(re.split(r"[\])\[]|\n\n", lines, maxsplit=1)[0]))
    return {name: said for name, said in found.items() if isinstance(said, str) and ":" in said}


def own_program(snapshot: Snapshot, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command as the image can start it: the project is not installed there, so it has none of its scripts."""
    module, colon, function = console_scripts(snapshot).get(words[0] if words else "", "").partition(":")
    if not colon:
        return words
    package = module.removesuffix(".__main__")
    runs = any(f"{root}{package.replace('.', '/')}/__main__.py" in snapshot.paths for root in ("", "src/"))
    if runs and module != package:
        return ("python", "-m", package, *words[1:])
    return ("python", "-c", f"from {module} import {function}; raise SystemExit({function}())", *words[1:])


def django_program(paths: Collection[str], root: str) -> tuple[str, ...]:
    """Return how Django's commands are started: an application that is a package may have no manage.py."""
    own = (f"{root}/manage.py" if root else "manage.py") in paths
    return ("python", "manage.py") if own else ("python", "-m", "django")


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
        said = {one.keyword: _command(one.rest) for one in stage.instructions if one.keyword in {"CMD", "ENTRYPOINT"}}
        # What CMD says are arguments of the entry point, where there is one that starts a server by its name.
        for words in dict.fromkeys(((*said.get("ENTRYPOINT", ()), *said.get("CMD", ())), *reversed(said.values()))):
            if words:
                yield Named(own_program(snapshot, words), "CMD in Dockerfile")


def _command(text: str) -> tuple[str, ...]:
    try:
        words = json.loads(text)
    except ValueError:
        return split(text)
    return without_shell(tuple(map(str, words))) if isinstance(words, list) else ()


def without_shell(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command's words; of a shell's line, which no shell is there for, those of its last command."""
    shell = [word.rsplit("/", 1)[-1] for word in words[:1]]
    return split(words[-1]) if shell in (["sh"], ["bash"]) and len(words) > 1 else words


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
