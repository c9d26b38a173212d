"""Make a base image from Debian packages with mmdebstrap, which is itself only fetched and unpacked.

It needs no Docker Engine and no registry. As root it works in a chroot; for others in a user namespace, which
needs the package uidmap and a range of subordinate ids.
"""

import contextlib
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from dockyard import apt, console, files, process
from dockyard.bases import cache, recipe
from dockyard.bases.cache import Record
from dockyard.bases.lookup import UnavailableError
from dockyard.errors import CommandError, DockyardError, Sign, read_signs
from dockyard.process import Command

log = logging.getLogger(__name__)

TOOL = "mmdebstrap/trixie"
SHIPPED = ("finish.sh", "clean.sh", "dpkg.cfg")
LONGEST = 1800.0
INSTEAD = 'use base = "registry", or run this as root'
PHASES: Mapping[str, str] = {
    "I: running apt-get update": "reading the lists of packages",
    "I: downloading packages": "downloading packages",
    "I: installing essential": "installing Debian's essentials",
    "I: installing remaining": "installing {}",
    "I: running --customize-hook": "finishing",
}
UNAVAILABLE = (
    *(sign for sign in apt.SIGNS if "Release' does not have" in sign.pattern or "is expired" in sign.pattern),
    Sign(
        r"unable to locate package (\S+)|package '(\S+)' has no installation candidate",
        "the mirror's release has no package {0}{1}",
    ),
)
SIGNS = (
    Sign(r"can't locate \S+\.pm", "making base images needs Perl with its modules", "install the package perl"),
    Sign(
        r"(.*(?:operation not permitted|cannot open user namespace|unshare\(\) failed).*)",
        "this system does not permit making base images: {0}",
        f"outside a container it may; or {INSTEAD}",
    ),
    Sign(
        r"cannot find newuidmap",
        "without root, base images need the program newuidmap",
        f"install the package uidmap; or {INSTEAD}",
    ),
    Sign(
        r"failed to parse /etc/subuid",
        "without root, base images need subordinate ids, and /etc/subuid has none for this user",
        f"`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` as root gives them; or {INSTEAD}",
    ),
    *apt.SIGNS,
)


def architecture(machine: str = platform.machine()) -> str:
    """Return a machine's architecture by its name in image configurations."""
    found = recipe.ARCHITECTURES.get(machine)
    if found is None:
        raise DockyardError(f"base images from Debian packages are not made for {machine}", 'use base = "registry"')
    return found


def own_platform() -> str:
    """Return the platform of bases made here, as images name it: linux/amd64."""
    return f"linux/{architecture()}"


def foreign(platforms: Sequence[str]) -> tuple[str, ...]:
    """Return those platforms that this machine makes no bases for; a variant such as linux/amd64/v2 is its own."""
    own = recipe.ARCHITECTURES.get(platform.machine())
    return tuple(wanted for wanted in platforms if own not in wanted.split("/"))


@dataclass(frozen=True)
class ImagePlan:
    """An image to make: `kind` and `name` are what the cache keeps it under, `fingerprint` changes with its recipe.

    Of the packages that its tree holds, `read_version` returns the version of the `software` that matters, and
    `configure` returns what an image of a version tells those who start it.
    """

    kind: str
    name: str
    software: str
    contents: recipe.Contents
    fingerprint: str
    read_version: Callable[[Mapping[str, str]], str]
    configure: Callable[[str], Mapping[str, object]]


def plan_base(python: str) -> ImagePlan:
    """Return how the base image of a Python is made; raise UnavailableError where there can be none."""
    return ImagePlan(
        "python",
        python,
        "Python",
        recipe.python_contents(python),
        current(python),
        lambda held: recipe.python_version(held, python),
        lambda version: {"Env": recipe.list_variables(recipe.image_environment(version)), "Cmd": ["python3"]},
    )


def current(python: str) -> str:
    """Return the fingerprint of today's recipe of a Python's base: one of another recipe is made anew."""
    shipped = (read_shipped(name) for name in SHIPPED)
    return recipe.fingerprint(recipe.python_contents(python), shipped, recipe.image_environment("VERSION"))


def cached(python: str) -> Record | None:
    """Return the base of a Python that the cache holds, whatever recipe it was made by, or None."""
    found = recipe.ARCHITECTURES.get(platform.machine())
    return cache.read_record(python, found) if found else None


def at_hand(python: str) -> Record | None:
    """Return the base of a Python that the cache holds and today's recipe would make, or None."""
    record = cached(python)
    return record if record is not None and record.recipe == current(python) else None


def ensure_base(python: str, *, allow_expired: bool, anew: bool = False) -> Record:
    """Return the base of a Python, made first if the cache has none, or `anew`."""
    return ensure_image(plan_base(python), allow_expired=allow_expired, anew=anew)


def ensure_image(plan: ImagePlan, *, allow_expired: bool, anew: bool = False) -> Record:
    """Return an image of the cache, made first if it has none by this recipe, or `anew`; one command alone makes it."""

    def look() -> Record | None:
        found = cache.read_record(plan.name, architecture(), plan.kind)
        return found if found and found.recipe == plan.fingerprint else None

    before = look()
    if before and not anew:
        return before
    with files.alone(files.folder() / f".{plan.kind}-{plan.name}.lock"):
        found = look()
        if found is not None and found != before:  # another command has made it meanwhile
            return found
        title = plan.contents.name
        log.info(f"{title}: making its image from packages of Debian {plan.contents.release}")
        started = time.monotonic()
        record = make_image(plan, allow_expired=allow_expired)
        took = console.duration(time.monotonic() - started)
        log.info(f"{title}: image of {record.version} made in {took}, {console.size(record.image.size)} packed")
        return record


def make_image(plan: ImagePlan, *, allow_expired: bool) -> Record:
    """Make an image and keep it; raise UnavailableError where a mirror has not what it needs."""
    release = plan.contents.release
    files.folder().mkdir(parents=True, exist_ok=True)
    with (
        workplace(plan.contents, allow_expired) as job,
        # What is still there afterwards is no finished image, and goes.
        tempfile.TemporaryDirectory(prefix=".making-", dir=files.folder(), ignore_cleanup_errors=True) as folder,
    ):
        run(job)
        made = Path(folder)
        made.chmod(0o755)
        held = cache.read_packages(job.tree)
        version = plan.read_version(held)
        made_by = f"dockyard: {plan.software} {version} from Debian {release}"
        image = cache.write_layout(job.tree, made, architecture(), made_by, plan.configure(version))
        record = Record(plan.name, version, release, architecture(), plan.fingerprint, held, image, "", kind=plan.kind)
        return cache.store_record(made, record)


def simulate(python: str, *, allow_expired: bool) -> dict[str, str]:
    """Return the versions of packages that a base of a Python would get from the mirror now."""
    with workplace(recipe.python_contents(python), allow_expired) as job:
        return recipe.parse_simulation(run(job, simulate=True))


def explain(name: str, said: str) -> DockyardError:
    """Return the error that tells why no base was made, from what mmdebstrap and apt said."""
    if sign := read_signs(UNAVAILABLE, said):
        return UnavailableError(sign.message, sign.hint)
    if sign := read_signs(SIGNS, said):
        return DockyardError(sign.message, sign.hint)
    errors = [line for line in said.strip().splitlines() if not line.startswith(("I: ", "W: "))]
    return DockyardError(
        f"making the image of {name} from Debian packages failed:\n" + "\n".join(errors[-8:]),
        "run it again: nothing half-made was kept; `invoke doctor` looks at the mirror",
    )


def run(job: recipe.Job, *, simulate: bool = False) -> str:
    """Make the tree of a job, or find out what it would hold, and show how it goes; return all that was said."""
    environment = recipe.child_environment(job, os.environ)
    heard: list[str] = []
    try:
        for line in process.lines(Command(recipe.command(job, simulate=simulate), env=environment, timeout=LONGEST)):
            heard.append(line)
            phase = next((phase for start, phase in PHASES.items() if line.startswith(start)), "")
            if phase:
                log.info(f"  {job.contents.name}: {phase.format(job.contents.name)}")
    except CommandError as error:
        raise explain(job.contents.name, "\n".join(heard) or error.message) from None
    return "\n".join(heard)


@contextlib.contextmanager
def workplace(contents: recipe.Contents, allow_expired: bool) -> Iterator[recipe.Job]:
    """Prepare a folder for one run of mmdebstrap, and leave nothing of it, mounts included."""
    release = contents.release
    mirror = apt.mirror()
    tools = files.folder() / "mmdebstrap"
    with files.alone(files.folder() / ".mmdebstrap.lock"):
        if not (tools / "usr/bin/mmdebstrap").is_file():
            apt.unpack((TOOL,), tools)
    work = Path(tempfile.mkdtemp(prefix="dockyard-tree-"))
    try:
        work.chmod(0o755)  # in a user namespace the tool is another user, who cannot look into a home
        shutil.copytree(tools / "usr", work / "tools" / "usr", ignore=shutil.ignore_patterns("doc", "man"))
        (work / "tools").chmod(0o755)
        archives = recipe.archives(mirror, release, apt.host_sources())
        dump = process.capture(Command(("apt-config", "dump"), env={"LC_ALL": "C"}), check=False).stdout
        kept = [recipe.without_password(archive) for archive in archives]
        texts = {
            "build.list": recipe.sources(archives, str(mirror.keyring)),
            "kept.list": recipe.sources(kept, recipe.KEYRING, allow_expired=allow_expired and release == "testing"),
            "apt.conf": recipe.apt_configuration(recipe.parse_proxies(dump), allow_expired=allow_expired),
        }
        shipped = ("dpkg.cfg", "clean.sh", contents.script, *contents.files)
        written = {name: text.encode() for name, text in texts.items()}
        for name, content in {**written, **{Path(name).name: read_shipped(name) for name in shipped}}.items():
            (work / name).write_bytes(content)
            (work / name).chmod(0o644)
        yield recipe.Job(contents, "unshare" if os.geteuid() else "root", work / "tools", work)
    finally:
        files.unmount((work,))  # what a killed mmdebstrap left: the host's own files would go
        shutil.rmtree(work, ignore_errors=True)


def read_shipped(name: str) -> bytes:
    """Return a file that stands beside this module."""
    return resources.files("dockyard.bases").joinpath(name).read_bytes()
