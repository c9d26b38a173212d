"""The recipe of a base image made from Debian packages: which release, which packages, which command (pure).

The image is a function of the recipe and the package versions alone. Its time is therefore fixed: the date of
the mirror's release would give other digests, and a rebuild of everything above, while no package changed.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dockyard.apt import Mirror, Source
from dockyard.bases.lookup import UnavailableError

EPOCH = 1_767_225_600
"""2026-01-01: files that packages date later, and all that installation makes, are given this time."""

RELEASES: Mapping[str, str] = {"3.11": "bookworm", "3.13": "trixie", "3.14": "testing", "3.15": "testing"}
"""The Debian release that each Python is taken from."""

PACKAGES = ("ca-certificates", "media-types", "netbase", "tzdata")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ARCHITECTURES: Mapping[str, str] = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""A machine's name to the architecture's name in image configurations."""


@dataclass(frozen=True)
class Contents:
    """What a tree holds: packages of a Debian release, finished by a script that is given the tree and `arguments`.

    `variant` is mmdebstrap's: "apt" leaves apt in the tree, "essential" does not. `name` is for people; `files`
    lie beside the script when it runs; with `runtime_folders`, what it makes in /run stays.
    """

    name: str
    release: str
    packages: tuple[str, ...]
    script: str
    arguments: tuple[str, ...]
    variant: str = "apt"
    files: tuple[str, ...] = ()
    runtime_folders: bool = False


@dataclass(frozen=True)
class Job:
    """One tree to make: `tools` is mmdebstrap unpacked, `work` a folder of its own; both are readable to all."""

    contents: Contents
    mode: str
    tools: Path
    work: Path

    @property
    def tree(self) -> Path:
        """The tar file that the job makes."""
        return self.work / "tree.tar"


def python_contents(python: str) -> Contents:
    """Return what the base image of a Python holds; raise UnavailableError for one that no release ships."""
    packages = (f"python{python}", f"python{python}-venv", *PACKAGES)
    return Contents(f"Python {python}", release_of(python), packages, "finish.sh", (python,))


def release_of(python: str) -> str:
    """Return the Debian release that has a Python; raise UnavailableError for one that no release ships."""
    if python in RELEASES:
        return RELEASES[python]
    raise UnavailableError(
        f"no Debian release ships Python {python}",
        f"Debian packages make {', '.join(RELEASES)}; a registry may have others",
    )


def archives(mirror: Mirror, release: str, host: Iterable[Source]) -> tuple[str, ...]:
    """Return where packages come from, each as `URI SUITE`: the release, its updates and its security fixes.

    Those two are taken if the host uses those of its own release.
    """
    found = [f"{mirror.uri} {release}"]
    for source in host:
        for suite in source.suites if source.is_debian else ():
            ending = re.search(r"-(updates|security)$", suite)
            if ending and not (ending[1] == "updates" and release == "testing"):
                found.append(f"{source.uri} {release}{ending[0]}")
    return tuple(dict.fromkeys(found))


def sources(wanted: Iterable[str], keyring: str, *, allow_expired: bool = False) -> str:
    """Return a sources.list of archives."""
    options = f"signed-by={keyring}" + (" check-valid-until=no" if allow_expired else "")
    return "".join(f"deb [{options}] {archive} main\n" for archive in wanted)


def without_password(archive: str) -> str:
    """Return an archive whose address names no user: what stays in an image is no secret."""
    return re.sub(r"(?<=://)[^/]*@", "", archive)


def apt_configuration(proxies: Mapping[str, str], *, allow_expired: bool) -> str:
    """Return the settings that apt works with while it makes the tree; none of them stays in the image."""
    values = {
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Check-Date": "true",
        "Acquire::Check-Valid-Until": "false" if allow_expired else "true",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        **proxies,
    }
    return "".join(f'{name} "{value}";\n' for name, value in values.items())


def parse_proxies(dump: str) -> dict[str, str]:
    """Return the proxies that `apt-config dump` tells of."""
    found = re.findall(r'^(Acquire::https?::(?:\S+::)?Proxy) "(.+)";$', dump, re.MULTILINE)
    return dict(found)


def command(job: Job, *, simulate: bool = False) -> tuple[str, ...]:
    """Return the command that makes the tree of a job, or only says which packages it would hold."""
    work = shlex.quote(str(job.work))
    finish = f'sh {work}/{job.contents.script} "$1" {shlex.join(job.contents.arguments)} {work}/kept.list'
    hooks: tuple[str, ...] = (
        f'--extract-hook=install -m 644 {work}/dpkg.cfg "$1/etc/dpkg/dpkg.cfg.d/docker"',
        f"--customize-hook={finish}",
    )
    if job.contents.release == "bookworm":  # elsewhere a tree has its links of /bin, /lib and /sbin from a package
        hooks = (f"--hook-dir={job.tools}/usr/share/mmdebstrap/hooks/merged-usr", *hooks)
    return (
        *("sh", "-c", 'umask 022; exec "$@"', "sh"),
        *("perl", str(job.tools / "usr/bin/mmdebstrap"), f"--mode={job.mode}"),
        *(f"--variant={job.contents.variant}", "--format=tar", f"--include={','.join(job.contents.packages)}"),
        *(f"--aptopt={job.work}/apt.conf", "--skip=cleanup/apt", "--skip=output/dev"),
        *(("--skip=cleanup/run",) if job.contents.runtime_folders else ()),
        *(("--simulate", "--verbose") if simulate else hooks),
        *(job.contents.release, "/dev/null" if simulate else str(job.tree), str(job.work / "build.list")),
    )


def child_environment(job: Job, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Return the changes to the environment under which the tree is made: nothing of the host's taste gets in."""
    foreign = ("PIP_", "PYTHON", "PERL", "APT_", "DPKG_", "DEB_", "MMDEBSTRAP_", "UV_")
    cleared: dict[str, str | None] = {name: None for name in environment if name.startswith(foreign)}
    return {**cleared, "TMPDIR": str(job.work), "SOURCE_DATE_EPOCH": str(EPOCH), "LC_ALL": "C.UTF-8"}


def image_environment(version: str) -> dict[str, str]:
    """Return the environment of the image, named as in the official one."""
    path = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "PYTHON_VERSION": version}


def list_variables(environment: Mapping[str, str]) -> list[str]:
    """Return variables as an image's configuration has them."""
    return [f"{name}={value}" for name, value in environment.items()]


def python_version(packages: Mapping[str, str], python: str) -> str:
    """Return the full version of the Python that some packages hold: 3.15.0~rc1-1 is 3.15.0rc1."""
    found = re.match(r"[\d.]+(?:~?(?:a|b|rc)\d+)?", packages.get(f"python{python}", ""))
    return found[0].replace("~", "") if found else python


def parse_simulation(said: str) -> dict[str, str]:
    """Return the packages and versions that apt says it would install."""
    return dict(re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", said, re.MULTILINE))


def fingerprint(contents: Contents, files: Iterable[bytes], *more: object) -> str:
    """Return a short digest that changes with whatever shapes the image besides its packages' versions."""
    job = Job(contents, "MODE", Path("/tools"), Path("/work"))
    known = [EPOCH, command(job), *more, [hashlib.sha256(file).hexdigest() for file in files]]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]
