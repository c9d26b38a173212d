"""Fetch Debian packages into a private folder: apt checks every signature, the host stays as it is.

apt works on a state of its own (lists, cache, an empty list of installed packages, one sources file), so
nothing is installed, no hook of the host runs, and the host's own package lists are not touched. The
mirror comes from the host's sources, because a host behind a firewall reaches that one and maybe no other.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from dockyard import process
from dockyard.errors import DockyardError, Sign, read_signs
from dockyard.files import disk_errors
from dockyard.process import Command, Runner

ELSEWHERE = 'use a Docker Engine and a registry instead (engine = "host", base = "registry"), or run this on Debian'


@dataclass(frozen=True)
class AptHost:
    """Where a machine keeps apt's sources, Debian's keys and its own name, and what runs its programs."""

    apt: Path = Path("/etc/apt")
    keyring: Path = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    os_release: Path = Path("/etc/os-release")
    runner: Runner = process


HERE = AptHost()


@dataclass(frozen=True)
class Mirror:
    """Where Debian's packages are fetched from, and the keys that must have signed them."""

    uri: str
    keyring: Path


@dataclass(frozen=True)
class Source:
    """One entry of the host's apt sources; `signer` is its Signed-By: a keyring's path, a whole key, or nothing."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signer: str = ""

    @property
    def is_debian(self) -> bool:
        """Whether it is Debian's own archive on the network, and not somebody's packages for it."""
        ours = not self.signer or "debian-archive" in self.signer or "BEGIN PGP" in self.signer
        return ours and "main" in self.components and not self.uri.startswith("cdrom:")


def codename(host: AptHost = HERE) -> str:
    """Return the host's own Debian release, such as bookworm; raise DockyardError where the host is no Debian."""
    try:
        release = parse_os_release(host.os_release.read_text("utf-8"))
    except OSError:
        release = {}
    if release.get("ID") != "debian" or not release.get("VERSION_CODENAME"):
        name = release.get("PRETTY_NAME", "unknown")
        raise DockyardError(f"Debian packages can only be fetched on Debian; this system is {name}", ELSEWHERE)
    return release["VERSION_CODENAME"]


def mirror(host: AptHost = HERE) -> Mirror:
    """Return the Debian mirror that the host's own apt sources name, and its keyring."""
    release = codename(host)
    if host.runner.which("apt-get") is None or host.runner.which("dpkg") is None:
        raise DockyardError("this Debian has no apt-get or no dpkg", ELSEWHERE)
    # Entries that name Debian's keyring come before those that trust any key of the host.
    for source in sorted(host_sources(host), key=lambda one: "debian-archive" not in one.signer):
        if source.is_debian and release in source.suites:
            signer = source.signer.split(",")[0].strip()
            keyring = Path(signer) if signer.startswith("/") else host.keyring
            if not keyring.is_file():
                raise DockyardError(f"the keyring {keyring} is missing", "install the package debian-archive-keyring")
            return Mirror(source.uri, keyring)
    raise DockyardError(
        f"the apt sources in {host.apt} name no mirror of Debian {release} main",
        f"add one to {host.apt}/sources.list.d/debian.sources, signed by {host.keyring}",
    )


def try_mirror(host: AptHost, seconds: float) -> str:
    """Fetch a small file from the mirror and keep nothing of it; return its address, or raise DockyardError."""
    uri = mirror(host).uri
    shown = re.sub(r"//[^/@]*@", "//", uri)
    options = ("Acquire::Retries=0", "Acquire::http::Timeout=4", "Acquire::https::Timeout=4", "APT::Sandbox::User=root")
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        words = (*(word for option in options for word in ("-o", option)), "download-file")
        wanted = (f"{uri.rstrip('/')}/dists/{codename(host)}/InRelease", f"{folder}/file")
        helper = Command(("/usr/lib/apt/apt-helper", *words, *wanted), env={"LC_ALL": "C"}, timeout=seconds)
        done = host.runner.capture(helper, check=False)
    if done.ok:
        return shown
    said = explain((done.stderr + done.stdout).replace(uri, shown))
    raise DockyardError(f"{shown}: {said.message}", said.hint)


@disk_errors()
def unpack(wanted: Sequence[str], into: Path, *, allow_expired: bool = False, host: AptHost = HERE) -> None:
    """Fetch packages, each as runc/bookworm, and unpack them, without their scripts, into a folder replaced whole.

    Nothing is left in or beside `into` when this raises DockyardError: no apt, a mirror out of reach, a bad
    signature, a release past its date (unless `allow_expired`), an unknown package, or a full disk.
    """
    source = mirror(host)
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent, ignore_cleanup_errors=True) as name:
        work = Path(name)
        apt = _private_apt(work, source, sorted({package.partition("/")[2] for package in wanted}), allow_expired)
        _run(host, *apt, "update", cwd=work)
        _run(host, *apt, "download", *wanted, cwd=work / "debs")
        for archive in sorted((work / "debs").glob("*.deb")):
            _run(host, "dpkg", "-x", str(archive), str(work / "root"), cwd=work)
            archive.unlink()
        if into.exists():
            into.rename(work / "old")
        (work / "root").rename(into)


def parse_os_release(text: str) -> dict[str, str]:
    """Return the names and values of an os-release file."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def parse_installed(text: str) -> dict[str, dict[str, str]]:
    """Return the fields of every package that a dpkg status file says is installed, by name."""
    found = {}
    for stanza in text.split("\n\n"):
        lines = (line.partition(": ") for line in stanza.splitlines() if not line.startswith((" ", "\t")))
        fields = {name: value.strip() for name, colon, value in lines if colon}
        # Images without dpkg have a file for each package, which says no status.
        if {"Package", "Version"} <= fields.keys() and fields.get("Status", "installed").split()[-1] == "installed":
            found[fields["Package"]] = fields
    return found


def parse_list(text: str) -> Iterator[Source]:
    """Yield the binary entries of a one-line style file (sources.list)."""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if found is None:
            continue
        pairs = (option.partition("=") for option in (found[1] or "").split())
        options = {name.lower(): value for name, _, value in pairs}
        yield Source(found[2], (found[3],), tuple(found[4].split()), options.get("signed-by", ""))


def parse_sources(text: str) -> Iterator[Source]:
    """Yield the enabled binary entries of a deb822 file (*.sources), one for each URI."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        fields = {name.lower(): value for name, value in message_from_string(stanza.strip()).items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        suites, components = (tuple(fields.get(name, "").split()) for name in ("suites", "components"))
        for uri in fields.get("uris", "").split():
            yield Source(uri, suites, components, fields.get("signed-by", ""))


def host_sources(host: AptHost = HERE) -> Iterator[Source]:
    """Yield every entry of the host's apt sources."""
    for path in (host.apt / "sources.list", *sorted((host.apt / "sources.list.d").glob("*"))):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            yield from parse_sources(text)
        elif path.suffix == ".list":
            yield from parse_list(text)


def explain(said: str) -> DockyardError:
    """Return the error that tells a person why apt or dpkg failed, from what it said in English."""
    if sign := read_signs(SIGNS, said):
        return DockyardError(sign.message, sign.hint)
    tail = "\n".join(said.strip().splitlines()[-5:])
    hint = "`apt-get update` shows whether the host's own sources work"
    return DockyardError(f"fetching Debian packages failed: {tail}", hint)


SIGNS = (
    Sign(
        r"no space left on device|don't have enough free space",
        "the disk is full: Debian packages could not be fetched and unpacked",
        "free about 1 GB, or set TMPDIR and XDG_CACHE_HOME to folders on a larger disk",
    ),
    Sign(
        r"release file for (\S+) is expired",
        "the mirror's release is past its Valid-Until date, so it could be an old copy played back: {0}",
        "set allow-expired-release = true in [tool.dockyard] if you trust this mirror",
    ),
    Sign(
        r"release file for (\S+) is not valid yet",
        "the mirror's release is dated in the future: {0}",
        "set this machine's clock",
    ),
    Sign(
        r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|not signed|couldn't be verified|signatures were invalid"
        r"|clearsigned file isn't valid",
        "the mirror's release is not signed by Debian's keys: nothing was unpacked",
        "update the package debian-archive-keyring; if that does not help, do not trust this mirror or network",
    ),
    Sign(
        r"hash sum mismatch|unexpected size",
        "a package does not match the mirror's signed list: nothing was unpacked",
        "the mirror may be in the middle of an update: try again in a few minutes",
    ),
    Sign(
        r"certificate verification failed|certificate is not trusted|no system certificates",
        "the mirror's TLS certificate is not trusted",
        "install ca-certificates, and behind an inspecting proxy add its CA with update-ca-certificates",
    ),
    Sign(
        r"'?(\S+ \S+) Release' does not have a Release file",
        "the mirror does not hold that release: {0}",
        "name a full Debian mirror in the host's apt sources",
    ),
    Sign(
        r"could not resolve|temporary failure resolving|could not connect|connection (?:timed out|refused|failed)"
        r"|network is unreachable|unable to connect|failed to fetch (\S+)|some index files failed",
        "the Debian mirror cannot be reached {0}",
        "check the network and the proxy (http_proxy, or Acquire::http::Proxy in apt.conf), then try again",
    ),
)


def _private_apt(work: Path, source: Mirror, releases: Iterable[str], allow_expired: bool) -> tuple[str, ...]:
    """Make an apt state of its own in `work`, and return the command that goes by it."""
    for folder in ("lists/partial", "cache/archives/partial", "parts", "none", "debs", "root"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "root").chmod(0o755)
    stanza = ("Types: deb", f"URIs: {source.uri}", f"Suites: {' '.join(releases)}", "Components: main")
    signed = f"Signed-By: {source.keyring}"
    (work / "parts" / "debian.sources").write_text("\n".join((*stanza, signed, "")), "utf-8")
    configuration = work / "apt.conf"
    configuration.write_text(apt_configuration(work, allow_expired), "utf-8")
    return ("apt-get", "-q", "-c", str(configuration))


def apt_configuration(work: Path, allow_expired: bool) -> str:
    """Return the configuration that is read after the host's: its proxies and credentials stay in force.

    The date checks are set here because a host may have switched them off for itself.
    """
    values = {
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::State::extended_states": work / "extended_states",
        "Dir::Cache": work / "cache",
        "Dir::Cache::archives": "archives",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": work / "parts",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": work / "none",
        "Dir::Etc::trusted": "/dev/null",
        "Dir::Etc::trustedparts": work / "none",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "Acquire::Check-Date": "true",
        "Acquire::Check-Valid-Until": "false" if allow_expired else "true",
        "Acquire::Languages": "none",
        "Acquire::PDiffs": "false",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
    }
    hooks = (f"APT::Update::{name}" for name in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"))
    cleared = (f"#clear {name};\n" for name in (*hooks, "APT::Architectures"))
    return "".join((*cleared, *(f'{name} "{value}";\n' for name, value in values.items())))


def _run(host: AptHost, *argv: str, cwd: Path) -> None:
    done = host.runner.capture(Command(argv, cwd=cwd, env={"LC_ALL": "C"}, timeout=1200), check=False)
    if not done.ok:
        raise explain(done.stderr + done.stdout)
