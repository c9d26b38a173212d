"""Verify an image: read what it holds, run it, and hold both against the policy."""

import logging
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

from dockyard.bases.resolve import ensure_bases
from dockyard.engine.client import Engine, find_engine
from dockyard.engine.inside import ask_python
from dockyard.errors import DockyardError
from dockyard.git import read_git
from dockyard.host import ca_bundle
from dockyard.image import names, records
from dockyard.image.build import Request
from dockyard.image.names import Variant
from dockyard.locks.check import choose_lock
from dockyard.settings import Settings
from dockyard.verify import contents, trial
from dockyard.verify.model import Case, Expected, Facts, ImageQuery, Scope, Trial
from dockyard.verify.output import Report, describe_report
from dockyard.verify.rules import bytecode, distributions, judge, secrets
from dockyard.verify.rules.runtime import diagnose

log = logging.getLogger(__name__)


def verify_image(
    settings: Settings, query: ImageQuery, *, engine: Engine | None = None, patience: trial.Patience | None = None
) -> Report:
    """Verify one image; raise DockyardError where the engine has no such image."""
    judge.refuse_unknown_rules(settings.allow)
    (variant,) = Request((query.target,), (query.python,) if query.python else ()).variants(settings)
    reference = query.image or names.local_name(settings, variant)
    engine = engine or find_engine(settings)
    config = require_image(engine, reference, variant, query).get("Config") or {}
    expected = expect(settings, variant, query, config.get("Labels") or {})
    with records.record_run(settings, "verify") as recording:
        recording.details = {"engine": records.describe_engine(engine), "python": variant.python}
        result = Trial()
        if expected.scope is Scope.EVERY:  # it does not serve
            log.info(f"reading {reference}")
            with recording.step("read the image"):
                found = contents.read_image(engine, reference)
        else:
            log.info(f"reading and running {reference}")
            with trial.start_attendants(settings, engine) as network:
                setup = replace(choose_setup(settings, config, patience), network=network)
                if settings.trial_release:
                    with recording.step("release step"):
                        trial.run_release_step(engine, reference, setup, settings.trial_release)
                with recording.step("run and read the image"):
                    found, result = read_and_try(engine, reference, setup)
        lock = settings.root / expected.lock
        doubtful = bytecode.find_uncompiled(found, expected.python) if result.port else ()
        expected = replace(
            expected,
            uncompilable=trial.find_uncompilable(engine, reference, doubtful) if doubtful else {},
            in_base=search_base(settings, engine, expected.python, result),
            pins=distributions.read_pins(lock.read_text("utf-8-sig"), found, expected.python)
            if lock.is_file()
            else None,
        )
        case = Case(found, expected, result)
        with recording.step("hold it against the rules"):
            verdict = judge.judge_image(case, allow=settings.allow)
        report = Report(reference, case, verdict, recording.seconds())
        recording.details |= describe_report(report)
        recording.failed = not report.ok
    return report


def choose_setup(settings: Settings, config: Mapping[str, Any], patience: trial.Patience | None) -> trial.Setup:
    """Return how to run an image of this configuration.

    The wait goes past the start's budget, to tell by how much it is missed, and past the check's start period.
    """
    period = float((config.get("Healthcheck") or {}).get("StartPeriod") or 0) / 1e9
    least = trial.Patience()
    usual = replace(least, start=max(least.start, 2 * (settings.start_budget or 0)), health=max(least.health, period))
    given = settings.trial_environment, settings.trial_tmpfs
    return trial.Setup(settings.ports[0], *given, patience or usual, config)


def read_and_try(engine: Engine, reference: str, setup: trial.Setup) -> tuple[Facts, Trial]:
    """Run an image, and read it from the moment on when that no longer disturbs the time of its first answer."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        begin = cache(lambda: pool.submit(contents.read_image, engine, reference))
        result = trial.try_image(engine, reference, replace(setup, answered=begin))
        return begin().result(), result


def search_base(settings: Settings, engine: Engine, python: str, result: Trial) -> tuple[str, ...]:
    """Return the paths under which the base image has what a failed service lacked."""
    wanted = "" if result.serves else diagnose(result.telling).wanted
    if not wanted or python not in settings.pythons:
        return ()
    bases, _ = ensure_bases(settings, engine, (python,))
    return tuple(ask_python(engine, bases[0].image, "find", wanted) or ()) if bases else ()


def require_image(engine: Engine, reference: str, variant: Variant, query: ImageQuery) -> dict[str, Any]:
    """Return what the engine knows of an image; where it has none, raise DockyardError with what makes or brings it."""
    found = engine.inspect_image(reference)
    if found is None:
        make = f"`invoke build --target {variant.target} --python {variant.python}` makes it"
        raise DockyardError(
            f"there is no image {reference}", f"`docker pull {reference}` brings it" if query.image else make
        )
    return found


def expect(settings: Settings, variant: Variant, query: ImageQuery, labels: Mapping[str, str]) -> Expected:
    """Return what the project expects, but for pins; an image given by reference is what it says, of any commit."""
    target = labels.get("io.dockyard.target", "") if query.image else variant.target
    python = labels.get("io.dockyard.python", variant.python) if query.image else variant.python
    labels = names.make_labels(settings, read_git(settings.root), Variant(target, python), "", "")
    project = tomllib.loads((settings.root / "pyproject.toml").read_text("utf-8-sig")).get("project") or {}
    return Expected(
        target=target,
        python=python,
        labels={} if query.image else labels,
        lock=choose_lock(settings.root, target, python),
        own=str(project.get("name", "")),
        private=secrets.find_private_certificates(ca_bundle()),
        writable=settings.writable,
        size_budget=settings.size_budget,
        start_budget=settings.start_budget,
        memory_budget=settings.memory_budget,
    )
