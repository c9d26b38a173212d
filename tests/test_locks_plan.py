"""Which locks are made, and which versions they keep."""

from dataclasses import replace

import pytest

from dockyard.errors import DockyardError, UsageError
from dockyard.locks.check import check_project, inspect_locks
from dockyard.locks.inputs import InputError
from dockyard.locks.pins import parse_pins
from dockyard.locks.plan import Batch, JobAnswer, Wish, finish_locks, plan_batches
from dockyard.settings import Settings
from tests.lock_project import COMPILED, compiled_here, locked_project, write_inputs


@pytest.fixture
def project(settings: Settings) -> Settings:
    """Return a project whose locks are all as they should be."""
    return locked_project(settings)


def planned(project: Settings, wish: Wish | None = None) -> tuple[Batch, ...]:
    """Return what would be compiled in a project."""
    return plan_batches(inspect_locks(project), wish or Wish())


def jobs(batches: tuple[Batch, ...]) -> list[str]:
    """Return the locks to be made."""
    return [job.lock.path.removeprefix("requirements/") for batch in batches for job in batch.jobs]


def test_nothing_is_made_where_nothing_is_stale(project: Settings) -> None:
    """A compile after a compile has nothing to do, and so changes nothing."""
    assert planned(project) == ()


def test_everything_is_made_from_nothing_one_batch_for_each_python(settings: Settings) -> None:
    """Without locks all are made, production first, and no version is kept."""
    write_inputs(settings.root)
    batches = planned(settings)
    assert [batch.python for batch in batches] == ["3.12", "3.13"]
    assert jobs(batches)[:3] == ["3.12/production.txt", "3.12/base.txt", "3.12/test.txt"]
    assert {job.pins for batch in batches for job in batch.jobs} == {()}
    assert sorted({file.path for job in batches[0].jobs for file in job.lock.inputs}) == [
        f"requirements/{name}.in" for name in ("base", "production", "test")
    ]


def test_only_what_is_stale_is_made_with_the_pins_of_the_rest(project: Settings) -> None:
    """A change of test.in makes the test locks alone, which agree with production's as they are."""
    (project.root / "requirements/test.in").write_text("-r base.in\npytest\nidna\n", encoding="utf-8")
    batches = planned(project)
    assert jobs(batches) == ["3.12/test.txt", "3.13/test.txt"]
    assert "gunicorn==27.0.1" in batches[0].agreed["production"]
    assert batches[0].jobs[0].pins == ("fastjsonschema==2.22.3", "flask==3.1.3", "pytest==9.2.0")


def test_locks_that_agree_with_a_stale_one_are_made_too(project: Settings) -> None:
    """When production moves, all that takes over its pins moves with it."""
    (project.root / "requirements/production.in").write_text("-r base.in\ngunicorn<28\n", encoding="utf-8")
    assert jobs(planned(project))[:3] == ["3.12/production.txt", "3.12/base.txt", "3.12/test.txt"]


def test_an_upgrade_keeps_nothing_and_of_one_package_all_others(project: Settings) -> None:
    """--upgrade forgets all pins; --upgrade-package forgets one, in the locks that have it or agree with those."""
    assert {job.pins for batch in planned(project, Wish(everything=True)) for job in batch.jobs} == {()}
    batches = planned(project, Wish(packages=("Gunicorn",)))
    assert len(jobs(batches)) == 6
    kept = {job.lock.path: job.pins for job in batches[0].jobs}
    assert kept["requirements/3.12/production.txt"] == ("fastjsonschema==2.22.3", "flask==3.1.3")
    assert "flask==3.1.3" in kept["requirements/3.12/test.txt"]


def test_an_upgrade_of_a_package_of_one_purpose_makes_that_purpose(project: Settings) -> None:
    """Nothing takes over the pins of test, so nothing else is made."""
    wish = Wish(packages=("pytest==9.1",))
    assert jobs(planned(project, wish)) == ["3.12/test.txt", "3.13/test.txt"]
    assert wish.wanted == ("pytest==9.1",)
    assert Wish(packages=("PyTest",)).wanted == ()


def test_an_unknown_package_is_refused_with_the_nearest_one(project: Settings) -> None:
    """A slip of the pen must not pass for an upgrade that found nothing newer."""
    with pytest.raises(UsageError, match="no lock has a package flaks") as caught:
        planned(project, Wish(packages=("flaks",)))
    assert caught.value.hint == "did you mean flask?"


def test_finished_locks_carry_the_fingerprints_of_those_made_before_them(settings: Settings) -> None:
    """What a batch writes passes the check, the compiler that it names included."""
    write_inputs(settings.root)
    for batch in planned(settings):
        for path, text in finish_locks(replace(batch, resolver="uv"), compiled_here(COMPILED)).items():
            (settings.root / path).parent.mkdir(exist_ok=True)
            (settings.root / path).write_text(text, encoding="utf-8")
    assert check_project(settings) == ()
    assert planned(settings) == ()


def test_a_hash_in_an_input_is_the_only_one_in_the_lock(settings: Settings) -> None:
    """Of a package with a hash in some input no other file is locked; one that no file has is told with its line."""
    digests = [f"sha256:{digit * 64}" for digit in "abc"]
    flask = "flask==3.1.3 \\\n" + " \\\n".join(f"    --hash={digest}" for digest in digests) + "\n"
    write_inputs(
        settings.root, {"base": f"Flask==3.1.3 --hash={digests[0]} --hash={digests[2]}\n", "test": "-r base.in\n"}
    )
    batch = planned(settings)[0]
    for text in finish_locks(batch, compiled_here({"base": flask, "test": flask})).values():
        (pin,) = parse_pins(text)
        assert pin.hashes == (digests[0], digests[2])
    other = flask.replace("aa", "dd").replace("cc", "ee")
    with pytest.raises(InputError, match=r"base\.in:1: no file of flask==3\.1\.3 has the hash"):
        finish_locks(batch, compiled_here({"base": other, "test": other}))


def test_a_lock_for_platforms_of_a_base_that_nobody_knows(project: Settings) -> None:
    """Which wheels fit is known by the base's glibc alone; the lock that cannot be made is named."""
    (batch,) = [batch for batch in planned(project, Wish(everything=True)) if batch.python == "3.13"]
    job = replace(batch.jobs[0], lock=batch.jobs[0].lock._replace(platforms=("linux/amd64",), hashes="platform"))
    answers = {job.lock.purpose: JobAnswer({"here": COMPILED[job.lock.purpose]}, files={})}
    with pytest.raises(DockyardError, match=r"3\.13/production\.txt cannot be made: the base image has no glibc"):
        finish_locks(replace(batch, jobs=(job,)), answers)
