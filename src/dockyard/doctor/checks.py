"""Look at everything that the pipeline needs of this machine, side by side and within a time limit.

Here are the checks of what is reached over the network, of the project, and what runs them all.
"""

import contextlib
import functools
import os
import platform
import queue
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dockyard.bases import lookup, recipe
from dockyard.bases.parallel import end_children
from dockyard.bases.resolve import reference, wanted
from dockyard.doctor import machine
from dockyard.doctor.machine import ENGINE_SECONDS, NETWORK_SECONDS, Check, Engines, Machine, Row, State
from dockyard.engine import client
from dockyard.errors import DockyardError, Sign, read_signs
from dockyard.git import Git, read_git
from dockyard.host import CA_NAMES, ca_bundle, count_certificates
from dockyard.locks.check import check_project
from dockyard.locks.indexes import ask_keyring, read_logins
from dockyard.process import Command
from dockyard.registry.client import parse_reference
from dockyard.registry.content import reach_registry

if TYPE_CHECKING:
    from dockyard.settings import Settings

LIMIT = 10.0
"""Seconds after which the doctor stops waiting."""
INDEX_SECONDS = 8.0
LOOPBACK = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}
"""What every engine says of registries on this machine, for when there is no engine to ask."""
PIP_TROUBLE = (
    Sign(r"SSL|CERTIFICATE_VERIFY_FAILED", "its TLS certificate is not trusted", "set SSL_CERT_FILE to your CA bundle"),
    Sign(r"\b40[137]\b", "it refuses access", "put the user and password into pip's configuration: `pip config edit`"),
    Sign(r"proxy", "the proxy on the way to it cannot be used", "correct or unset HTTPS_PROXY"),
    Sign(r"\b404\b", "it has no page for pip: the address may be wrong", "`pip config list` shows the address"),
    Sign(r"timed? ?out", "it does not answer in time", "check the network and the proxy (HTTPS_PROXY)"),
    Sign(r"resol|Name or service|nodename", "its name is not found", "check the network, the proxy, `pip config list`"),
    Sign(r"refused", "nothing listens there", "check the proxy (HTTPS_PROXY) and `pip config list`"),
)


def check_bases(machine: Machine) -> Iterable[Row]:
    """Ask a registry for a base image, as a build would, without remembering the answer.

    Without a registry, Debian packages make them unless the settings forbid it.
    """
    settings, engines = machine.settings, machine.engines()
    unpackaged = ", ".join(python for python in settings.pythons if python not in recipe.RELEASES)
    lacking = f"; Debian packages make none for Python {unpackaged}" if unpackaged else ""
    if settings.base == "debian":
        state, fix = (State.WARN, 'base = "auto" asks a registry') if lacking else (State.OK, "")
        yield Row("base images", state, f"from Debian packages{lacking}", fix)
        return
    no_buildx = engines.kind != "embedded" and "buildx" in dict(client.missing_plugins(engines.plugins))
    changes = None if no_buildx else machine.docker()
    if changes is None:
        after = "" if settings.base == "registry" else f", and takes Debian packages where none answers{lacking}"
        yield Row("base images", State.OK, f"the first build asks a registry{after}")
        return
    engine = client.Engine("", "", snapshotter=False, environment=changes, runner=machine.runner)
    name = wanted(settings.python, lookup.read_bases_lock(settings.root))
    answer = lookup.ask_once(engine, name, NETWORK_SECONDS)
    if answer.digest:
        yield Row("base images", State.OK, f"the registry has {reference(settings.python)}")
    elif settings.base == "registry":
        fix = 'check the network and the proxy, or set base = "auto" to use Debian packages instead'
        yield Row("base images", State.FAIL, answer.reason, fix)
    else:
        found = f"the registry does not answer, so Debian packages are used ({answer.reason}){lacking}"
        yield Row("base images", State.WARN, found, 'nothing needs doing; base = "debian" asks no registry')


def check_registry(machine: Machine) -> Iterable[Row]:
    """Knock at the registry that images are pushed to, if the settings name one; a login is not tried."""
    settings = machine.settings
    if not settings.registry:
        return
    host = parse_reference(f"{settings.repository}:x").host
    engine = client.Engine("host", "", snapshotter=False, environment=machine.environment)
    with reach_registry(engine, machine.engines().info or LOOPBACK, host) as there:
        there.connect()
        plain = " over plain HTTP, which the engine allows for it" if there.base.startswith("http:") else ""
    yield Row("registry", State.OK, f"{host or settings.registry} answers{plain}")


def check_index(machine: Machine) -> Iterable[Row]:
    """Let pip ask for its own versions at the indexes that a build would use."""
    keyring = functools.partial(ask_keyring, runner=machine.runner)
    settings = read_logins((), machine.settings.index_url, machine.environment, keyring).pip
    asked = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items()}
    if bundle := ca_bundle(machine.environment):
        asked["PIP_CERT"] = str(bundle)
    clean = {name: None for name in machine.environment if name.startswith("PIP_")}
    words = ("-m", "pip", "index", "versions", "pip", "-vv", "--timeout=3", "--retries=0", "--no-input")
    changes = {**clean, **asked, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = machine.runner.capture(Command((sys.executable, *words), env=changes, timeout=INDEX_SECONDS), check=False)
    named = "PIP_INDEX_URL" in asked or "PIP_EXTRA_INDEX_URL" in asked
    which = "the index of pip's configuration" if named else "pip's default index"
    skipped = re.findall(r"Could not fetch URL \S+: (.*)", done.stdout + done.stderr)
    said = "\n".join(skipped) or done.stdout + done.stderr
    if done.ok and not skipped:
        yield Row("package index", State.OK, f"{which} answers")
    elif sign := read_signs(PIP_TROUBLE, said):
        yield Row("package index", State.FAIL, f"{which}: {sign.message}", sign.hint)
    else:
        last = (said.strip().splitlines() or ["pip says nothing"])[-1]
        yield Row("package index", State.FAIL, f"{which}: {last[:160]}", "`pip index versions pip -vv` shows more")


def check_mirror(machine: Machine) -> Iterable[Row]:
    """Fetch one small file from the Debian mirror with apt's own means, where packages are needed now or perhaps."""
    settings, fetches = machine.settings, machine.engines().fetches
    if settings.base == "registry" and not fetches:
        return
    try:
        yield Row("apt mirror", State.OK, f"{fetch_from_mirror(machine)} answers")
    except DockyardError as error:
        state = State.FAIL if fetches or settings.base == "debian" else State.WARN
        yield Row("apt mirror", state, error.message, error.hint)


def fetch_from_mirror(machine: Machine) -> str:
    """Fetch a small file with apt, and keep nothing of it; return the mirror's address, raise where it has none."""
    mirror = machine.mirror()
    uri = f"{mirror.uri.rstrip('/')}/dists/{machine.codename()}/InRelease"
    options = ("Acquire::Retries=0", "Acquire::http::Timeout=4", "Acquire::https::Timeout=4", "APT::Sandbox::User=root")
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        words = (*(word for option in options for word in ("-o", option)), "download-file", uri, f"{folder}/file")
        helper = Command(("/usr/lib/apt/apt-helper", *words), timeout=NETWORK_SECONDS)
        done = machine.runner.capture(helper, check=False)
    shown = re.sub(r"//[^/@]*@", "//", mirror.uri)
    if done.ok:
        return shown
    lines = (line.strip() for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E: Failed", "  ")))
    wrong = re.sub(r"^E: Failed to fetch \S+\s+", "", next(lines, "it cannot be read"))
    raise DockyardError(f"{shown}: {wrong}", "check the network and apt's proxy settings")


def check_certificates(machine: Machine) -> Iterable[Row]:
    """Read the CA bundle that builds would get."""
    named = {name: machine.environment[name] for name in CA_NAMES if machine.environment.get(name)}
    absent = [f"{name}={value}" for name, value in named.items() if not Path(value).exists()]
    path = ca_bundle(machine.environment)
    if absent:
        found, fix = f"{' and '.join(absent)}: there is no such file", "correct the variable, or unset it"
        yield Row("CA bundle", State.FAIL, found, fix)
    elif path is None:
        found = "this host has none: builds trust what the base image trusts"
        fix = "install ca-certificates, or set SSL_CERT_FILE where a proxy inspects TLS"
        yield Row("CA bundle", State.WARN, found, fix)
    else:
        try:
            yield Row("CA bundle", State.OK, f"{path}: {count_certificates(path)} certificates")
        except OSError as error:
            wrong = error.strerror or "cannot be read as PEM certificates"
            fix = "put PEM certificates there, or name another file in SSL_CERT_FILE"
            yield Row("CA bundle", State.FAIL, f"{path}: {wrong}", fix)


def check_git(machine: Machine) -> Iterable[Row]:
    """Read the commit that images would be named after."""
    if machine.runner.which("git") is None:
        yield Row("git", State.WARN, "not installed: images get no tag and no date from a commit", "install git")
        return
    root = machine.settings.root
    asking = Command(("git", "rev-parse", "--git-dir"), cwd=root, env={"LC_ALL": "C"}, timeout=5)
    done = machine.runner.capture(asking, check=False)
    yield git_row(read_git(root), done.stderr.strip())


def git_row(git: Git | None, said: str = "") -> Row:
    """Say which commit images would be named after; `said` is why git gives no answer."""
    if git is None:
        advice = re.search(r"git config .*", said)  # where the repository belongs to another user
        what = said.partition("\n")[0].removeprefix("fatal: ") or "no commit yet"
        fix = advice[0] if advice else "`git init` and a first commit"
        return Row("git", State.WARN, f"{what}: images get no tag and no date", fix)
    found = f"{git.commit[:12]}{f', {git.tag}' if git.tag else ''}"
    if git.dirty:
        found += ", with changes that are not committed: images are marked dirty"
    if git.branch is None:
        return Row("git", State.WARN, f"detached head at {found}", "`git switch BRANCH`, unless this is a CI job")
    return Row("git", State.OK, f"{git.branch} at {found}")


def check_locks(machine: Machine) -> Iterable[Row]:
    """Compare the locks with what they were made from, and tell the first problem."""
    problems = check_project(machine.settings)
    if problems:
        path, line, message, mend = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        yield Row("locks", State.FAIL, f"{path}:{line}: {message}{more}", mend)
    else:
        yield Row("locks", State.OK, "all agree with requirements/*.in")


def check_ports(machine: Machine) -> Iterable[Row]:
    """See whether the ports of the development stack are free, or published by the stack itself."""
    held = [port for port in machine.settings.ports if machine.is_taken("127.0.0.1", port)]
    changes, own = machine.docker() if held else None, ""
    if changes is not None and machine.engines().info:
        label = f"label=com.docker.compose.project={machine.settings.stack}"
        listing = ("docker", "ps", "--filter", label, "--format", "{{.Ports}}")
        own = machine.runner.capture(Command(listing, env=changes, timeout=ENGINE_SECONDS), check=False).stdout
    for port in machine.settings.ports:
        if port not in held:
            yield Row(f"port {port}", State.OK, "free")
        elif f":{port}->" in own:
            yield Row(f"port {port}", State.OK, "this project's own stack has it")
        else:
            found = "another program has it: `invoke up` will not start"
            fix = f"`ss -ltnp sport = :{port}` names it: end it, or change ports"
            yield Row(f"port {port}", State.WARN, found, fix)


def check_python(machine: Machine) -> Iterable[Row]:
    """Look at the Python that runs the pipeline: it is best the project's own."""
    version = platform.python_version()
    if Path(sys.prefix).resolve() == (machine.settings.root / ".venv").resolve():
        yield Row("Python", State.OK, f"{version} in .venv")
    else:
        found = f"{version} in {sys.prefix}, not the project's .venv"
        yield Row("Python", State.WARN, found, "start it with the Python of the project's .venv")


def check_hook(machine: Machine) -> Iterable[Row]:
    """See whether pre-commit is git's hook, in a project that uses it."""
    root = machine.settings.root
    if not (root / ".pre-commit-config.yaml").exists() or machine.runner.which("git") is None:
        return
    asking = Command(("git", "rev-parse", "--git-path", "hooks/pre-commit"), cwd=root, timeout=5)
    done = machine.runner.capture(asking, check=False)
    if done.ok:
        installed = (root / done.stdout.strip()).exists()
        yield Row("pre-commit", State.OK, "installed" if installed else "not installed: `pre-commit install` would")


def examine(settings: "Settings", environment: Mapping[str, str]) -> tuple[Row, ...]:
    """Return every row of the table, in the order of CHECKS."""
    engines = share(lambda: machine.look_at_engines(settings, environment))
    return run_checks(CHECKS, Machine(settings, environment, engines))


def share(gather: Callable[[], Engines]) -> Callable[[], Engines]:
    """Return a fact that several checks need: the first one gathers it, the others wait for it."""
    known, lock = functools.cache(gather), threading.Lock()

    def ask() -> Engines:
        with lock:
            return known()

    return ask


def run_checks(checks: Mapping[str, Check], machine: Machine, limit: float = LIMIT) -> tuple[Row, ...]:
    """Run checks side by side; one that fails or does not end within `limit` seconds becomes a failing row."""
    done: queue.SimpleQueue[tuple[str, tuple[Row, ...]]] = queue.SimpleQueue()

    def work(name: str, check: Check) -> None:
        try:
            rows = tuple(check(machine))
        except DockyardError as error:
            rows = (Row(name, State.FAIL, error.message, error.hint),)
        except Exception as error:  # noqa: BLE001 - a check that breaks must not take the other rows with it
            rows = (Row(name, State.FAIL, f"the check itself broke: {error!r}", "please report it as a bug"),)
        done.put((name, rows))

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
    lost = {name: (Row(name, State.FAIL, late, "check the network, try again"),) for name in checks}
    return tuple(row for several in (lost | rows).values() for row in several)


CHECKS: Mapping[str, Check] = {
    "engine": machine.check_engine,
    "builder": machine.check_builder,
    "disk": machine.check_disk,
    "memory": machine.check_memory,
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
