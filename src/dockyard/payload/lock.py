# ruff: noqa: UP035
# It runs on every Python that Dockyard makes locks for, 3.9 included.
"""Compile one Python's locks inside its container; needs nothing but the standard library of Python 3.9.

The program arrives on standard input, this folder in an archive, with a JSON request behind it, and answers
with JSON on standard output. So nothing is mounted, a remote engine will do, and no credential is in a command line, an
environment that `docker inspect` shows, or a file that outlives the container.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess  # here, in a container, is nothing of the pipeline that starts programs
import sys
import tempfile
import time
from typing import Any, Callable, Iterator

from .resolvers import CACHE, Environment, FailedError, PipTools, Uv, glibc, read

PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s\\;]+)", re.MULTILINE)

TRANSIENT_PIP = re.compile(r"connection broken by|Connection aborted|Read timed out|IncompleteRead|ReadTimeout")

HERE = "here"
"""The name of this machine where it is none of the environments that are known."""

SPOILT = re.compile(
    r"Failed to fetch|error sending request|install(?:ing)? (?:build|backend) dependencies .*did not run"
)
LASTING = re.compile(
    r"(?i)certificate|\b40[134]\b|unauthorized|forbidden|No matching distribution|host a ranged request"
)
"""What of a lookup's trouble no second try would mend."""


def main() -> None:
    """Read the request, compile every job in it, and print the answer."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    request = json.load(sys.stdin)
    work = pathlib.Path(tempfile.mkdtemp())
    answer: dict[str, Any] = {"locks": {}, "glibc": glibc()}
    try:
        set_up(request, work)
        Session(request, work, answer["locks"]).compile_all()
    except FailedError as error:
        answer["failed"] = error.answer
    json.dump(answer, sys.stdout)


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
            transient = bool(TRANSIENT_PIP.search(done.stdout)) and not LASTING.search(done.stdout)
            raise FailedError("installing the compiler", done.stdout, {"transient": transient})
        with contextlib.suppress(OSError):  # another run was faster
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


class Session:
    """The compiles of one request: `done` has texts by environment and the compiler's words for each purpose."""

    def __init__(self, request: dict[str, Any], work: pathlib.Path, done: dict[str, Any]) -> None:
        self.request, self.log, self.done = request, work / "log", done
        folder = patiently(request, lambda: install_tools(request))
        self.compiler: Uv | PipTools = Uv(request, folder) if request["resolver"] == "uv" else PipTools(folder)

    def compile_all(self) -> None:
        """Compile the jobs in their order."""
        for job in self.request["jobs"]:
            self.done[job["purpose"]] = self.compile_job(job)

    def compile_job(self, job: dict[str, Any]) -> dict[str, Any]:
        """Compile a lock for every environment that it needs, and for those where a package's own marker differs."""
        known, output = self.request["environments"], pathlib.Path(job["output"])
        made: dict[str, Any] = {"texts": {}, "said": ""}
        files: dict[str, str] = {}
        self.compiler.seen.clear()
        here = next((name for name in known if machine_of(known[name]) == platform.machine()), HERE)
        needed = [here if name == HERE else name for name in job["needed"]]
        for name in dict.fromkeys([*needed, *job["perhaps"]]):
            if name not in needed:
                first = needed[0]
                if first not in known or not self.compiler.differs(known[first], known[name], made["texts"][first]):
                    continue
            made["said"] += str(
                patiently(self.request, functools.partial(self.compile_one, job, name, told=bool(made["texts"])))
            )
            made["texts"][name] = read(output)
            files.update({} if job["options"] is None else self.compiler.files(job))
        return {**made, "files": None if job["options"] is None else files}

    def compile_one(self, job: dict[str, Any], name: str, *, told: bool) -> str:
        """Compile a job for an environment, or for this machine, to its output; return all that was said.

        A failure is told with the name of the environment where it is not the first.
        """
        environment, output = self.request["environments"].get(name), pathlib.Path(job["output"])
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("".join(f"{pin}\n" for pin in counting(job["pins"], environment)), encoding="utf-8")
        constraints = constraint_files(job, self.request, self.done, name)
        with logged(self.log) as log:
            wrong = self.compiler.compile(job, constraints, environment)
        said = read(log)
        if wrong is None:
            return said
        network = wrong.get("network", "") or (said if SPOILT.search(said) else "")
        wrong.update(transient=bool(network) and not LASTING.search(network), environment=name if told else "")
        agreed = {other: read(agreed_file(other)).split() for other in job["agrees_with"]}
        raise FailedError(job["purpose"], said, wrong, agreed)


def machine_of(environment: dict[str, Any]) -> str:
    """Return the machine of an environment of Linux, and nothing for another system's."""
    markers = environment["markers"]
    return str(markers["platform_machine"]) if markers["sys_platform"] == "linux" else ""


def patiently(request: dict[str, Any], work: Callable[[], Any], sleep: Callable[[float], None] = time.sleep) -> Any:
    """Return what some work returns; where the network spoils it, wait and try again, as often as there are pauses."""
    for pause in request["pauses"]:
        try:
            return work()
        except FailedError as error:
            if not error.answer["transient"]:
                raise
            sleep(pause)
    return work()


def counting(pins: list[str], environment: Environment) -> list[str]:
    """Return those pins, without their markers, that count in an environment."""
    markers: Any = importlib.import_module("pip._vendor.packaging.markers")
    found = []
    for pin in pins:
        requirement, _, marker = pin.partition(" ; ")
        if not marker or markers.Marker(marker).evaluate(environment["markers"] if environment else None):
            found.append(requirement)
    return found


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


def constraint_files(job: dict[str, Any], request: dict[str, Any], done: dict[str, Any], name: str) -> list[str]:
    """Write what a job agrees with in an environment as files of bare pins; return their names."""
    environment = request["environments"].get(name)
    names = []
    for other in job["agrees_with"]:
        if other in done:
            texts = done[other]["texts"]
            pins = PIN.findall(texts.get(name) or next(iter(texts.values())))
        else:
            pins = counting(request["agreed"][other], environment)
        agreed_file(other).write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        names.append(str(agreed_file(other)))
    if request["wanted"]:
        pathlib.Path("wanted").write_text("".join(f"{line}\n" for line in request["wanted"]), encoding="utf-8")
        names.append("wanted")
    return names


def agreed_file(name: str) -> pathlib.Path:
    """Return the file of the pins that a purpose prescribes."""
    return pathlib.Path(f"{name}.agreed")
