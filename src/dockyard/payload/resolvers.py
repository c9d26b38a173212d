# ruff: noqa: UP006, UP035, UP045
# It runs on every Python that Dockyard makes locks for, 3.9 included.
"""Compile one lock with uv or pip-tools, for this machine or as if on another one, and say what their errors mean."""

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
from typing import Any, Dict, Iterator, Optional

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


class UnreachableError(Exception):
    """A package index did not answer, or refused."""


class Shortcuts:
    """What makes pip-tools' hashing slow, taken out; the pins and hashes stay the same.

    pip-tools asks for hashes at an address that few indexes answer, and where that fails it downloads every
    file of every release. The link on the index page, which pip has read already, states the same hash, and
    pip checks what it installs against it. Besides, it fetches, parses and weighs each page twice.

    These are the only places that reach into pip and pip-tools, both pinned in tools/. Where one of them
    has another shape, it is left as it is, and works in its own way.
    """

    def __init__(self) -> None:
        self.repository: Any = importlib.import_module("piptools.repositories.pypi").PyPIRepository
        self.finder: Any = importlib.import_module("pip._internal.index.package_finder")
        self.collector: Any = importlib.import_module("pip._internal.index.collector")
        self.version: Any = importlib.import_module("pip._vendor.packaging.version")
        self.pages: dict[str, Any] = {}
        self.links: dict[Any, Any] = {}
        self.hashed: dict[str, str] = {}
        self.only: Any = None
        self.trouble: list[str] = []

    def take(self) -> None:
        """Replace what is slow, each part only where it has the known shape."""
        if hasattr(self.repository, "_get_file_hash") and hasattr(self.repository, "_get_project"):
            self.take_stated_hashes()
        if hasattr(self.finder, "parse_links") and hasattr(self.collector.LinkCollector, "fetch_response"):
            self.remember_pages()

    def take_stated_hashes(self) -> None:
        """Take the SHA-256 that a link states, hash only the files of links without one, and note whose it is."""
        hashed = self.repository._get_file_hash

        def stated(repository: Any, link: Any) -> str:
            known = getattr(link, "hash_name", None) == "sha256" and link.hash
            digest = f"sha256:{known}" if known else str(hashed(repository, link))
            self.hashed[digest] = link.filename
            return digest

        self.repository._get_file_hash = stated
        self.repository._get_project = lambda _repository, _requirement: None

    def remember_pages(self) -> None:
        """Fetch and parse each index page once for all locks, so that all see one state of the index.

        An index that does not answer ends the compile, where pip would go on and take what another one has.
        While one version's hashes are collected, wheels of other versions are not weighed.
        """
        fetch, parse = self.collector.LinkCollector.fetch_response, self.finder.parse_links
        get_hashes = self.repository.get_hashes
        logger = importlib.import_module("logging").getLogger("pip._internal.index.collector")
        logger.addFilter(self.hear)
        logger.setLevel("DEBUG")

        def fetch_once(collector: Any, location: Any, *arguments: Any, **options: Any) -> Any:
            if location.url not in self.pages:
                self.trouble.clear()
                page = fetch(collector, location, *arguments, **options)
                for said in self.trouble:
                    raise UnreachableError(said)
                self.pages[location.url] = page
            return self.pages[location.url]

        def parse_once(page: Any) -> list[Any]:
            key = (page.url, page.content)
            if key not in self.links:
                self.links[key] = list(parse(page))
            return [link for link in self.links[key] if self.only is None or self.counts(link.filename)]

        def hashes_of_version(repository: Any, requirement: Any) -> Any:
            self.only = requirement.specifier
            try:
                return get_hashes(repository, requirement)
            finally:
                self.only = None

        self.collector.LinkCollector.fetch_response = fetch_once
        self.finder.parse_links = parse_once
        self.repository.get_hashes = hashes_of_version

    def hear(self, record: Any) -> bool:
        """Note that a page could not be fetched; that an index does not have a package is no trouble."""
        said = record.getMessage()
        if said.startswith("Could not fetch") and " 404 " not in said:
            self.trouble.append(said)
        return True

    def counts(self, filename: str) -> bool:
        """Return whether a file may be of the wanted version: a wheel says its version, all others may."""
        parts = filename.split("-")
        if not filename.endswith(".whl") or len(parts) < 5:
            return True
        try:
            return bool(self.only.contains(self.version.Version(parts[1]), prereleases=True))
        except self.version.InvalidVersion:
            return True


def find_blamed(error: BaseException) -> Iterator[dict[str, str]]:
    """Yield the requirements that pip's resolver gave up on: what, by which package, from which line."""
    found: BaseException | None = error
    while found is not None and not hasattr(found, "causes"):
        found = found.__cause__ or found.__context__
    for cause in getattr(found, "causes", ()):
        source = cause.requirement.get_candidate_lookup()[1] if cause.parent is None else None
        by = f"{cause.parent.name} {cause.parent.version}" if cause.parent else ""
        yield {"what": str(cause.requirement), "by": by, "line": str(getattr(source, "comes_from", None) or "")}


def explain_network(error: BaseException) -> str:
    """Return what is wrong where an error comes from the network, and an empty text for every other error."""
    if isinstance(error, UnreachableError):
        return str(error)
    if not type(error).__module__.endswith("exceptions.network"):
        return ""
    parts = (getattr(error, "message", None) or error, getattr(error, "context", ""))
    return ": ".join(re.sub(r"\[/?\w*\]", "", str(part)) for part in parts if part)  # without marks for colours
