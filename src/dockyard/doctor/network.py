"""Checks of what builds reach over the network: base images, registry, indexes, Debian's mirror, certificates."""

import configparser
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from dockyard.bases import lookup, recipe
from dockyard.bases.resolve import reference, wanted
from dockyard.doctor.machine import NETWORK_SECONDS, Machine, Row, State
from dockyard.engine import client
from dockyard.errors import CommandError, DockyardError, Sign, read_signs
from dockyard.host import CA_NAMES, ca_bundle, certificates
from dockyard.locks.indexes import collect_logins
from dockyard.process import Command

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
    """Ask a registry for a base image, as a build would, without remembering the answer."""
    settings, engines = machine.settings, machine.engines()
    without = tuple(python for python in settings.pythons if python not in recipe.RELEASES)
    lacking = engines.kind != "embedded" and "buildx" in dict(client.missing_plugins(engines.plugins))
    changes = None if settings.base == "debian" or lacking else machine.docker()
    digest = reason = ""
    if changes is not None:
        name = wanted(settings.python, lookup.read_bases_lock(settings.root))
        words = ("docker", "buildx", "imagetools", "inspect", name, "--format", "{{json .Manifest}}")
        try:
            answer = lookup.read_answer(machine.run(Command(words, env=changes, timeout=NETWORK_SECONDS)).stdout, 0)
        except CommandError as error:
            answer = lookup.read_refusal(error.output or f"no answer within {NETWORK_SECONDS:g} s", 0)
        digest, reason = answer.digest, answer.reason
    yield base_row(settings.base, reference(settings.python), digest, reason, without)


def base_row(mode: str, name: str, digest: str = "", reason: str = "", unpackaged: Sequence[str] = ()) -> Row:
    """Say whether base images can be had; without a registry, Debian packages make them unless the settings forbid.

    `digest` or `reason` is a registry's answer, both empty where none was asked.
    """
    lacking = f"; Debian packages make none for Python {', '.join(unpackaged)}" if unpackaged else ""
    if mode == "debian":
        state = State.WARN if lacking else State.OK
        return Row(
            "base images", state, f"from Debian packages{lacking}", 'base = "auto" asks a registry' if lacking else ""
        )
    if digest:
        return Row("base images", State.OK, f"the registry has {name}")
    if not reason:
        after = "" if mode == "registry" else ", and takes Debian packages where none answers" + lacking
        return Row("base images", State.OK, f"the first build asks a registry{after}")
    if mode == "registry":
        advice = 'check the network and the proxy, or set base = "auto" to use Debian packages instead'
        return Row("base images", State.FAIL, reason, advice)
    found = f"the registry does not answer, so Debian packages are used ({reason}){lacking}"
    return Row("base images", State.WARN, found, 'nothing needs doing; base = "debian" asks no registry')


def check_registry(machine: Machine) -> Iterable[Row]:
    """Knock at the registry that images are pushed to, if the settings name one; a login is not tried."""
    settings = machine.settings
    if not settings.registry:
        return
    from dockyard.registry.client import parse_reference
    from dockyard.registry.content import reach_registry

    host = parse_reference(f"{settings.repository}:x").host
    engine = client.Engine("host", "", snapshotter=False, environment=machine.environment)
    with reach_registry(engine, machine.engines().info or LOOPBACK, host) as there:
        there.connect()
        plain = " over plain HTTP, which the engine allows for it" if there.base.startswith("http:") else ""
    yield Row("registry", State.OK, f"{host or settings.registry} answers{plain}")


def check_index(machine: Machine) -> Iterable[Row]:
    """Let pip ask for its own versions at the indexes that a build would use."""
    written = collect_logins(machine.settings, (), machine.environment).pip_conf
    parser = configparser.RawConfigParser()
    parser.read_string(written)
    asked = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in parser.items("global")} if written else {}
    if bundle := ca_bundle(machine.environment):
        asked["PIP_CERT"] = str(bundle)
    clean = {name: None for name in machine.environment if name.startswith("PIP_")}
    words = ("-m", "pip", "index", "versions", "pip", "-vv", "--timeout=3", "--retries=0", "--no-input")
    changes = {**clean, **asked, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = machine.run(Command((sys.executable, *words), env=changes, timeout=INDEX_SECONDS), check=False)
    named = "PIP_INDEX_URL" in asked or "PIP_EXTRA_INDEX_URL" in asked
    yield index_row(named, done.returncode, done.stdout + done.stderr)


def index_row(named: bool, returncode: int, output: str) -> Row:
    """Say whether the index of the configuration, `named`, or else pip's own answers; `output` is pip's."""
    which = "the index of pip's configuration" if named else "pip's default index"
    skipped = re.findall(r"Could not fetch URL \S+: (.*)", output)
    if returncode == 0 and not skipped:
        return Row("package index", State.OK, f"{which} answers")
    said = "\n".join(skipped) or output
    if sign := read_signs(PIP_TROUBLE, said):
        return Row("package index", State.FAIL, f"{which}: {sign.message}", sign.hint)
    last = (said.strip().splitlines() or ["pip says nothing"])[-1]
    return Row("package index", State.FAIL, f"{which}: {last[:160]}", "`pip index versions pip -vv` shows more")


def check_mirror(machine: Machine) -> Iterable[Row]:
    """Fetch one small file from the Debian mirror with apt's own means, where packages may be needed."""
    settings, fetches = machine.settings, machine.engines().fetches
    if settings.base == "registry" and not fetches:
        return
    needed = fetches or settings.base == "debian"
    try:
        mirror, release = machine.mirror(), machine.codename()
    except DockyardError as error:
        yield mirror_row("", needed, error.message, error.hint)
        return
    uri = re.sub(r"//[^/@]*@", "//", mirror.uri)
    yield mirror_row(uri, needed, fetch_with_apt(machine, f"{mirror.uri.rstrip('/')}/dists/{release}/InRelease"))


def fetch_with_apt(machine: Machine, uri: str) -> str:
    """Return why apt cannot fetch a file, or '' where it can; what it fetches is not kept."""
    options = ("Acquire::Retries=0", "Acquire::http::Timeout=4", "Acquire::https::Timeout=4", "APT::Sandbox::User=root")
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        words = (*(word for option in options for word in ("-o", option)), "download-file", uri, f"{folder}/file")
        done = machine.run(Command(("/usr/lib/apt/apt-helper", *words), timeout=NETWORK_SECONDS), check=False)
    if done.ok:
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E: Failed", "  "))]
    return re.sub(r"^E: Failed to fetch \S+\s+", "", lines[0]) if lines else "it cannot be read"


def mirror_row(uri: str, needed: bool, wrong: str = "", fix: str = "") -> Row:
    """Say whether the Debian mirror of the host's apt sources answers; it is `needed` now, or only perhaps."""
    if not wrong:
        return Row("apt mirror", State.OK, f"{uri} answers")
    found = f"{uri}: {wrong}" if uri else wrong
    advice = fix or "check the network and apt's proxy settings"
    return Row("apt mirror", State.FAIL if needed else State.WARN, found, advice)


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
        yield read_bundle(path, time.time())


def read_bundle(path: Path, now: float) -> Row:
    """Say what a bundle of certificates holds, or why it cannot be read."""
    try:
        count, expired = certificates(path, now)
        wrong = "" if count else "holds no certificate"
    except OSError as error:
        wrong = error.strerror or "cannot be read as PEM certificates"
    if wrong:
        fix = "put PEM certificates there, or name another file in SSL_CERT_FILE"
        return Row("CA bundle", State.FAIL, f"{path}: {wrong}", fix)
    return bundle_row(path, count, expired)


def bundle_row(path: Path, count: int, expired: Sequence[str] = ()) -> Row:
    """Say how many certificates the host trusts, and which of them are over."""
    text = f"{path}: {count} certificate{'s'[: count != 1]}"
    # Distributions keep some that are over: what matters is a bundle that is old as a whole, or a company's own.
    if 2 * len(expired) < count:
        return Row("CA bundle", State.OK, f"{text}, {len(expired)} expired" if expired else text)
    text += f", expired: {', '.join(expired[:3])}{' …' if len(expired) > 3 else ''}"
    return Row("CA bundle", State.WARN, text, "renew it: `apt-get install ca-certificates`, or ask who made it")
