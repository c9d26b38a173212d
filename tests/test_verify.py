"""The flow of a verify: what is asked of the engine, what is expected, what is printed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.engine.archive import Layer
from dockyard.errors import CommandError, DockyardError, UsageError
from dockyard.image.names import Variant
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.tasks import verify as task
from dockyard.tasks.boundary import boundary
from dockyard.verify import trial, verify
from dockyard.verify.model import ImageQuery, Trial
from dockyard.verify.output import Report
from dockyard.verify.rules import judge, secrets
from dockyard.verify.trial import Patience, Setup
from tests import small_images
from tests.scripted_docker import Docker
from tests.small_images import worked


@pytest.fixture
def docker() -> Docker:
    """Return a Docker that plays one container, in which all goes well."""
    made = Docker()
    made.says = {
        "run": "id",
        "-c": json.dumps({"answer": 0.41234, "listening": [["0.0.0.0", 8000], ["::", 8000]]}),
        "shop.probe": "",
        "--format={{json .State}}": '{"Running": true, "ExitCode": 0}',
        "wait": "0\n",
        "logs": Completed(0, "one\n\n", "two\n", 0.1),
    }
    return made


def lacking(docker: Docker, settings: Settings) -> tuple[str, ...]:
    """Return where a library lies that a service lacks, by the base image of its Python, 3.12."""
    docker.says = {"--entrypoint=python": '["/usr/lib/libmagic.so.1"]'}
    log = ("OSError: libmagic.so.1: cannot open shared object file: No such file or directory",)
    return verify.search_base(settings, docker.engine, "3.12", Trial(8000, plain=Trial(8000, log=log)))


def test_what_a_service_lacks_is_looked_for_in_its_base(docker: Docker, settings: Settings) -> None:
    """In a container that can do no harm; the trial that shows the cause gets the paths."""
    docker.registry["python:3.12-slim"] = "sha256:1"
    assert lacking(docker, settings) == ("/usr/lib/libmagic.so.1",)
    argv = docker.asked[-1].argv
    assert {"--network=none", "--read-only", "python:3.12-slim@sha256:1"} <= set(argv)
    assert argv[-1] == "libmagic.so.1"


def test_without_a_base_nothing_is_looked_for(docker: Docker, settings: Settings) -> None:
    """The usual tip has to do: no registry has that Python here, and no Debian release either."""
    assert lacking(docker, settings) == ()
    assert docker.verbs() == ["buildx"]


SETUP = Setup(8000, config=small_images.settings())


def test_a_trial_in_which_all_goes_well(docker: Docker) -> None:
    """Run, watch, check, stop, read the log, remove; the times are those that the container saw."""
    found = trial.try_image(docker.engine, "shop:production", SETUP)
    assert (found.answer, found.healthy, found.memory, found.stop_code) == (0.412, True, 40_000_000, 0)
    assert found.listening == ("0.0.0.0:8000", "[::]:8000")
    assert found.log == ("one", "two")
    assert (found.serves, found.plain) == (True, None)
    assert docker.verbs() == ["run", "exec", "inspect", "exec", "kill", "wait", "logs", "rm"]


def test_the_options_of_a_trial(docker: Docker) -> None:
    """As hard as production, with what production gives it; the second trial is without."""
    setup = Setup(8000, {"KEY": "secret"}, ("/data",))
    trial.try_once(docker.engine, "x", setup)
    found = docker.asked[0].argv
    for option in (
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--user=65532:65532",
        "--tmpfs=/tmp",
    ):
        assert option in found
    assert "--env=KEY=secret" in found
    assert "--tmpfs=/data:uid=65532,gid=65532,mode=0700" in found
    docker.asked.clear()
    trial.try_once(docker.engine, "x", replace(setup, hardened=False))
    plain = docker.asked[0].argv
    assert not {"--read-only", "--cap-drop=ALL", "--user=65532:65532"} & set(plain)
    assert "--env=KEY=secret" in plain


def test_the_values_given_to_a_trial_are_never_shown(docker: Docker) -> None:
    """They may be secrets."""
    trial.try_once(docker.engine, "x", Setup(8000, {"KEY": "password"}))
    assert "password" not in docker.asked[0].display()


def test_a_container_that_cannot_start_is_tried_once_more_without_hardening(docker: Docker) -> None:
    """What the engine said is kept, and both containers are removed."""
    docker.says["run"] = Completed(127, "", "exec: no such file\n", 0.1)
    found = trial.try_image(docker.engine, "x", SETUP)
    assert found.refused == "exec: no such file"
    assert found.plain is not None
    assert docker.verbs() == ["run", "logs", "rm"] * 2
    assert "--read-only" in docker.asked[0].argv
    assert "--read-only" not in docker.asked[3].argv


def test_a_container_that_ends_by_itself(docker: Docker) -> None:
    """The watch breaks off with it; its status and its log are what there is."""
    docker.says["-c"] = Completed(137, "", "", 0.1)
    docker.says["--format={{json .State}}"] = Completed(
        0, '{"Running": false, "ExitCode": 3, "OOMKilled": true}', "", 0.1
    )
    found = trial.try_once(docker.engine, "x", SETUP)
    assert (found.exit_code, found.out_of_memory, found.refused, found.serves) == (3, True, "", False)
    assert "kill" not in docker.verbs()


def test_a_container_whose_end_is_not_noted_yet(docker: Docker) -> None:
    """The engine is waited for where the watch broke off: it says for a moment that the container runs."""
    docker.says["-c"] = Completed(137, "", "", 0.1)
    docker.says["--format={{json .State}}"] = lambda _command: Completed(
        0, f'{{"Running": {json.dumps("wait" not in docker.verbs())}, "ExitCode": 1}}', "", 0.1
    )
    assert trial.try_once(docker.engine, "x", SETUP).exit_code == 1


def test_an_image_without_python_cannot_be_looked_into(docker: Docker) -> None:
    """It runs, and the reason why nothing is known is told."""
    docker.says["-c"] = Completed(127, "", 'exec: "python": executable file not found in $PATH', 0.1)
    found = trial.try_once(docker.engine, "x", SETUP)
    assert "executable file not found" in found.refused


def test_a_health_check_is_run_until_it_passes(docker: Docker) -> None:
    """The first answer may come before the service is ready."""
    answers: Iterator[Completed | CommandError] = iter(
        [Completed(1, "", "starting", 0.1), CommandError("late"), Completed(0, "", "", 0.1)]
    )
    docker.says["shop.probe"] = lambda _command: next(answers)
    assert trial.try_once(docker.engine, "x", replace(SETUP, patience=Patience(pause=0))).healthy is True
    assert next(answers, None) is None


def test_a_health_check_that_never_passes(docker: Docker) -> None:
    """What it said is kept, and the service is not asked to stop well."""
    docker.says["shop.probe"] = Completed(1, "", "503", 0.1)
    found = trial.try_once(docker.engine, "x", replace(SETUP, patience=Patience(health=0)))
    assert (found.healthy, found.health_output, found.stop) == (False, "503", None)
    docker.says["shop.probe"] = CommandError("late")
    assert (
        "did not end" in trial.try_once(docker.engine, "x", replace(SETUP, patience=Patience(health=0))).health_output
    )


@pytest.mark.parametrize(
    ("check", "argv"),
    [(["CMD", "probe", "x"], ("probe", "x")), (["CMD-SHELL", "probe x"], ("/bin/sh", "-c", "probe x"))],
)
def test_both_forms_of_health_check(docker: Docker, check: list[str], argv: tuple[str, ...]) -> None:
    """As the engine runs them."""
    trial.try_once(docker.engine, "x", Setup(8000, config={"Healthcheck": {"Test": check}}))
    assert any(command.argv[-len(argv) :] == argv for command in docker.asked)


@pytest.mark.parametrize("check", [None, {"Test": ["NONE"]}, {}])
def test_an_image_without_health_check(docker: Docker, check: object) -> None:
    """There is nothing to run, and the rest goes on."""
    found = trial.try_once(docker.engine, "x", Setup(8000, config={"Healthcheck": check}))
    assert (found.healthy, found.serves, found.stop_code) == (None, True, 0)


def test_a_service_that_does_not_stop(docker: Docker) -> None:
    """The wait ends by itself, and the container is removed by force."""
    docker.says["wait"] = CommandError("docker did not finish within 10 s")
    found = trial.try_once(docker.engine, "x", SETUP)
    assert (found.stop, found.stop_code) == (None, None)
    assert docker.asked[-1].argv[:3] == ("docker", "rm", "--force")


def test_an_interrupt_leaves_no_container(docker: Docker) -> None:
    """Whatever happens, it is removed."""
    docker.says["-c"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        trial.try_once(docker.engine, "x", SETUP)
    assert docker.verbs() == ["run", "exec", "rm"]


def test_memory_by_the_numbers_of_either_version_of_control_groups() -> None:
    """The cache of files is no use of the service."""
    assert trial.measure_memory({"usage": 100, "stats": {"inactive_file": 30}}) == 70
    assert trial.measure_memory({"usage": 100, "stats": {"total_inactive_file": 40}}) == 60
    assert trial.measure_memory({"usage": 100}) == 100
    assert trial.measure_memory({}) is None


def test_files_that_cannot_be_compiled_are_asked_of_the_images_own_python(docker: Docker) -> None:
    """Only what was asked for counts; an image whose Python does not answer excuses nothing."""
    docker.says = {"run": '{"/a.py": "invalid syntax, line 3", "/etc": "x"}'}
    assert trial.find_uncompilable(docker.engine, "x", ("/a.py", "/b.py")) == {"/a.py": "invalid syntax, line 3"}
    assert json.loads(docker.asked[0].input or b"") == ["/a.py", "/b.py"]
    docker.says = {"run": Completed(127, "", "no python", 0.1)}
    assert trial.find_uncompilable(docker.engine, "x", ("/a.py",)) == {}


@pytest.fixture
def project(settings: Settings) -> Settings:
    """Return the settings of a project with a lock and a Dockerfile."""
    (settings.root / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    lock = settings.root / "requirements" / "3.13" / "production.txt"
    lock.parent.mkdir(parents=True)
    lock.write_text("flask==3.1.3 --hash=sha256:00\n")
    for purpose in ("production", "test"):
        (settings.root / "requirements" / f"{purpose}.in").write_text("flask\n")
    (settings.root / "Dockerfile").write_text("FROM scratch AS production\nCOPY /layer-0/ /\n")
    return settings


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a world without git."""
    monkeypatch.delenv("GIT_DIR", raising=False)


def test_what_is_expected_of_a_projects_own_image(project: Settings, world: None) -> None:
    """Its labels by git and settings, its lock, its budgets."""
    wanted = project._replace(size_budget=1, start_budget=2.0, memory_budget=3, writable=("/x",))
    found = verify.expect(wanted, Variant("production", "3.13"), ImageQuery(), {})
    assert (found.lock, found.own, found.writable) == ("requirements/3.13/production.txt", "shop", ("/x",))
    assert (found.size_budget, found.start_budget, found.memory_budget) == (1, 2.0, 3)
    assert found.labels["io.dockyard.target"] == "production"
    assert found.labels["org.opencontainers.image.title"] == "shop"


def test_what_is_expected_of_an_image_from_elsewhere(project: Settings, world: None) -> None:
    """It is what it says it is, and of any commit; one that says nothing is held to everything."""
    labels = {"io.dockyard.target": "slim", "io.dockyard.python": "3.12"}
    found = verify.expect(project, Variant("production", "3.13"), ImageQuery(image="x"), labels)
    assert (found.target, found.python, found.labels) == ("slim", "3.12", {})
    assert found.lock == "requirements/3.12/production.txt"
    assert verify.expect(project, Variant("production", "3.13"), ImageQuery(image="x"), {}).target == ""


def test_each_target_has_the_lock_of_its_purpose(project: Settings, world: None) -> None:
    """Where there is none of its name, that of production."""
    for target, lock in (("test", "test"), ("slim", "production"), ("production", "production")):
        found = verify.expect(project, Variant(target, "3.13"), ImageQuery(), {})
        assert found.lock == f"requirements/3.13/{lock}.txt"


def test_an_image_that_is_not_there_says_what_makes_it(docker: Docker, settings: Settings) -> None:
    """The project's own is built, another one is pulled; any other trouble is told as it is."""
    with pytest.raises(DockyardError, match=r"there is no image shop:slim-py3\.12") as caught:
        verify.verify_image(settings, ImageQuery("slim", "3.12"), engine=docker.engine)
    assert caught.value.hint == "`invoke build --target slim --python 3.12` makes it"
    with pytest.raises(DockyardError) as caught:
        verify.verify_image(settings, ImageQuery(image="far/x:1"), engine=docker.engine)
    assert "docker pull far/x:1" in caught.value.hint
    docker.says["inspect"] = Completed(1, "", "permission denied", 0.1)
    with pytest.raises(DockyardError, match="permission denied"):
        verify.verify_image(settings, ImageQuery(), engine=docker.engine)


def test_a_python_that_the_project_does_not_support(settings: Settings) -> None:
    """Told before any engine is asked."""
    with pytest.raises(UsageError, match=r"Python 3\.9 is not supported"):
        verify.verify_image(settings, ImageQuery(python="3.9"))


def test_a_whole_verify(docker: Docker, project: Settings, world: None) -> None:
    """Read, tried, judged: the good image has no violation."""
    config = {
        **small_images.settings(),
        "Labels": {**small_images.settings()["Labels"], "org.opencontainers.image.created": "1980-01-01T00:00:00Z"},
    }
    docker.images["shop:production"] = {"Id": "sha256:1", "Config": config}
    docker.archives["sha256:1"] = small_images.archive(small_images.layer(small_images.good()), config=config)
    found = verify.verify_image(project, ImageQuery(), engine=docker.engine)
    assert found.verdict.findings == ()
    assert (found.ok, found.image, found.case.expected.python) == (True, "shop:production", "3.13")


def test_the_first_answer_is_told_before_anything_else_is_done(docker: Docker) -> None:
    """Once for both trials, and where there never is one, when that is given up."""
    setup = replace(SETUP, answered=lambda: docker.asked.append(Command(("docker", "ANSWERED"))))
    trial.try_image(docker.engine, "x", setup)
    assert docker.verbs()[:5] == ["run", "exec", "inspect", "ANSWERED", "exec"]
    docker.asked.clear()
    docker.says["-c"] = Completed(0, '{"answer": null, "listening": []}', "", 0.1)
    trial.try_image(docker.engine, "x", setup)
    assert docker.verbs().count("ANSWERED") == 1


def test_an_image_is_read_when_the_first_answer_is_there(docker: Docker) -> None:
    """Reading takes a processor, and would make the start look slow."""
    docker.archives["x"] = small_images.archive(small_images.layer(small_images.good()))
    verify.read_and_try(docker.engine, "x", SETUP)
    assert docker.verbs().count("READ") == 1
    assert docker.verbs().index("READ") > docker.verbs().index("inspect")


def test_a_target_that_does_not_serve_is_only_read(docker: Docker, project: Settings, world: None) -> None:
    """A test image has no service to run."""
    docker.images["shop:test"] = {"Id": "sha256:1", "Config": {}}
    docker.archives["sha256:1"] = small_images.archive(small_images.layer(small_images.good()))
    found = verify.verify_image(project, ImageQuery("test"), engine=docker.engine)
    assert ("/opt/venv/pyvenv.cfg" in found.case.facts.files, found.case.trial) == (True, Trial())
    assert docker.verbs() == ["image", "READ"]


def test_the_certificates_of_this_host_that_the_public_has_not(tmp_path: Path) -> None:
    """Those that certifi or the distribution has are public."""
    from tests.test_policy_leaks import der, pem

    public = tmp_path / "public.crt"
    public.write_bytes(pem(der("Public CA")))
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(pem(der("Public CA")) + pem(der("Proxy CA")))
    known = (str(public), str(tmp_path / "none"))
    assert secrets.find_private_certificates(bundle, known) == secrets.read_certificates(pem(der("Proxy CA")))
    assert secrets.find_private_certificates(None) == frozenset()


def test_patience_goes_past_the_budget(settings: Settings) -> None:
    """So that it can be told by how much the budget is missed."""
    assert verify.choose_setup(settings, {}, None).patience == Patience()
    assert verify.choose_setup(settings._replace(start_budget=40.0), {}, None).patience.start == 80.0
    period = {"Healthcheck": {"StartPeriod": 60_000_000_000}}
    assert verify.choose_setup(settings, period, None).patience.health == 60.0


Run = Callable[..., int]


@pytest.fixture
def run() -> Run:
    """Return a function that tells of an image with or without a violation as the task does."""

    def run(broken: bool, **options: Any) -> int:
        from invoke.exceptions import Exit

        more = {"/app/.env": small_images.File(b"A=1")} if broken else None
        case = small_images.case(more, trial=worked())
        verdict = judge.judge_image(case, allow={"no-shell": "old"})
        facts = replace(case.facts, manifest="sha256:def", layers=(Layer("sha256:1", 1_200_000, (), "COPY"),))
        made = Report("shop:production", replace(case, facts=facts), verdict, 1.0)
        try:
            boundary(task.tell_report)(made, **options)
        except Exit as end:
            return int(end.code)
        return 0

    return run


def test_a_violation_is_exit_code_1_and_stands_in_a_table(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Rule, what, where from, and what to do."""
    assert run(True) == 1
    printed = capsys.readouterr()
    assert "no-credential-file" in printed.out
    assert "/app/.env is a file for credentials" in printed.out
    assert "COPY /layer-1/" in printed.out
    assert "1 violation" in printed.err
    assert "1.2 MB" in printed.out


def test_a_good_image_is_exit_code_0(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """One table with what was measured; an acceptance that is of no use is told."""
    assert run(False) == 0
    printed = capsys.readouterr()
    assert "0.40 s" in printed.out
    assert "sha256:def" in printed.out
    assert "violations" not in printed.out
    assert "no-shell accepts nothing" in printed.err


def test_json_and_files(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For machines, on standard output and in files, with the same exit code."""
    sarif, junit = tmp_path / "a.sarif", tmp_path / "b.xml"
    assert run(True, json=True, sarif=str(sarif), junit=str(junit)) == 1
    assert json.loads(capsys.readouterr().out)["violations"][0]["rule"] == "no-credential-file"
    assert sarif.is_file()
    assert junit.is_file()
