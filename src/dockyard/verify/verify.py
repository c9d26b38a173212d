"""Verify an image: read what it holds, run it, and hold both against the policy."""

import json
import logging
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dockyard.bases.resolve import ensure_bases
from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError, UsageError
from dockyard.git import read_git
from dockyard.host import ca_bundle
from dockyard.image import names, records
from dockyard.image.names import Variant
from dockyard.locks import status
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.verify import contents, trial
from dockyard.verify.causes import diagnose
from dockyard.verify.model import Budgets, Case, Expected, Facts, Scope, Trial
from dockyard.verify.output import Report
from dockyard.verify.rules import bytecode, distributions, judge, secrets
from dockyard.verify.rules.files import scope

log = logging.getLogger(__name__)


PUBLIC = (
    "/usr/share/ca-certificates/mozilla",
    "/usr/share/pki/ca-trust-source/ca-bundle.trust.p11-kit",
)
"""Where distributions keep the certificates that Mozilla publishes, apart from those that this host has added."""


@dataclass(frozen=True)
class Asked:
    """What a person wants verified: a target on a Python, or an image by its reference."""

    target: str = names.PRODUCTION
    python: str = ""
    image: str = ""


def verify(
    settings: Settings, asked: Asked, *, engine: Engine | None = None, patience: trial.Patience | None = None
) -> Report:
    """Verify one image; raise DockyardError where the engine has no such image."""
    judge.refuse_unknown_rules(settings.allow)
    clock = records.Clock.start()
    variant = chosen(settings, asked)
    reference = asked.image or names.local_name(settings, variant)
    engine = engine or find_engine(settings)
    config = present(engine, reference, variant, asked)
    expected = expectations(settings, variant, asked, config.get("Labels") or {})
    setup = trial.Setup(
        settings.ports[0], settings.trial_environment, settings.trial_tmpfs, patience or patient(settings, config)
    )
    log.info(f"reading and running {reference}" if serves(expected) else f"reading {reference}")
    found, result = look(engine, reference, config, setup if serves(expected) else None)
    if result and not result.serves:
        result = searched(settings, engine, expected.python, result)
    doubtful = bytecode.missing(found, expected.python) if result else ()
    if doubtful:
        expected = replace(expected, uncompilable=trial.uncompilable(engine, reference, doubtful))
    verdict = judge.judge(Case(found, expected, result), allow=settings.allow, dockerfile=_dockerfile(settings.root))
    return Report(
        reference,
        found.digest,
        expected.target,
        expected.python,
        found.size,
        verdict,
        result,
        clock.seconds(),
        found.manifest,
    )


def look(
    engine: Engine, reference: str, config: Mapping[str, Any], setup: trial.Setup | None
) -> tuple[Facts, Trial | None]:
    """Run an image, and read it from the moment on when that no longer disturbs the time of its first answer."""
    if setup is None:
        return contents.read(engine, reference), None
    with ThreadPoolExecutor(max_workers=1) as pool:
        reading: list[Future[Facts]] = []

        def begin() -> None:
            if not reading:
                reading.append(pool.submit(contents.read, engine, reference))

        configured = Facts("", {"config": config}, (), {})
        result = trial.run(engine, reference, configured, replace(setup, answered=begin))
        begin()
        return reading[0].result(), result


def searched(settings: Settings, engine: Engine, python: str, result: Trial) -> Trial:
    """Return a failed trial with the paths under which the base image has what the service lacked."""
    failed = result.plain or result
    wanted = diagnose(failed).wanted
    if not wanted or python not in settings.pythons:
        return result
    bases, _ = ensure_bases(settings, engine, (python,))
    paths = trial.find(engine, bases[0].image, wanted) if bases else ()
    return replace(result, plain=replace(failed, in_base=paths)) if result.plain else replace(result, in_base=paths)


def chosen(settings: Settings, asked: Asked) -> Variant:
    """Return the variant that is asked for; raise UsageError for a Python that the project does not support."""
    python = asked.python or settings.python
    if python not in settings.pythons:
        raise UsageError(
            f"Python {python} is not supported by this project: {', '.join(settings.pythons)} are",
            "add it to pythons in [tool.dockyard] and run `invoke lock`",
        )
    return Variant(asked.target, python)


def present(engine: Engine, reference: str, variant: Variant, asked: Asked) -> Mapping[str, Any]:
    """Return an image's configuration; where there is none, raise DockyardError with the command that makes it."""
    done = capture(engine.command("image", "inspect", "--format={{json .Config}}", reference), check=False)
    if done.ok:
        return dict(json.loads(done.stdout))
    if "no such image" not in done.stderr.lower():
        raise DockyardError(
            f"the engine cannot say what {reference} is: {done.stderr.strip()}", "`invoke doctor` looks at the engine"
        )
    make = (
        f"`docker pull {reference}` brings it"
        if asked.image
        else f"`invoke build --target {variant.target} --python {variant.python}` makes it"
    )
    raise DockyardError(f"there is no image {reference}", make)


def expectations(settings: Settings, variant: Variant, asked: Asked, labels: Mapping[str, str]) -> Expected:
    """Return what the project expects; an image given by reference is what it says it is, and of any commit."""
    target = labels.get("io.dockyard.target", "") if asked.image else variant.target
    python = labels.get("io.dockyard.python", variant.python) if asked.image else variant.python
    wanted = names.make_labels(settings, read_git(settings.root), Variant(target, python), "", "")
    own = {} if asked.image else wanted
    purpose = target if target in status.purposes(settings) else names.PRODUCTION
    lock = status.path(settings, python, purpose)
    return Expected(
        target=target,
        python=python,
        labels=own,
        pins=distributions.read_lock(lock.read_text("utf-8-sig"), python) if lock.is_file() else None,
        lock=str(lock.relative_to(settings.root)),
        own=distributions.own_name(tomllib.loads((settings.root / "pyproject.toml").read_text("utf-8-sig"))),
        private=private_certificates(),
        writable=settings.writable,
        budgets=Budgets(settings.size_budget, settings.start_budget, settings.memory_budget),
    )


def serves(expected: Expected) -> bool:
    """Say whether an image is one that serves, and so is tried."""
    return scope(Case(Facts("", {}, (), {}), expected)) is not Scope.EVERY


def patient(settings: Settings, config: Mapping[str, Any]) -> trial.Patience:
    """Return how long to wait: past the start's budget, to tell by how much it is missed, and past the start period."""
    usual = trial.Patience()
    period = float((config.get("Healthcheck") or {}).get("StartPeriod") or 0) / 1e9
    return replace(usual, start=max(usual.start, 2 * (settings.start_budget or 0)), health=max(usual.health, period))


@cache
def private_certificates() -> Mapping[str, str]:
    """Return the certificates that this host trusts and the public does not: their SHA-256 and their names."""
    bundle = ca_bundle()
    if bundle is None:
        return {}
    known: set[str] = set()
    for text in _public():
        known |= secrets.certificates(text).keys()
    ours = secrets.certificates(bundle.read_bytes())
    return {digest: secrets.subject(der) for digest, der in ours.items() if digest not in known}


def _public() -> Iterable[bytes]:
    import certifi

    paths = [Path(certifi.where())]
    for place in map(Path, PUBLIC):
        paths += sorted(place.glob("*.crt")) if place.is_dir() else [place]
    return [path.read_bytes() for path in paths if path.is_file()]


def _dockerfile(root: Path) -> str:
    try:
        return (root / "Dockerfile").read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
