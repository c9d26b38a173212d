# ruff: noqa: UP006, UP035, UP045
# It runs on every Python that Dockyard makes locks for, 3.9 included.
"""Compile one lock with uv or pip-tools, for this machine or as if on another one."""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import platform
import re
import subprocess  # here, in a container, is nothing of the pipeline that starts programs
import sys
import urllib.parse
from typing import Any, Dict, Optional

from .shortcuts import Shortcuts, explain_network, find_blamed

CACHE = pathlib.Path("/cache")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]+)")

Wrong = Optional[Dict[str, Any]]
"""What a compiler tells of its failure, or None where it has none."""

Environment = Optional[Dict[str, Any]]
"""What markers, wheels and uv call some kind of machine, or None for this very one."""


class FailedError(Exception):
    """A tool ended with an error: what it was doing, what it said, and the requirements that it blames."""

    def __init__(self, doing: str, said: str, wrong: Wrong = None, agreed: dict[str, list[str]] | None = None) -> None:
        super().__init__(doing)
        self.answer = {"doing": doing, "said": said, "causes": [], "network": "", "transient": False}
        self.answer.update(environment="", agreed=agreed or {})
        self.answer.update(wrong or {})


class Uv:
    """What compiles a job with uv, for this interpreter or for another version."""

    def __init__(self, request: dict[str, Any], folder: pathlib.Path) -> None:
        self.seen: set[str] = set()
        self.always = [str(folder / "bin" / "uv"), "pip", "compile", "--python", sys.executable, "--no-config"]
        self.always += ["--generate-hashes", "--no-header"]
        if request["python"] != ".".join(platform.python_version_tuple()[:2]):
            self.always += ["--python-version", request["python"]]

    def compile(self, job: dict[str, Any], constraints: list[str], environment: Environment) -> Wrong:
        """Compile a job; return what is wrong, or None."""
        options = ["--no-emit-index-url", "--annotation-style=split", *uv_platform(environment)]
        options += [word for name in constraints for word in ("--constraint", name)]
        return {} if subprocess.call([*self.always, *options, "--output-file", job["output"], job["input"]]) else None

    def differs(self, _first: dict[str, Any], other: dict[str, Any], _text: str) -> bool:
        """Return whether another environment is to be resolved too: uv tells of no markers, and takes no time."""
        return bool(other["asked"] and other["uv"])

    def files(self, job: dict[str, Any]) -> dict[str, str]:
        """Return the names of the files of a job's lock by their hashes."""
        # For its own purposes uv leaves out what this platform cannot install, but in a lock for all platforms.
        lines = [*job["options"], read(pathlib.Path(job["output"]))]
        pathlib.Path("pinned.in").write_text("\n".join(lines), encoding="utf-8")
        options = ["--universal", "--no-deps", "--format", "pylock.toml", "--output-file", "pylock.toml"]
        done = subprocess.run(
            [*self.always, *options, "pinned.in"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise FailedError(job["purpose"], done.stdout)
        return named_in(read(pathlib.Path("pylock.toml")))


def uv_platform(environment: Environment) -> list[str]:
    """Return the option that names an environment to uv; none for this machine's own, and for those it cannot name."""
    if not environment or not environment["uv"] or environment["markers"]["platform_machine"] == platform.machine():
        return []
    name = str(environment["uv"])
    newest = int(glibc().partition(".")[2] or 0)
    if name.endswith("-linux-gnu") and newest >= 31:
        name = f"{name.partition('-')[0]}-manylinux_2_{min(newest, 40)}"
    return ["--python-platform", name]


def named_in(pylock: str) -> dict[str, str]:
    """Return the names of the files in a pylock.toml by their hashes."""
    try:
        toml: Any = importlib.import_module("tomllib")
    except ImportError:  # before Python 3.11
        toml = importlib.import_module("pip._vendor.tomli")
    packages = toml.loads(pylock)["packages"]
    kinds = ([each.get("sdist", {}), each.get("archive", {}), *each.get("wheels", [])] for each in packages)
    return {
        f"sha256:{file['hashes']['sha256']}": file.get("name") or filename(file.get("url") or file["path"])
        for files in kinds
        for file in files
        if file
    }


def filename(address: str) -> str:
    """Return the last part of an address's path."""
    return urllib.parse.unquote(urllib.parse.urlsplit(address).path).rsplit("/", 1)[-1]


class PipTools:
    """What compiles a job with pip-tools in this process, as if on the machine of some environment."""

    def __init__(self, folder: pathlib.Path) -> None:
        sys.path.insert(0, str(folder))
        self.script: Any = importlib.import_module("piptools.scripts.compile")
        self.markers: Any = importlib.import_module("pip._vendor.packaging.markers")
        self.target: Any = importlib.import_module("pip._internal.models.target_python")
        self.utils: Any = importlib.import_module("pip._vendor.packaging.utils")
        self.environment: Environment = None
        self.seen: set[str] = set()
        self.default, self.supported = self.markers.default_environment, self.target.get_supported
        vars(self.markers)["default_environment"] = self.read_environment
        vars(self.target)["get_supported"] = lambda **options: self.tags(self.environment, **options)
        evaluate, seen = self.markers.Marker.evaluate, self.seen

        def noted(marker: Any, *arguments: Any, **options: Any) -> Any:
            seen.add(str(marker))
            return evaluate(marker, *arguments, **options)

        self.markers.Marker.evaluate = noted
        self.shortcuts = Shortcuts()
        self.shortcuts.take()

    def read_environment(self) -> dict[str, str]:
        """Return what markers read, in the environment of this moment."""
        return {**self.default(), **(self.environment["markers"] if self.environment else {})}

    def tags(self, environment: Environment, **options: Any) -> list[Any]:
        """Return the tags of wheels that fit an environment; where nobody asked for it, those of this machine too."""
        own: list[Any] = self.supported(**options)
        if not environment or environment["markers"]["platform_machine"] == platform.machine():
            return own
        names = wheel_platforms(environment["markers"])
        others = self.supported(**{**options, "platforms": names})
        return list(others) if environment["asked"] else [*others, *(tag for tag in own if tag not in others)]

    def compile(self, job: dict[str, Any], constraints: list[str], environment: Environment) -> Wrong:
        """Compile a job; return what is wrong, or None."""
        options = ["--generate-hashes", "--no-reuse-hashes", "--allow-unsafe", "--strip-extras", "--no-config"]
        options += ["--no-header", "--no-emit-options", "--annotation-style=split", "--resolver=backtracking"]
        options += [word for name in constraints for word in ("--constraint", name)]
        options += ["--cache-dir", str(CACHE / "pip-tools"), "--output-file", job["output"], job["input"]]
        self.environment = environment
        try:
            self.script.cli.main(args=options, prog_name="pip-compile")
        except SystemExit as error:
            return {} if error.code else None
        except Exception as error:  # noqa: BLE001 - pip-tools lets every error of pip through
            sys.stderr.write(f"{error}\n")
            return {"causes": list(find_blamed(error)), "network": explain_network(error)}
        finally:
            self.environment = None
        return None

    def differs(self, first: dict[str, Any], other: dict[str, Any], text: str) -> bool:
        """Return whether some marker says something else in another environment, or a pin has no file for it."""
        for said in sorted(self.seen):
            marker = self.markers.Marker(said)
            for extra in ["", *re.findall(r'extra == "([^"]+)"', said)]:
                one, two = (marker.evaluate({**each["markers"], "extra": extra}) for each in (first, other))
                if one != two:
                    return True
        if not other["asked"]:
            return False
        tags = set(self.tags(other))
        return not all(self.installs(entry, tags) for entry in re.split(r"\n(?=[A-Za-z0-9])", text) if "==" in entry)

    def installs(self, entry: str, tags: set[Any]) -> bool:
        """Return whether a pin with its hashes has a file that fits, as far as the files are known."""
        names = [self.shortcuts.hashed.get(digest, "") for digest in HASH.findall(entry)]
        wheels = [name for name in names if name.endswith(".whl")]
        if len(wheels) < len(names):
            return True
        with contextlib.suppress(self.utils.InvalidWheelFilename):
            return not wheels or any(tags & self.utils.parse_wheel_filename(name)[3] for name in wheels)
        return True

    def files(self, job: dict[str, Any]) -> dict[str, str]:
        """Return the names of the files of a job's lock by their hashes."""
        hashed, digests = self.shortcuts.hashed, HASH.findall(read(pathlib.Path(job["output"])))
        return {digest: hashed[digest] for digest in digests if digest in hashed}


def wheel_platforms(markers: dict[str, str]) -> list[str]:
    """Return the names in wheels of the platform that these markers tell of, the most specific first."""
    machine = markers["platform_machine"]
    if markers["sys_platform"] == "win32":
        return [f"win_{machine.lower()}"]
    if markers["sys_platform"] == "darwin":
        return [f"macosx_15_0_{machine}"]
    newest = int(glibc().partition(".")[2] or 17)
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(newest, 4, -1)]
    return [
        *names,
        *(f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1")),
        f"linux_{machine}",
    ]


def glibc() -> str:
    """Return the version of this system's glibc, or nothing where it has another C library."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")[2]
    except (ValueError, OSError):
        return ""


def read(path: pathlib.Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8", errors="replace")
