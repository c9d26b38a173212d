"""Release the commit that is checked out: look, decide what is missing, do the next step, until nothing is.

Every step can be done again without harm, so a release that died is finished by running it again. Checks
leave nothing that a registry could be asked for: which image has passed them stands in .dockyard/release.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace

from dockyard.engine.client import Engine, find_engine
from dockyard.errors import DockyardError
from dockyard.files import write_atomically
from dockyard.image import build, records
from dockyard.image.names import PRODUCTION, Variant, local_name
from dockyard.image.record_types import Details
from dockyard.registry import sign
from dockyard.registry.client import parse_reference
from dockyard.release import plan, preconditions
from dockyard.release.plan import PIPELINE, Actions, Job, Journal, ReleaseState, Shipped, Status, read_journal
from dockyard.settings import Settings
from dockyard.verify import matrix, reproduce
from dockyard.verify.model import ImageQuery

log = logging.getLogger(__name__)

BUILDING = {"build", "verify", "reproduce", "test"}
"""The steps that build or run something."""


def inspect_release(
    settings: Settings, key: str, *, engine: Engine | None = None, actions: Actions = PIPELINE
) -> tuple[Job, ReleaseState]:
    """Look at folder, engine and registry; raise DockyardError where this commit must not or cannot be released."""
    local = actions.read_project(settings)
    version, commit, section = preconditions.require_releasable(local)
    hindrance = actions.explain_hindrance(key)
    engine = engine or find_engine(settings)
    _require(settings, engine)
    job = Job(settings, engine, version, commit, section, actions=actions)
    if not hindrance:
        login = sign.make_environment(parse_reference(settings.repository).host, engine.environment, os.environ)
        job = replace(job, signer=actions.unlock_key(key, login))
    job = replace(job, journal=read_journal(job.file, commit))
    with actions.open_repository(engine, settings.repository) as there:
        names = plan.choose_tags(version, commit, local.versions, there.list_tags())
        left_out = {"sign": hindrance} if hindrance else {}
        state = ReleaseState(names, registry=there.read_digests(names.every), left_out=left_out)
    if digest := job.journal.digest:
        own = job.reference(names.own), job.reference(names.sha), local_name(settings, _variant(job))
        done = engine.attempt("image", "inspect", "--format={{.Id}}", *own)
        if done.ok and set(done.stdout.split()) == {digest}:  # the engine's newest production image is still this one
            state = _recall(job, state, _adopt_digest(job, state, digest))
    plan.refuse_overwriting(settings.repository, state)
    return job, state


def make_release(settings: Settings, key: str, *, engine: Engine | None = None, actions: Actions = PIPELINE) -> Shipped:
    """Do what the release of this commit still lacks, step by step, and return what the registry has then."""
    with records.record_run(settings, "release") as recording:
        with recording.step("look at what there is"):
            job, state = inspect_release(settings, key, engine=engine, actions=actions)
        recording.details = {"python": settings.python, "target": PRODUCTION}
        recording.details["engine"] = records.describe_engine(job.engine)
        actions.preflight(job.engine, [job.reference(state.names.own)])
        if any(step.name in BUILDING and step.status is Status.DUE for step in plan.plan_steps(state)):
            actions.require_ready(settings, job.engine)
        if "sign" in state.left_out:
            log.info(f"the image will not be signed: {state.left_out['sign']}")
        changed = False
        try:
            for number, do in enumerate(STEPS.values()):
                step = plan.plan_steps(state)[number]
                if step.status is Status.DUE:
                    log.info(f"{step.name}: {step.what}")
                    with recording.step(step.name):
                        state = do(job, state)
                    changed = True
        except KeyboardInterrupt:
            log.info("the release is not complete: `invoke release` goes on from here")
            raise
        sizes = {tag: actions.verify_pushed(job.engine, job.reference(tag), state.digest) for tag in state.names.every}
        shipped = Shipped(
            version=job.version, commit=job.commit, repository=settings.repository, digest=state.digest,
            size=sizes[state.names.own], names=state.names, unsigned=state.left_out.get("sign", ""), notes=job.notes,
            changed=changed,
        )  # fmt: skip
        recording.details |= describe_release(shipped)
        recording.idle = not changed
    return shipped


def describe_release(shipped: Shipped) -> Details:
    """Return what a run record holds of a release (pure): both documents are attached to each one that is complete."""
    return {
        "image": {
            "reference": f"{shipped.repository}:{shipped.version}",
            "digest": shipped.digest,
            "pull_bytes": shipped.size,
        },
        "release": {
            "version": shipped.version,
            "tags": list(shipped.names.every),
            "signed": not shipped.unsigned,
            "unsigned_because": shipped.unsigned or None,
            "sbom": True,
            "provenance": True,
            "changed": shipped.changed,
        },
    }


def _build(job: Job, state: ReleaseState) -> ReleaseState:
    """Build the image for all platforms; what an earlier run remembers counts if this is the very same image."""
    request = build.Request(platforms=job.settings.platforms)
    (image,), _ = job.actions.build_images(job.settings, request, engine=job.engine)
    digest = _adopt_digest(job, state, image.digest)
    if job.journal.digest and job.journal.digest != digest:
        log.info(f"this is another image than at the last try, {job.journal.digest}: its checks begin anew")
    state = _recall(job, state, digest)
    plan.refuse_overwriting(job.settings.repository, state)
    return _write_progress(job, state)


def _verify(job: Job, state: ReleaseState) -> ReleaseState:
    """Hold the image of every platform against the policy."""
    platforms = job.settings.platforms if len(job.settings.platforms) > 1 else ("",)
    for platform in platforms:
        if platform:
            job.actions.build_images(job.settings, build.Request(platforms=(platform,)), engine=job.engine)
        violations = job.actions.verify_image(job.settings, ImageQuery(), engine=job.engine).verdict.violations
        for violation in violations:
            log.info(f"  {violation.rule}: {violation.message}")
        if violations:
            which = f"image for {platform}" if platform else "image"
            text = f"the {which} breaks the policy (violations: {len(violations)})"
            raise DockyardError(text, "`invoke verify` shows where they come from")
    after = _build(job, state) if any(platforms) else state
    if after.digest != state.digest:
        raise DockyardError(
            f"the image was {state.digest} before its platforms were verified, and {after.digest} after",
            "a base image or an index may have changed meanwhile: run it again",
        )
    return _mark_passed(job, state, "verify")


def _test(job: Job, state: ReleaseState) -> ReleaseState:
    """Run the tests on every Python; one that could not be tested is as bad as one that failed."""
    outcomes, _ = job.actions.run_matrix(job.settings, ())
    matrix.require_success(outcomes, forbid_skips=bool(os.environ.get("CI")))
    return _mark_passed(job, state, "test")


def _reproduce(job: Job, state: ReleaseState) -> ReleaseState:
    """Build once more without cache, and compare."""
    outcome = job.actions.reproduce_image(job.settings, ImageQuery(), engine=job.engine)
    log.info(reproduce.summarize(outcome))
    if outcome.verdict != "identical":
        raise DockyardError(
            f"a build without cache gives another image: {outcome.rebuilt}, where the release is {outcome.existing}",
            "`invoke reproduce` shows which layer and file differ",
        )
    return _mark_passed(job, state, "reproduce")


def _push(job: Job, state: ReleaseState) -> ReleaseState:
    """Bring the image's content to the registry, under the name of its commit alone."""
    sha = state.names.sha
    if state.digest in state.registry.values():
        return _add_tags(job, state, (sha,))
    pushed = job.actions.push_variants(job.settings, {_variant(job): (job.reference(sha),)}, force=False)
    for image in pushed:
        if image.digest != state.digest:
            raise DockyardError(
                f"{image.reference} was pushed as {image.digest}, where {state.digest} was built",
                "another build has taken its name meanwhile: run it again",
            )
    return replace(state, registry={**state.registry, sha: state.digest})


def _attest(job: Job, state: ReleaseState) -> ReleaseState:
    """Attach what is in the image, and where it comes from."""
    job.actions.attest_image(job.settings, job.pinned(state), engine=job.engine)
    return _mark_passed(job, state, "attest")


def _sign(job: Job, state: ReleaseState) -> ReleaseState:
    """Sign the digest."""
    if job.signer is None:
        raise RuntimeError("there is no key to sign with")
    job.actions.sign_digest(job.signer, job.pinned(state))
    return replace(state, passed=state.passed | {"sign"})


def _tag(job: Job, state: ReleaseState) -> ReleaseState:
    """Give the image its version, unless somebody else has used it meanwhile."""
    with job.actions.open_repository(job.engine, job.settings.repository) as there:
        state = replace(state, registry={**state.registry, **there.read_digests((state.names.own,))})
    plan.refuse_overwriting(job.settings.repository, state)
    return state if state.has(state.names.own) else _add_tags(job, state, (state.names.own,))


def _write_notes(job: Job, state: ReleaseState) -> ReleaseState:
    """Write the release notes."""
    write_atomically(job.notes, job.text(state))
    return replace(state, noted=True)


STEPS: Mapping[str, Callable[[Job, ReleaseState], ReleaseState]] = {
    "build": _build,
    "verify": _verify,
    "reproduce": _reproduce,
    "test": _test,
    "push": _push,
    "attest": _attest,
    "sign": _sign,
    "tag": _tag,
    "move": lambda job, state: _add_tags(job, state, tuple(tag for tag in state.names.moving if not state.has(tag))),
    "notes": _write_notes,
}


def _add_tags(job: Job, state: ReleaseState, tags: tuple[str, ...]) -> ReleaseState:
    """Give the image in the registry more names."""
    with job.actions.open_repository(job.engine, job.settings.repository) as there:
        there.add_tags(state.digest, tags)
    return replace(state, registry={**state.registry, **dict.fromkeys(tags, state.digest)})


def _adopt_digest(job: Job, state: ReleaseState, built: str) -> str:
    """Return the digest to release: of the version that is out where that is the same image, compressed otherwise.

    Engines of different versions compress layers differently; the configuration names their content.
    """
    out = state.registry.get(state.names.own, "")
    if not out or out == built:
        return built
    with job.actions.open_repository(job.engine, job.settings.repository) as there:
        config = (there.read_document(out).fields.get("config") or {}).get("digest")
    ours = local_name(job.settings, _variant(job))
    if not config or config != job.actions.read_image(job.engine, ours).digest:
        return built
    log.info(f"{job.version} is out as {out}: the same image as here, compressed by another engine, and it stays")
    return out


def _variant(job: Job) -> Variant:
    return Variant(PRODUCTION, job.settings.python)


def _recall(job: Job, state: ReleaseState, digest: str) -> ReleaseState:
    """Return the state with an image at hand: what it has passed, whether it is signed and its notes are written."""
    passed = frozenset(job.journal.passed) if digest == job.journal.digest else frozenset()
    after = replace(state, digest=digest)
    if job.signer and digest in state.registry.values() and job.actions.has_signature(job.signer, job.pinned(after)):
        passed |= {"sign"}
    with suppress(OSError, ValueError):
        after = replace(after, noted=job.notes.read_text(encoding="utf-8") == job.text(after))
    return replace(after, passed=passed)


def _mark_passed(job: Job, state: ReleaseState, step: str) -> ReleaseState:
    return _write_progress(job, replace(state, passed=state.passed | {step}))


def _write_progress(job: Job, state: ReleaseState) -> ReleaseState:
    """Write down how far the release is, but for the signature: the registry has it, or not, by this key."""
    journal = Journal(job.commit, state.digest, tuple(sorted(state.passed - {"sign"})))
    write_atomically(job.file, json.dumps(asdict(journal), indent=2) + "\n")
    return state


def _require(settings: Settings, engine: Engine) -> None:
    """Raise DockyardError where an engine cannot build what is released."""
    if not engine.snapshotter:
        raise DockyardError(
            "the engine does not keep images in containerd's store: it learns an image's digest only when it is pushed",
            'set {"features": {"containerd-snapshotter": true}} in its daemon.json, or engine = "embedded"',
        )
    if settings.platforms:
        builder = (settings.builder,) if settings.builder else ()
        described = engine.run("buildx", "inspect", *builder).stdout
        plan.refuse_platforms(described, settings.builder, settings.platforms)
