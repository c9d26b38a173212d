# ruff: noqa: UP006, UP035, UP045
# It runs on every Python that Dockyard makes locks for, 3.9 included.
"""Compile one Python's locks inside its container; needs nothing but the standard library of Python 3.9.

The program arrives on standard input with a JSON request behind it, and answers with JSON on standard
output. So nothing is mounted, a remote engine will do, and no credential is in a command line, an
environment that `docker inspect` shows, or a file that outlives the container.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess  # the one exception to the rule: this file runs alone, where nothing else is
import sys
import tempfile
import time
import urllib.parse
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

CACHE = pathlib.Path("/cache")
HASH = re.compile(r"--hash=(sha256:[0-9a-f]+)")
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s\\;]+)", re.MULTILINE)

Wrong = Optional[Dict[str, Any]]
"""What a compiler tells of its failure, or None where it has none."""

Compiler = Callable[[Dict[str, Any], List[str]], Wrong]

Lister = Callable[[Dict[str, Any]], Dict[str, str]]
"""Tells the name of each file that a job's lock has the hash of, by that hash."""


class FailedError(Exception):
    """A tool ended with an error: what it was doing, what it said, and the requirements that it blames."""

    def __init__(self, doing: str, said: str, wrong: Wrong = None, agreed: dict[str, list[str]] | None = None) -> None:
        super().__init__(doing)
        self.answer = {"doing": doing, "said": said, "causes": [], "network": "", "agreed": agreed or {}}
        self.answer.update(wrong or {})


def main() -> None:
    """Read the request, compile every job in it, and print the answer."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    request = json.load(sys.stdin)
    work = pathlib.Path(tempfile.mkdtemp())
    try:
        set_up(request, work)
        answer = {"locks": compile_all(request, work), "glibc": glibc()}
    except FailedError as error:
        answer = {"failed": error.answer}
    json.dump(answer, sys.stdout)


def glibc() -> str:
    """Return the version of this system's glibc, or nothing where it has another C library."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")[2]
    except (ValueError, OSError):
        return ""


def set_up(request: dict[str, Any], work: pathlib.Path) -> None:
    """Write the inputs, and leave an environment in which no setting of the host or the image counts."""
    for path, text in request["files"].items():
        place = work / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    home = work / "home"
    home.mkdir()
    if request["netrc"]:
        (home / ".netrc").write_text(request["netrc"], encoding="utf-8")
        (home / ".netrc").chmod(0o600)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "PYTHON"))]:
        del os.environ[name]
    os.environ.update(
        HOME=str(home),
        NETRC=str(home / ".netrc"),
        PIP_CACHE_DIR=str(CACHE / "pip"),
        PIP_CONFIG_FILE=os.devnull,
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_RETRIES=str(request["retries"]),
        PIP_DEFAULT_TIMEOUT=str(request["timeout"]),
        PIP_ROOT_USER_ACTION="ignore",
        UV_CACHE_DIR=str(CACHE / "uv"),
        UV_HTTP_RETRIES=str(request["retries"]),
        UV_HTTP_TIMEOUT=str(request["timeout"]),
    )
    os.environ.update(request["environment"])
    if request["ca"]:
        (work / "ca.pem").write_text(request["ca"], encoding="utf-8")
        for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            os.environ[name] = str(work / "ca.pem")
    os.chdir(work)


def install_tools(request: dict[str, Any]) -> pathlib.Path:
    """Install the compiler from its hashed lock, once for each Python; return its folder."""
    lock = request["tools"]
    folder = CACHE / f"tools-{hashlib.sha256(lock.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    fresh = pathlib.Path(tempfile.mkdtemp(prefix="new-", dir=CACHE))
    pathlib.Path("tools.txt").write_text(lock, encoding="utf-8")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    install += ["--retries=5", "--timeout=15"]  # done once, and for every lock: worth more patience than a question
    command = [sys.executable, *install, "--target", str(fresh), "-r", "tools.txt"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise FailedError("installing the compiler", done.stdout)
        with contextlib.suppress(OSError):  # another run was faster
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def compile_all(request: dict[str, Any], work: pathlib.Path) -> dict[str, Any]:
    """Compile the jobs in their order; return text, seconds and the compiler's words of each by its purpose."""
    folder = install_tools(request)
    compiler, files = use_uv(request, folder) if request["resolver"] == "uv" else use_pip_tools(folder)
    done = {}
    for job in request["jobs"]:
        began = time.monotonic()
        output = pathlib.Path(job["output"])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("".join(f"{pin}\n" for pin in job["pins"]), encoding="utf-8")
        constraints = constraint_files(job, request)
        with logged(work / "log") as log:
            wrong = compiler(job, constraints)
        if wrong is not None:
            agreed = {name: read(agreed_file(name)).split() for name in job["agrees_with"]}
            raise FailedError(job["purpose"], read(log), wrong, agreed)
        listed = {} if job["options"] is None else {"files": files(job)}
        done[job["purpose"]] = {
            "text": read(output),
            "seconds": time.monotonic() - began,
            "said": read(log),
            **listed,
        }
    return done


@contextlib.contextmanager
def logged(log: pathlib.Path) -> Iterator[pathlib.Path]:
    """Send all that this process and its children print to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield log
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in enumerate(kept, 1):
            os.dup2(saved, number)
            os.close(saved)


def constraint_files(job: dict[str, Any], request: dict[str, Any]) -> list[str]:
    """Write what a job agrees with as files of bare pins; return their names."""
    names = []
    for name in job["agrees_with"]:
        made = [other["output"] for other in request["jobs"] if other["purpose"] == name]
        pins = PIN.findall(read(pathlib.Path(made[0]))) if made else request["agreed"][name]
        agreed_file(name).write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        names.append(str(agreed_file(name)))
    if request["wanted"]:
        pathlib.Path("wanted").write_text("".join(f"{line}\n" for line in request["wanted"]), encoding="utf-8")
        names.append("wanted")
    return names


def agreed_file(name: str) -> pathlib.Path:
    """Return the file of the pins that a purpose prescribes."""
    return pathlib.Path(f"{name}.agreed")


def read(path: pathlib.Path) -> str:
    """Return the text of a file."""
    return path.read_text(encoding="utf-8", errors="replace")


def use_uv(request: dict[str, Any], folder: pathlib.Path) -> Tuple[Compiler, Lister]:
    """Return what compiles a job with uv, for this interpreter or for another version, and what lists its files."""
    always = [str(folder / "bin" / "uv"), "pip", "compile", "--python", sys.executable, "--no-config"]
    always += ["--generate-hashes", "--no-header"]
    if request["python"] != ".".join(platform.python_version_tuple()[:2]):
        always += ["--python-version", request["python"]]

    def compiler(job: dict[str, Any], constraints: list[str]) -> Wrong:
        options = ["--no-emit-index-url", "--annotation-style=split"]
        options += [word for name in constraints for word in ("--constraint", name)]
        return {} if subprocess.call([*always, *options, "--output-file", job["output"], job["input"]]) else None

    def files(job: dict[str, Any]) -> dict[str, str]:
        # For its own purposes uv leaves out what this platform cannot install, but in a lock for all platforms.
        lines = [*job["options"], read(pathlib.Path(job["output"]))]
        pathlib.Path("pinned.in").write_text("\n".join(lines), encoding="utf-8")
        options = ["--universal", "--no-deps", "--format", "pylock.toml", "--output-file", "pylock.toml"]
        done = subprocess.run(
            [*always, *options, "pinned.in"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise FailedError(job["purpose"], done.stdout)
        return named_in(read(pathlib.Path("pylock.toml")))

    return compiler, files


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


def use_pip_tools(folder: pathlib.Path) -> Tuple[Compiler, Lister]:
    """Return what compiles a job with pip-tools in this process, and what lists its files."""
    sys.path.insert(0, str(folder))
    script: Any = importlib.import_module("piptools.scripts.compile")
    shortcuts = Shortcuts()
    shortcuts.take()

    def compiler(job: dict[str, Any], constraints: list[str]) -> Wrong:
        options = ["--generate-hashes", "--no-reuse-hashes", "--allow-unsafe", "--strip-extras", "--no-config"]
        options += ["--no-header", "--no-emit-options", "--annotation-style=split", "--resolver=backtracking"]
        options += [word for name in constraints for word in ("--constraint", name)]
        options += ["--cache-dir", str(CACHE / "pip-tools"), "--output-file", job["output"], job["input"]]
        try:
            script.cli.main(args=options, prog_name="pip-compile")
        except SystemExit as error:
            return {} if error.code else None
        except Exception as error:  # noqa: BLE001 - pip-tools lets every error of pip through
            sys.stderr.write(f"{error}\n")
            return {"causes": list(blamed(error)), "network": network_trouble(error)}
        return None

    def files(job: dict[str, Any]) -> dict[str, str]:
        hashes = HASH.findall(read(pathlib.Path(job["output"])))
        return {digest: shortcuts.hashed[digest] for digest in hashes if digest in shortcuts.hashed}

    return compiler, files


def blamed(error: BaseException) -> Iterator[dict[str, str]]:
    """Yield the requirements that pip's resolver gave up on: what, by which package, from which line."""
    found: BaseException | None = error
    while found is not None and not hasattr(found, "causes"):
        found = found.__cause__ or found.__context__
    for cause in getattr(found, "causes", ()):
        source = cause.requirement.get_candidate_lookup()[1] if cause.parent is None else None
        by = f"{cause.parent.name} {cause.parent.version}" if cause.parent else ""
        yield {"what": str(cause.requirement), "by": by, "line": str(getattr(source, "comes_from", None) or "")}


def network_trouble(error: BaseException) -> str:
    """Return what is wrong where an error comes from the network, and an empty text for every other error."""
    if isinstance(error, UnreachableError):
        return str(error)
    if not type(error).__module__.endswith("exceptions.network"):
        return ""
    parts = (getattr(error, "message", None) or error, getattr(error, "context", ""))
    return ": ".join(re.sub(r"\[/?\w*\]", "", str(part)) for part in parts if part)  # without marks for colours


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
                self.pages[location.url] = fetch(collector, location, *arguments, **options)
            for said in self.trouble:
                raise UnreachableError(said)
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


if __name__ == "__main__":
    main()
