"""Gather what the pipeline needs to know of this machine, side by side and within a time limit."""

import configparser
import contextlib
import functools
import json
import os
import platform
import queue
import re
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dockyard import apt, files
from dockyard.bases import lookup, pins, recipe
from dockyard.bases.parallel import end_children
from dockyard.bases.resolve import reference, wanted
from dockyard.doctor import rows as diagnosis
from dockyard.doctor.rows import Row, State
from dockyard.engine import client as engine
from dockyard.engine.embedded import install, processes
from dockyard.engine.embedded.paths import place
from dockyard.errors import CommandError, DockyardError
from dockyard.git import read_git
from dockyard.host import CA_NAMES, ca_bundle, certificates
from dockyard.locks import logins
from dockyard.process import Command, capture, which
from dockyard.stack.prepare import is_taken

if TYPE_CHECKING:
    from dockyard.settings import Settings

LIMIT = 10.0
"""Seconds after which the doctor stops waiting."""
ENGINE_SECONDS, NETWORK_SECONDS = 4.0, 5.0
LOOPBACK = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}
"""What every engine says of registries on this machine, for when there is no engine to ask."""


class Once:
    """A fact that several checks need: the first one gathers it, the others wait for it."""

    def __init__(self, gather: Callable[[], diagnosis.Docker]) -> None:
        self._gather = functools.cache(gather)
        self._lock = threading.Lock()

    def __call__(self) -> diagnosis.Docker:
        """Return the fact."""
        with self._lock:
            return self._gather()


@dataclass(frozen=True)
class Patient:
    """What is looked at: the project's settings, the environment, and the engines once they were asked."""

    settings: "Settings"
    environment: Mapping[str, str]
    docker: Once


Check = Callable[[Patient], Iterable[Row]]


def examine(settings: "Settings", environment: Mapping[str, str]) -> tuple[Row, ...]:
    """Return every row of the table, in the order of CHECKS."""
    return run(CHECKS, Patient(settings, environment, Once(lambda: look_at_engines(settings, environment))))


def run(checks: Mapping[str, Check], patient: Patient, limit: float = LIMIT) -> tuple[Row, ...]:
    """Run checks side by side; one that fails or does not end within `limit` seconds becomes a failing row."""
    done: queue.SimpleQueue[tuple[str, tuple[Row, ...]]] = queue.SimpleQueue()

    def work(name: str, check: Check) -> None:
        done.put((name, survive(name, check, patient)))

    # Daemon threads: one that hangs on the network must not keep the doctor from going home.
    threads = [threading.Thread(target=work, args=item, daemon=True) for item in checks.items()]
    for thread in threads:
        thread.start()
    rows: dict[str, tuple[Row, ...]] = {}
    over = time.monotonic() + limit
    try:
        with contextlib.suppress(queue.Empty):
            while len(rows) < len(checks):
                name, rows[name] = done.get(timeout=max(0.0, over - time.monotonic()))
    finally:
        end_children({thread.native_id for thread in threads if thread.is_alive() and thread.native_id})
    late = f"no answer within {limit:g} s"
    return tuple(
        row for name in checks for row in rows.get(name, (Row(name, State.FAIL, late, "check the network, try again"),))
    )


def survive(name: str, check: Check, patient: Patient) -> tuple[Row, ...]:
    """Return a check's rows; whatever it raises becomes a failing row."""
    try:
        return tuple(check(patient))
    except DockyardError as error:
        return (Row(name, State.FAIL, error.message, error.hint),)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not take the other rows with it
        return (Row(name, State.FAIL, f"the check itself broke: {error!r}", "please report it as a bug"),)


def look_at_engines(settings: "Settings", environment: Mapping[str, str]) -> diagnosis.Docker:
    """Return what there is to know of the host's engine and the embedded one, without starting any."""
    chosen = engine.explicit(environment) if settings.engine != "embedded" else ""
    points = settings.engine == "host" or chosen or engine.may_reach_host(environment)
    host = ask_engine({}) if settings.engine != "embedded" and points else None
    docker = diagnosis.Docker(settings.engine, diagnosis.Embedded("", install.ENGINE_VERSION), host, chosen)
    return replace(docker, embedded=look_at_embedded(environment)) if docker.kind == "embedded" else docker


def look_at_embedded(environment: Mapping[str, str]) -> diagnosis.Embedded:
    """Return whether the embedded engine runs, is unpacked, or could not be used here."""
    where = place(environment)
    known = diagnosis.Embedded(where.shown(), install.ENGINE_VERSION)
    try:
        install.require_host()
        known = replace(known, unpacked=install.is_unpacked(where))
        if processes.daemon(processes.running(), where):
            return replace(known, probe=ask_engine(install.client_environment(where, environment.get("PATH", ""))))
        if not known.unpacked:
            apt.mirror()
        rivals = processes.rivals(processes.running(), where)
    except DockyardError as error:
        return replace(known, refusal=error.message, instead=error.hint)
    if rivals:
        other = f"the embedded engine cannot run beside another dockerd (process {rivals[0].pid})"
        return replace(known, refusal=other, instead="set DOCKER_HOST to that engine, or stop it")
    return known


def ask_engine(changes: Mapping[str, str]) -> engine.Probe:
    """Return what `docker info` says in an environment with these changes."""
    if not changes and which("docker") is None:
        return engine.Probe(wrong="the docker command is not installed", hint="install docker-cli")
    command = Command(("docker", "info", "--format", "{{json .}}"), env=changes, timeout=ENGINE_SECONDS)
    try:
        done = capture(command, check=False)
        return engine.judge(json.loads(done.stdout), done.stderr)
    except CommandError as error:
        return engine.Probe(wrong=error.message.partition(":")[0], hint=error.hint or "restart the engine")
    except ValueError:
        return engine.Probe(wrong=(done.stderr or done.stdout).strip() or "docker info says nothing")


def client(patient: Patient) -> dict[str, str] | None:
    """Return the environment in which the docker command works, or None where there is none yet."""
    docker = patient.docker()
    if docker.kind == "embedded":
        where = place(patient.environment)
        ready = docker.embedded.unpacked
        return install.client_environment(where, patient.environment.get("PATH", "")) if ready else None
    return {} if which("docker") else None


def check_engine(patient: Patient) -> Iterable[Row]:
    """Engine, buildx, Compose and the image store."""
    docker = patient.docker()
    yield diagnosis.engine_row(docker)
    yield from diagnosis.plugin_rows(docker)
    yield diagnosis.store_row(docker)


def check_builder(patient: Patient) -> Iterable[Row]:
    """Look for the buildx builder that the settings name, if they do."""
    name, changes = patient.settings.builder, client(patient) if patient.settings.builder else None
    if not name or changes is None:
        return
    command = Command(("docker", "buildx", "inspect", name), env=changes, timeout=NETWORK_SECONDS)
    done = capture(command, check=False)
    yield diagnosis.builder_row(name, "" if done.ok else (done.stderr.strip().splitlines() or ["it is not there"])[-1])


def check_disk(patient: Patient) -> Iterable[Row]:
    """Room for the engine's data, base images and temporary files."""
    docker = patient.docker()
    data = docker.info.get("DockerRootDir") or (place(patient.environment).data if docker.kind == "embedded" else "")
    folders = {"the cache": files.folder(patient.environment), "temporary files": Path(tempfile.gettempdir())}
    if data and is_local(patient):
        folders = {"the engine": Path(data), **folders}
    yield from diagnosis.disk_rows([measure(use, path) for use, path in folders.items()])


def measure(use: str, path: Path) -> diagnosis.Disk:
    """Return the room below a folder that may not exist yet."""
    there = next((folder for folder in (path, *path.parents) if os.path.lexists(folder)), Path("/"))
    try:
        found = os.statvfs(there)
        device = there.stat().st_dev
    except OSError as error:
        return diagnosis.Disk(use, str(path), wrong=error.strerror or "cannot be looked at")
    if there != path and not os.access(there, os.W_OK):
        return diagnosis.Disk(use, str(path), wrong=f"{there} cannot be written")
    return diagnosis.Disk(use, str(path), found.f_bavail * found.f_frsize, device)


def is_local(patient: Patient) -> bool:
    """Tell whether the engine runs on this machine: its disk and memory are ours then."""
    docker = patient.docker()
    if docker.kind != "host":
        return True
    chosen = patient.environment.get("DOCKER_HOST", "")
    return chosen.startswith("unix://") if chosen else docker.info.get("Name") in (None, platform.node())


def check_memory(patient: Patient) -> Iterable[Row]:
    """Memory and processors of the engine's machine."""
    info = patient.docker().info
    text = Path("/proc/meminfo").read_text("ascii") if Path("/proc/meminfo").exists() else ""
    here = {name: int(number) * 1024 for name, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    total = int(info.get("MemTotal") or here.get("MemTotal", 0))
    if total:
        yield diagnosis.memory_row(total, here.get("MemAvailable", 0) if is_local(patient) else 0)
    yield diagnosis.cpu_row(int(info.get("NCPU") or os.cpu_count() or 1))


def check_bases(patient: Patient) -> Iterable[Row]:
    """Ask a registry for a base image, as a build would, without remembering the answer."""
    settings = patient.settings
    name = wanted(settings.python, pins.read(settings.root))
    without = tuple(python for python in settings.pythons if python not in recipe.RELEASES)
    facts = diagnosis.Bases(settings.base, reference(settings.python), unpackaged=without)
    changes = None if settings.base == "debian" or no_buildx(patient.docker()) else client(patient)
    if changes is not None:
        words = ("docker", "buildx", "imagetools", "inspect", name, "--format", "{{json .Manifest}}")
        try:
            answer = lookup.understand(capture(Command(words, env=changes, timeout=NETWORK_SECONDS)).stdout, 0)
        except CommandError as error:
            answer = lookup.failure(error.output or f"no answer within {NETWORK_SECONDS:g} s", 0)
        facts = replace(facts, digest=answer.digest, reason=answer.reason)
    yield diagnosis.base_row(facts)


def no_buildx(docker: diagnosis.Docker) -> bool:
    """Tell whether the docker command at hand cannot ask a registry."""
    info = docker.info or (docker.host.info if docker.host else {})
    return docker.kind != "embedded" and "buildx" in dict(engine.missing_plugins(info))


def check_registry(patient: Patient) -> Iterable[Row]:
    """Knock at the registry that images are pushed to, if the settings name one; a login is not tried."""
    settings = patient.settings
    if not settings.registry:
        return
    from dockyard.registry.access import select_rules
    from dockyard.registry.client import Registry, parse_reference
    from dockyard.registry.transport import Access, extra_certificates

    host = parse_reference(f"{settings.repository}:x").host
    info = patient.docker().info or LOOPBACK
    known = select_rules(info, host, lambda name: ("127.0.0.1",) if name == "localhost" else ())
    bundle = ca_bundle(patient.environment) or Path(ssl.get_default_verify_paths().openssl_cafile)
    extra = extra_certificates(host, (Path("/etc/docker/certs.d"), Path.home() / ".config/docker/certs.d"))
    with Registry(Access(host, known.api, bundle, extra, None, known.insecure, known.plain)) as there:
        there.connect()
        plain = " over plain HTTP, which the engine allows for it" if there.base.startswith("http:") else ""
    yield Row("registry", State.OK, f"{host or settings.registry} answers{plain}")


def check_index(patient: Patient) -> Iterable[Row]:
    """Let pip ask for its own versions at the indexes that a build would use."""
    written = logins.find(patient.settings, (), patient.environment).pip_conf
    parser = configparser.RawConfigParser()
    parser.read_string(written)
    asked = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in parser.items("global")} if written else {}
    if bundle := ca_bundle(patient.environment):
        asked["PIP_CERT"] = str(bundle)
    clean = {name: None for name in patient.environment if name.startswith("PIP_")}
    words = ("-m", "pip", "index", "versions", "pip", "-vv", "--timeout=3", "--retries=0", "--no-input")
    changes = {**clean, **asked, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = capture(Command((sys.executable, *words), env=changes, timeout=LIMIT - 2), check=False)
    named = "PIP_INDEX_URL" in asked or "PIP_EXTRA_INDEX_URL" in asked
    yield diagnosis.index_row(diagnosis.Index(named, done.returncode, done.stdout + done.stderr))


def check_mirror(patient: Patient) -> Iterable[Row]:
    """Fetch one small file from the Debian mirror with apt's own means, where packages may be needed."""
    docker, settings = patient.docker(), patient.settings
    if settings.base == "registry" and not docker.fetches:
        return
    needed = docker.fetches or settings.base == "debian"
    try:
        mirror, release = apt.mirror(), apt.codename()
    except DockyardError as error:
        yield diagnosis.mirror_row(diagnosis.Mirror("", needed, error.message, error.hint))
        return
    uri = re.sub(r"//[^/@]*@", "//", mirror.uri)
    yield diagnosis.mirror_row(
        diagnosis.Mirror(uri, needed, fetch_with_apt(f"{mirror.uri.rstrip('/')}/dists/{release}/InRelease"))
    )


def fetch_with_apt(uri: str) -> str:
    """Return why apt cannot fetch a file, or '' where it can; what it fetches is not kept."""
    options = ("Acquire::Retries=0", "Acquire::http::Timeout=4", "Acquire::https::Timeout=4", "APT::Sandbox::User=root")
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        words = (*(word for option in options for word in ("-o", option)), "download-file", uri, f"{folder}/file")
        done = capture(Command(("/usr/lib/apt/apt-helper", *words), timeout=NETWORK_SECONDS), check=False)
    if done.ok:
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E: Failed", "  "))]
    return re.sub(r"^E: Failed to fetch \S+\s+", "", lines[0]) if lines else "it cannot be read"


def check_certificates(patient: Patient) -> Iterable[Row]:
    """Read the CA bundle that builds would get."""
    absent = [
        f"{name}={patient.environment[name]}"
        for name in CA_NAMES
        if patient.environment.get(name) and not Path(patient.environment[name]).exists()
    ]
    path = ca_bundle(patient.environment)
    facts = read_certificates(path, time.time()) if path else diagnosis.Certificates()
    yield diagnosis.certificates_row(replace(facts, absent=tuple(absent)))


def read_certificates(path: Path, now: float) -> diagnosis.Certificates:
    """Return what a bundle holds, or why it cannot be read."""
    try:
        count, expired = certificates(path, now)
    except OSError as error:
        return diagnosis.Certificates(str(path), wrong=error.strerror or "cannot be read as PEM certificates")
    return diagnosis.Certificates(str(path), count, expired)


def check_git(patient: Patient) -> Iterable[Row]:
    """Read the commit that images would be named after."""
    if which("git") is None:
        yield diagnosis.git_row(diagnosis.Repository(installed=False))
        return
    root = patient.settings.root
    done = capture(Command(("git", "rev-parse", "--git-dir"), cwd=root, env={"LC_ALL": "C"}, timeout=5), check=False)
    yield diagnosis.git_row(diagnosis.Repository(read_git(root), said=done.stderr.strip()))


def check_locks(patient: Patient) -> Iterable[Row]:
    """Compare the locks with what they were made from."""
    from dockyard.locks import status

    yield diagnosis.lock_row(status.check(patient.settings))


def check_ports(patient: Patient) -> Iterable[Row]:
    """See whether the ports of the development stack are free."""
    held = [port for port in patient.settings.ports if is_taken("127.0.0.1", port)]
    own = own_ports(patient) if held else frozenset()
    for port in patient.settings.ports:
        yield diagnosis.port_row(port, held=port in held, ours=port in own)


def own_ports(patient: Patient) -> frozenset[int]:
    """Return the host ports that this project's own stack publishes."""
    changes = client(patient)
    if changes is None or not patient.docker().info:
        return frozenset()
    label = f"label=com.docker.compose.project={patient.settings.stack}"
    command = Command(
        ("docker", "ps", "--filter", label, "--format", "{{.Ports}}"), env=changes, timeout=ENGINE_SECONDS
    )
    return frozenset(map(int, re.findall(r":(\d+)->", capture(command, check=False).stdout)))


def check_python(patient: Patient) -> Iterable[Row]:
    """Look at the Python that runs the pipeline."""
    own = Path(sys.prefix).resolve() == (patient.settings.root / ".venv").resolve()
    yield diagnosis.python_row(diagnosis.Interpreter(tuple(sys.version_info[:3]), sys.prefix, own))


def check_hook(patient: Patient) -> Iterable[Row]:
    """See whether pre-commit is git's hook, in a project that uses it."""
    root = patient.settings.root
    if not (root / ".pre-commit-config.yaml").exists() or which("git") is None:
        return
    done = capture(Command(("git", "rev-parse", "--git-path", "hooks/pre-commit"), cwd=root, timeout=5), check=False)
    if done.ok:
        yield diagnosis.hook_row(installed=(root / done.stdout.strip()).exists())


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
    "Python": check_python,
    "pre-commit": check_hook,
}
"""Every check, in the order of the table: what has most often to be mended comes first."""
