"""Check everything that the pipeline needs of this machine, side by side and within a time limit.

A check yields rows of the table that `invoke doctor` prints; CHECKS has them all, in the order of the table.
"""

import functools
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockyard import apt, console, files, process
from dockyard.bases import lookup, recipe
from dockyard.bases.parallel import end_children
from dockyard.bases.resolve import reference, wanted
from dockyard.engine.client import Engine, Probe, Search, from_info, look_at_engines, missing_plugins
from dockyard.engine.embedded import install
from dockyard.errors import DockyardError, Sign, read_signs
from dockyard.git import Git, read_git
from dockyard.host import CA_NAMES, ca_bundle, count_certificates
from dockyard.locks.check import check_project
from dockyard.locks.indexes import ask_keyring, read_logins
from dockyard.process import Command, Runner
from dockyard.registry.client import parse_reference
from dockyard.registry.content import reach_registry
from dockyard.settings import Settings
from dockyard.stack.ports import find_holder, is_taken

OK, WARN, FAIL = "ok", "warn", "fail"
"""How a check ends; only a failure makes the doctor exit with 1."""
LIMIT = 10.0
"""Seconds after which the doctor stops waiting."""
ENGINE_SECONDS, NETWORK_SECONDS, INDEX_SECONDS = 4.0, 5.0, 8.0
LEAST_DISK, ENOUGH_DISK = 10**9, 5 * 10**9
LEAST_MEMORY, ENOUGH_MEMORY = 512 * 10**6, 2 * 10**9
"""Bytes: below the first nothing works, below the second a build may not."""
LOOPBACK = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}
"""What every engine says of registries on this machine, for when there is no engine to ask."""
PIP_TROUBLE = (
    Sign(r"SSL|CERTIFICATE_VERIFY_FAILED", "its TLS certificate is not trusted", "set SSL_CERT_FILE to your CA bundle"),
    Sign(r"\b40[137]\b", "it refuses access", "put the user and password into pip's configuration: `pip config edit`"),
    Sign(r"resol|Name or service|nodename", "its name is not found", "check the network, the proxy, `pip config list`"),
    Sign(r"refused", "nothing listens there", "check the proxy (HTTPS_PROXY) and `pip config list`"),
)


@dataclass(frozen=True)
class Row:
    """One line of the table: `state` is OK, WARN or FAIL, `fix` says what to do, empty where nothing needs doing."""

    check: str
    state: str
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Machine:
    """What is looked at, and with what."""

    settings: Settings
    environment: Mapping[str, str]
    engines: Search
    runner: Runner = field(default=process)
    debian: apt.AptHost = apt.HERE

    def docker(self) -> Engine | None:
        """Return what runs the docker command, whether an engine answers it or not; None where there is no command."""
        environment = self.environment
        if self.engines.kind == "embedded":
            environment = install.client_environment(install.here(environment), environment)
        there = self.engines.unpacked if self.engines.kind == "embedded" else self.runner.which("docker")
        return Engine("", "", snapshotter=False, environment=environment, runner=self.runner) if there else None

    def has_engine(self) -> bool:
        """Tell whether the engine runs on this machine: its disk and memory are ours then."""
        docker = self.docker() if self.engines.kind == "host" else None
        return docker is None or docker.is_local()


def check_engine(machine: Machine) -> Iterator[Row]:
    """Engine, buildx, Compose, and the image store with what follows from it."""
    engines = machine.engines
    yield engine_row(engines, install.here(machine.environment).shown())
    plugins = (engines.plugins.get("ClientInfo") or {}).get("Plugins") or ()
    versions = {str(plugin.get("Name")): str(plugin.get("Version", "")).lstrip("v") for plugin in plugins}
    missing = dict(missing_plugins(engines.plugins))
    for check, name in (("buildx", "buildx"), ("Compose v2", "compose")):
        if engines.kind == "embedded" and not engines.own:
            yield Row(check, OK, "comes with the embedded engine")
        elif check in missing:
            yield Row(check, FAIL, "the docker command has none", f"install {missing[check]}")
        else:
            yield Row(check, OK, versions.get(name, ""))
    if not engines.kind:
        yield Row("image store", WARN, "not asked: there is no engine", "see the row of the engine")
    elif not engines.info:
        yield Row("image store", OK, "containerd's, once the embedded engine runs")
    elif from_info(engines.kind, engines.info).snapshotter:
        yield Row("image store", OK, "containerd's: attestations and several platforms work")
    else:
        found = "Docker's own: no attestations, no images for several platforms, and digests only once pushed"
        fix = 'put {"features": {"containerd-snapshotter": true}} into the engine\'s daemon.json and restart it'
        yield Row("image store", WARN, found, fix)


def engine_row(engines: Search, home: str) -> Row:
    """Say which engine would be used; `home` is the folder of the embedded one."""
    probe = engines.probe or Probe()
    trouble = probe.wrong or "no Docker Engine is reachable"
    named = f" ({engines.chosen})" if engines.chosen else ""
    if engines.kind == "host":
        return Row("engine", OK, f"Docker Engine {from_info('host', engines.info).version}{named}")
    if not engines.kind and not engines.refusal:
        return Row("engine", FAIL, trouble + named, probe.hint or "start it, or set DOCKER_HOST to one that answers")
    why = () if engines.wanted == "embedded" else (trouble,)
    if engines.refusal:
        return Row("engine", FAIL, "; ".join((*why, engines.refusal.message)), engines.refusal.hint)
    if engines.own and engines.own.wrong:
        return Row("engine", FAIL, f"embedded: {engines.own.wrong}", "invoke engine.stop, then try again")
    found = f"running in {home}" if engines.own else "starts when it is needed"
    if engines.fetches and not engines.own:
        found = f"fetched when it is needed: 90 MB to fetch, 380 MB in {home}"
    return Row("engine", OK, " ".join((f"embedded {install.ENGINE_VERSION}, {found}", *(f"({one})" for one in why))))


def check_builder(machine: Machine) -> Iterator[Row]:
    """Look for the buildx builder that the settings name, if they do."""
    name = machine.settings.builder
    docker = machine.docker() if name else None
    if docker is None:
        return
    done = docker.attempt("buildx", "inspect", name, timeout=NETWORK_SECONDS)
    said = (done.stderr.strip().splitlines() or ["it is not there"])[-1]
    trouble = Row("builder", FAIL, f"{name}: {said}", "`docker buildx ls` shows which there are")
    yield Row("builder", OK, name) if done.ok else trouble


def check_disk(machine: Machine) -> Iterator[Row]:
    """Room for the engine's data, base images and temporary files."""
    own = machine.engines.kind == "embedded"
    data = install.here(machine.environment).data if own else machine.engines.info.get("DockerRootDir")
    if data and machine.has_engine():
        yield measure_disk("the engine", Path(data))
    yield measure_disk("the cache", files.folder(machine.environment))
    yield measure_disk("temporary files", Path(tempfile.gettempdir()))


def measure_disk(use: str, path: Path, usage: Callable[[Path], Any] = shutil.disk_usage) -> Row:
    """Say how much room is left below a folder that may not exist yet, for what it is used."""
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        free = usage(there).free
    except OSError as error:
        return Row("disk", FAIL, f"{use}: {path}: {error.strerror}", "set XDG_CACHE_HOME to another folder")
    fix = f"free at least {console.size(ENOUGH_DISK)}: `docker system prune`, or another XDG_CACHE_HOME"
    return rate("disk", free, (LEAST_DISK, ENOUGH_DISK), f"{console.size(free)} free for {use} ({path})", fix)


def rate(check: str, amount: int, limits: tuple[int, int], found: str, fix: str) -> Row:
    """Return the row of an amount that should reach the second limit, and fails below the first."""
    least, enough = limits
    state = OK if amount >= enough else WARN if amount >= least else FAIL
    return Row(check, state, found, "" if state == OK else fix)


def check_memory(machine: Machine, file: Path = Path("/proc/meminfo")) -> Iterator[Row]:
    """Memory and processors of the engine's machine; what is available is only known of this one."""
    info = machine.engines.info
    text = file.read_text("ascii") if file.exists() else ""
    here = {name: int(number) * 1024 for name, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    if total := int(info.get("MemTotal") or here.get("MemTotal", 0)):
        available = here.get("MemAvailable", 0) if machine.has_engine() else 0
        found = f"{console.size(available)} available of {console.size(total)}" if available else console.size(total)
        fix = "end other programs, or use an engine on a larger machine (DOCKER_HOST)"
        yield rate("memory", available or total, (LEAST_MEMORY, ENOUGH_MEMORY), found, fix)
    count = int(info.get("NCPU") or os.cpu_count() or 1)
    if count > 1:
        yield Row("CPUs", OK, str(count))
    else:
        yield Row("CPUs", WARN, "1: several Pythons are built and tested one after another", "use a larger machine")


def check_bases(machine: Machine) -> Iterator[Row]:
    """Ask a registry for a base image as a build would; Debian packages make it where none answers and they may."""
    settings = machine.settings
    unpackaged = ", ".join(python for python in settings.pythons if python not in recipe.RELEASES)
    lacking = f"; Debian packages make none for Python {unpackaged}" if unpackaged else ""
    if settings.base == "debian":
        state, fix = (WARN, 'base = "auto" asks a registry') if lacking else (OK, "")
        yield Row("base images", state, f"from Debian packages{lacking}", fix)
        return
    docker, engines = machine.docker(), machine.engines
    no_buildx = engines.kind != "embedded" and "buildx" in dict(missing_plugins(engines.plugins))
    if docker is None or no_buildx:
        yield Row("base images", OK, "the first build asks a registry")
        return
    name = wanted(settings.python, lookup.read_bases_lock(settings.root))
    answer = lookup.ask_once(docker, name, NETWORK_SECONDS)
    if answer.digest:
        yield Row("base images", OK, f"the registry has {reference(settings.python)}")
    elif settings.base == "registry":
        fix = 'check the network and the proxy, or set base = "auto" to use Debian packages instead'
        yield Row("base images", FAIL, answer.reason, fix)
    else:
        found = f"the registry does not answer, so Debian packages are used ({answer.reason}){lacking}"
        yield Row("base images", WARN, found, 'nothing needs doing; base = "debian" asks no registry')


def check_registry(machine: Machine) -> Iterator[Row]:
    """Knock at the registry that images are pushed to, if the settings name one; a login is not tried."""
    settings = machine.settings
    if not settings.registry:
        return
    host = parse_reference(f"{settings.repository}:x").host
    engine = Engine("host", "", snapshotter=False, environment=machine.environment)
    with reach_registry(engine, machine.engines.info or LOOPBACK, host) as there:
        there.connect()
        plain = " over plain HTTP, which the engine allows for it" if there.base.startswith("http:") else ""
    yield Row("registry", OK, f"{host or settings.registry} answers{plain}")


def check_index(machine: Machine) -> Iterator[Row]:
    """Let pip ask for its own versions at the indexes that a build would use."""
    keyring = functools.partial(ask_keyring, runner=machine.runner)
    options = read_logins((), machine.settings.index_url, machine.environment, keyring).pip
    changes: dict[str, str | None] = {name: None for name in machine.environment if name.startswith("PIP_")}
    changes |= {f"PIP_{key.upper().replace('-', '_')}": value for key, value in options.items()}
    if bundle := ca_bundle(machine.environment):
        changes["PIP_CERT"] = str(bundle)
    changes |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    words = ("-m", "pip", "index", "versions", "pip", "-vv", "--timeout=3", "--retries=0", "--no-input")
    done = machine.runner.capture(Command((sys.executable, *words), env=changes, timeout=INDEX_SECONDS), check=False)
    which = "the index of pip's configuration" if options else "pip's default index"
    skipped = re.findall(r"Could not fetch URL \S+: (.*)", done.stdout + done.stderr)
    said = "\n".join(skipped) or done.stdout + done.stderr
    if done.ok and not skipped:
        yield Row("package index", OK, f"{which} answers")
        return
    last = (said.strip().splitlines() or ["pip says nothing"])[-1][:160]
    fix = "check the network, the proxy (HTTPS_PROXY) and `pip config list`; `pip index versions pip -vv` shows more"
    sign = read_signs(PIP_TROUBLE, said) or Sign("", last, fix)
    yield Row("package index", FAIL, f"{which}: {sign.message}", sign.hint)


def check_mirror(machine: Machine) -> Iterator[Row]:
    """Ask the Debian mirror where packages are needed now or perhaps."""
    base, fetches = machine.settings.base, machine.engines.fetches
    if base == "registry" and not fetches:
        return
    try:
        yield Row("apt mirror", OK, f"{apt.try_mirror(machine.debian, NETWORK_SECONDS)} answers")
    except DockyardError as error:
        yield Row("apt mirror", FAIL if fetches or base == "debian" else WARN, error.message, error.hint)


def check_certificates(machine: Machine) -> Iterator[Row]:
    """Read the CA bundle that builds would get; Python would silently trust nothing where a named one is absent."""
    named = [Path(machine.environment[name]) for name in CA_NAMES if machine.environment.get(name)]
    path = next((file for file in named if not file.exists()), ca_bundle(machine.environment))
    if path is None:
        fix = "install ca-certificates, or set SSL_CERT_FILE where a proxy inspects TLS"
        yield Row("CA bundle", WARN, "this host has none: builds trust what the base image trusts", fix)
        return
    try:
        yield Row("CA bundle", OK, f"{path}: {count_certificates(path)} certificates")
    except OSError as error:
        wrong = error.strerror or "cannot be read as PEM certificates"
        fix = "put PEM certificates there, or correct or unset the variable that names it, such as SSL_CERT_FILE"
        yield Row("CA bundle", FAIL, f"{path}: {wrong}", fix)


def check_git(machine: Machine, read: Callable[[Path], Git | None] = read_git) -> Iterator[Row]:
    """Read the commit that images would be named after."""
    if machine.runner.which("git") is None:
        yield Row("git", WARN, "not installed: images get no tag and no date from a commit", "install git")
        return
    root = machine.settings.root
    git = read(root)
    if git is None:
        asking = Command(("git", "rev-parse", "--git-dir"), cwd=root, env={"LC_ALL": "C"}, timeout=5)
        said = machine.runner.capture(asking, check=False).stderr.strip()
        advice = re.search(r"git config .*", said)  # where the repository belongs to another user
        what = said.partition("\n")[0].removeprefix("fatal: ") or "no commit yet"
        fix = advice[0] if advice else "`git init` and a first commit"
        yield Row("git", WARN, f"{what}: images get no tag and no date", fix)
        return
    found = f"{git.commit[:12]}{f', {git.tag}' if git.tag else ''}"
    if git.dirty:
        found += ", with changes that are not committed: images are marked dirty"
    if git.branch is None:
        yield Row("git", WARN, f"detached head at {found}", "`git switch BRANCH`, unless this is a CI job")
    else:
        yield Row("git", OK, f"{git.branch} at {found}")


def check_locks(machine: Machine) -> Iterator[Row]:
    """Compare the locks with what they were made from, and tell the first problem."""
    problems = check_project(machine.settings)
    if not problems:
        yield Row("locks", OK, "all agree with requirements/*.in")
        return
    path, line, message, fix = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    yield Row("locks", FAIL, f"{path}:{line}: {message}{more}", fix)


def check_ports(machine: Machine) -> Iterator[Row]:
    """See whether the ports of the development stack are free, or published by the stack itself."""
    for port in machine.settings.ports:
        if not is_taken("127.0.0.1", port):
            yield Row(f"port {port}", OK, "free")
            continue
        docker = machine.docker() if machine.engines.info else None
        container, stack = find_holder(docker, port, ENGINE_SECONDS) if docker else ("", "")
        if stack == machine.settings.stack:
            yield Row(f"port {port}", OK, "this project's own stack has it")
        else:
            found = f"{container or 'another program'} has it: `invoke up` will not start"
            names = "" if container else f"`ss -ltnp sport = :{port}` names it: "
            yield Row(f"port {port}", WARN, found, f"{names}end it, or change ports")


def check_tools(machine: Machine) -> Iterator[Row]:
    """See whether the Python is the project's own, and pre-commit git's hook where the project uses it."""
    root, version = machine.settings.root, platform.python_version()
    if Path(sys.prefix).resolve() == (root / ".venv").resolve():
        yield Row("Python", OK, f"{version} in .venv")
    else:
        found = f"{version} in {sys.prefix}, not the project's .venv"
        yield Row("Python", WARN, found, "start it with the Python of the project's .venv")
    if not (root / ".pre-commit-config.yaml").exists() or machine.runner.which("git") is None:
        return
    asking = Command(("git", "rev-parse", "--git-path", "hooks/pre-commit"), cwd=root, timeout=5)
    done = machine.runner.capture(asking, check=False)
    if done.ok:
        installed = (root / done.stdout.strip()).exists()
        yield Row("pre-commit", OK, "installed" if installed else "not installed: `pre-commit install` would")


Check = Callable[[Machine], Iterable[Row]]
CHECKS: Mapping[str, Check] = {
    "engine": check_engine,
    "builder": check_builder,
    "disk": check_disk,
    "memory": check_memory,
    "base images": check_bases,
    "registry": check_registry,
    "package index": check_index,
    "apt mirror": check_mirror,
    "CA bundle": check_certificates,
    "git": check_git,
    "locks": check_locks,
    "ports": check_ports,
    "Python": check_tools,
}
"""What has most often to be mended comes first."""


def examine(settings: Settings, environment: Mapping[str, str]) -> tuple[Row, ...]:
    """Return every row of the table."""
    over = time.monotonic() + LIMIT
    engines = look_at_engines(settings.engine, environment, ENGINE_SECONDS)
    return run_checks(CHECKS, Machine(settings, environment, engines), over - time.monotonic())


def run_checks(checks: Mapping[str, Check], machine: Machine, limit: float = LIMIT) -> tuple[Row, ...]:
    """Run checks side by side; one that fails or does not end within `limit` seconds becomes a failing row."""
    late = ("no answer in time", "check the network, try again")
    rows: dict[str, tuple[Row, ...]] = {name: (Row(name, FAIL, *late),) for name in checks}

    def work(name: str, check: Check) -> None:
        try:
            rows[name] = tuple(check(machine))
        except DockyardError as error:
            rows[name] = (Row(name, FAIL, error.message, error.hint),)
        except Exception as error:  # noqa: BLE001 - a check that breaks must not take the other rows with it
            rows[name] = (Row(name, FAIL, f"the check itself broke: {error!r}", "please report it as a bug"),)

    # Daemon threads: one that hangs on the network must not keep the doctor from going home.
    threads = [threading.Thread(target=work, args=item, daemon=True) for item in checks.items()]
    for thread in threads:
        thread.start()
    over = time.monotonic() + limit
    try:
        for thread in threads:
            thread.join(max(0.0, over - time.monotonic()))
        return tuple(row for several in rows.values() for row in several)
    finally:
        end_children({thread.native_id for thread in threads if thread.is_alive() and thread.native_id})
