"""`invoke verify` against a real engine: the good image breaks no rule, one bad image for each rule breaks that one."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import build, names
from dockyard.locks.pins import Pin
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.verify import contents, trial, verify
from dockyard.verify.model import Case, Facts, Finding, ImageQuery
from dockyard.verify.output import Report
from dockyard.verify.rules import bytecode, judge, secrets
from dockyard.verify.trial import Patience
from tests import small_images
from tests.small_images import SITE, File, compiled, distribution, folder, good
from tests.test_policy_leaks import KEY, TOKENS, der, pem

SHORT = Patience(start=4, health=2, stop=4)
Make = Callable[..., Facts]
Try = Callable[..., Report]


@pytest.fixture(scope="module")
def production(project: Settings, engine: Engine) -> str:
    """Build this repository's own production image, and return its reference."""
    built, missing = build.build_images(project, build.Request(pythons=(project.python,)), engine=engine)
    assert not missing
    return names.local_name(project, built[0].variant)


@pytest.fixture(scope="module")
def good_report(project: Settings, engine: Engine, production: str) -> Report:
    """Verify the good image once, as `invoke verify` does."""
    return verify.verify_image(project, ImageQuery(), engine=engine)


def test_the_good_image_has_no_violation_at_all(good_report: Report) -> None:
    """Every rule is looked at, none is accepted, and each measurement is there."""
    assert good_report.verdict.findings == ()
    assert good_report.verdict.checked == tuple(rule.id for rule in judge.RULES)
    assert good_report.ok
    assert good_report.case.trial.answer is not None
    assert good_report.case.trial.memory is not None
    assert good_report.case.trial.stop is not None


@pytest.fixture
def make(engine: Engine, unique: str) -> Make:
    """Return a function that loads a small image into the engine, and reads its facts from there."""

    def make(*layers: Mapping[str, File], **changes: Any) -> Facts:
        config = {key: value for key, value in {**small_images.settings(), **changes}.items() if value is not None}
        name = f"{unique}:production"
        archive = small_images.archive(*map(small_images.layer, layers), config=config, name=name)
        capture(engine.command("load", input=archive))
        return contents.read_image(engine, name)

    return make


def broken(found: Facts, **wishes: Any) -> list[Finding]:
    """Return what the rules that need no trial say of an image."""
    return list(judge.judge_image(Case(found, small_images.expected(**wishes))).violations)


def test_a_small_good_image_breaks_no_rule(make: Make) -> None:
    """What the bad ones below are made from."""
    assert broken(make(good())) == []


def test_a_test_image_is_held_to_the_rules_for_every_image(make: Make) -> None:
    """It may have a shell, run as root and lack bytecode; it may hold no secret."""
    more = {"/usr/bin/sh": File(b"x", 0o755), "/app/late.py": File(b"1"), "/app/.env": File(b"A=1")}
    found = broken(make(good(), more, User=""), target="test")
    assert {one.rule for one in found} == {"no-credential-file"}


PRIVATE = secrets.read_certificates(pem(der("Proxy CA")))
FILES: list[tuple[str, dict[str, File]]] = [
    ("no-set-uid", {"/usr/bin/su2": File(b"x", 0o4755)}),
    ("no-set-uid", {"/usr/bin/wall2": File(b"x", 0o2755)}),
    ("no-world-writable", {"/srv": folder(0o777)}),
    ("no-shell", {"/usr/bin/sh": File(b"x", 0o755)}),
    ("no-package-manager", {"/usr/bin/pip": File(b"x", 0o755)}),
    ("no-compiler", {"/usr/bin/gcc-14": File(b"x", 0o755)}),
    ("no-private-key", {"/app/tls.key": File(KEY)}),
    ("no-token", {"/app/config.json": File(TOKENS["GitHub token"].encode())}),
    ("no-credential-file", {"/app/.env": File(b"A=1")}),
    ("no-version-control", {"/app/.git": folder(), "/app/.git/HEAD": File(b"ref")}),
    ("no-host-certificate", {"/etc/ssl/certs/ca-certificates.crt": File(pem(der("Proxy CA")))}),
    ("valid-bytecode", {"/app/late.py": File(b"1")}),
    ("valid-bytecode", {"/app/x.py": File(b"1"), "/app/__pycache__/x.cpython-313.pyc": compiled(b"2")}),
    ("locked-distributions", distribution("six", "1.0", {})),
    ("unchanged-distributions", {f"{SITE}/flask/data.txt": File(b"1"), f"{SITE}/evil.pth": File(b"import os")}),
]
CONFIGURATION: list[tuple[str, dict[str, Any]]] = [
    ("non-root-user", {"User": "root"}),
    ("labels", {"Labels": {}}),
    ("no-token", {"Env": [*small_images.settings()["Env"], "API_KEY=abc"]}),
]


@pytest.mark.parametrize(("rule", "files"), FILES, ids=[f"{rule}-{next(iter(files))}" for rule, files in FILES])
def test_a_layer_that_breaks_one_rule(make: Make, rule: str, files: dict[str, File]) -> None:
    """That rule and no other, with the path and the layer that brought it."""
    found = make(good(), files)
    violations = broken(found, private=PRIVATE)
    assert {one.rule for one in violations} == {rule}
    assert violations[0].path
    assert violations[0].layer == found.layers[1].diff_id
    assert violations[0].instruction == "COPY /layer-1/ / # buildkit"


@pytest.mark.parametrize(("rule", "changes"), CONFIGURATION, ids=["root", "labels", "token"])
def test_a_configuration_that_breaks_one_rule(make: Make, rule: str, changes: dict[str, Any]) -> None:
    """That rule and no other."""
    assert {one.rule for one in broken(make(good(), **changes))} == {rule}


def test_a_secret_that_a_later_layer_deletes(make: Make) -> None:
    """The engine's own whiteouts are understood."""
    (one,) = broken(make(good(), {"/key": File(KEY)}, {"/.wh.key": File(kind=tarfile.REGTYPE)}))
    assert one.rule == "no-private-key"
    assert "a later layer hides it" in one.message


def test_an_image_whose_lock_names_more(make: Make) -> None:
    """A distribution that is missing is found without any file to point at."""
    pins = {**(small_images.expected().pins or {}), "six": Pin("six", "1.0")}
    (one,) = broken(make(good()), pins=pins)
    assert (one.rule, "not installed" in one.message) == ("locked-distributions", True)


def test_an_image_of_another_commit(make: Make) -> None:
    """The label says which it is of."""
    (one,) = broken(make(good()), labels={"org.opencontainers.image.revision": "f" * 40})
    assert (one.rule, "build it again" in one.hint) == ("labels", True)


@pytest.fixture
def tried(engine: Engine, project: Settings, production: str, unique: str, tmp_path: Path) -> Try:
    """Return a function that builds a variation of the good image, and verifies that with little patience."""

    def tried(instructions: str, **changes: Any) -> Report:
        name = f"{unique}:production"
        folder = tmp_path / "variation"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(f"FROM {production}\n{instructions}\n")
        build_it = ("buildx", "build", "--load", "--provenance=false", "--quiet", f"--tag={name}", str(folder))
        capture(engine.command(*build_it))
        return verify.verify_image(project._replace(**changes), ImageQuery(image=name), engine=engine, patience=SHORT)

    return tried


def python(code: str) -> str:
    """Return the instruction that runs a program of Python."""
    return f"CMD {json.dumps(['python', '-c', code])}"


def serving(port: int = 8000, host: str = "0.0.0.0", *, status: int | None = None, first: str = "") -> str:
    """Return the instructions for a service that is healthy: it ends on SIGTERM with `status`, None for not at all."""
    leave = f"import os, signal; signal.signal(signal.SIGTERM, lambda *_: os._exit({status})); "
    serve = f"import http.server as h; h.HTTPServer(('{host}', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
    return f'HEALTHCHECK CMD ["python", "-c", ""]\n{python(("" if status is None else leave) + first + serve)}'


def unhealthy() -> str:
    """Return the instruction for a service that answers, but not the image's own health check."""
    return serving().splitlines()[1]


RUNNING = {
    "does not import": ("starts", 'CMD ["gunicorn", "shop:app"]', "it does not import: there is no module shop"),
    "exits at once": ("starts", python("print('over')"), "exits by itself, with status 0\n  | over"),
    "no such program": ("starts", 'CMD ["nope"]', "there is no program nope on PATH"),
    "no such library": ("starts", python("import ctypes; ctypes.CDLL('libpq.so.5')"), "library libpq.so.5 is missing"),
    "no such file": (
        "starts",
        python("open('/usr/share/x/prices.csv')"),
        "the file /usr/share/x/prices.csv is missing",
    ),
    "another port": ("listens", serving(5000), "listens elsewhere: on 0.0.0.0:5000, not on port 8000"),
    "loopback": ("listens", serving(host="127.0.0.1", status=0), "nobody outside the container can reach it"),
    "no port": ("listens", python("import time; time.sleep(600)"), "listens nowhere after 4 s"),
    "never healthy": ("health-check", unhealthy(), "never gets healthy, it says: 404"),
    "no health check": ("health-check", "HEALTHCHECK NONE", "has no health check"),
    "a check by shell": (
        "health-check",
        "HEALTHCHECK CMD python -m ledger.probe",
        "needs a shell, and the image has none",
    ),
    "writes": ("hardened", serving(status=0, first="open('/data/x', 'w'); "), "it writes /data/x"),
    "does not stop": ("stops", serving(), "still there"),
    "stops badly": ("stops", serving(status=3), "ends on SIGTERM with status 3"),
}


@pytest.mark.parametrize("way", RUNNING)
def test_a_service_that_breaks_one_rule(tried: Try, engine: Engine, way: str) -> None:
    """It is told which of the ways to fail it was, and no container stays behind."""
    rule, instructions, words = RUNNING[way]
    found = tried(instructions)
    assert {one.rule for one in found.verdict.violations} == {rule}
    assert any(words in one.message for one in found.verdict.violations), found.verdict.violations
    assert all(one.hint for one in found.verdict.violations)
    left = capture(engine.command("ps", "--all", "--quiet", "--filter", f"ancestor={found.image}")).stdout
    assert left == ""


def test_budgets_that_are_too_small(tried: Try) -> None:
    """Each is broken by itself, with what was measured."""
    found = tried("LABEL x=y", size_budget=1000, start_budget=0.001, memory_budget=1000)
    assert {one.rule for one in found.verdict.violations} == {"size-budget", "start-budget", "memory-budget"}


def test_a_folder_that_production_gives_is_given_to_the_trial(tried: Try) -> None:
    """What writes to its volume works hardened, once the settings name it."""
    service = serving(status=0, first="open('/data/x', 'w'); ")
    assert tried(service, trial_tmpfs=("/data",)).verdict.violations == ()


def test_a_variable_that_production_gives_is_given_to_the_trial(tried: Try) -> None:
    """The error names the variable, and the setting mends it."""
    service = serving(status=0, first="os.environ['SHOP_KEY']; ")
    (one,) = tried(service).verdict.violations
    assert "the environment variable SHOP_KEY is not set" in one.message
    assert tried(service, trial_environment={"SHOP_KEY": "x"}).ok


BESIDE = """\
services:
  beside:
    image: IMAGE
    command: ["python", "-c", "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=9000)"]
    healthcheck: {test: ["CMD", "python", "-c", "REQUEST"], interval: 1s}
    volumes: ["data:/data"]
  other:
    image: not-to-be-started
volumes: {data: {}}
"""


def test_a_service_of_the_stack_is_given_to_the_trial(
    tried: Try, engine: Engine, production: str, tmp_path: Path
) -> None:
    """Its release step and the service reach it by its name; nothing of it stays, its data neither."""
    request = "import urllib.request as r; r.urlopen('http://127.0.0.1:9000')"
    text = BESIDE.replace("IMAGE", production).replace("REQUEST", request)
    (tmp_path / "compose.yaml").write_text(text)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    reach = request.replace("127.0.0.1", "beside")
    name = tmp_path.name.replace("_", "-")
    given = {"root": tmp_path, "stack": name, "trial_services": ("beside",), "trial_release": ("python", "-c", reach)}
    found = tried(serving(status=0, first=f"{reach}; "), **given)
    assert found.case.trial.serves, found.verdict.violations
    with pytest.raises(DockyardError, match="the release step `python -c"):
        tried(serving(status=0), **{**given, "trial_release": ("python", "-c", reach.replace("beside", "other"))})
    for listing in ("ps --all", "network ls", "volume ls"):
        assert capture(engine.command(*listing.split(), "--quiet", f"--filter=name={name}-trial")).stdout == ""


def test_an_accepted_rule_is_no_violation(tried: Try) -> None:
    """The report has the reason."""
    found = tried("HEALTHCHECK NONE", allow={"health-check": "the orchestrator probes it"})
    assert found.ok
    assert [one.accepted for one in found.verdict.findings] == ["the orchestrator probes it"]


def test_python_files_that_no_python_can_compile_are_told_from_others(
    engine: Engine, production: str, unique: str
) -> None:
    """The image's own Python is asked: one file is a template, the other only lacks its bytecode."""
    files = {"/app/template.py": File(b"{{ name }} = 1\n"), "/app/late.py": File(b"x = 1\n")}
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for path, file in {**files, "/Dockerfile": File(f"FROM {production}\nCOPY app /app/\n".encode())}.items():
            member = tarfile.TarInfo(path[1:])
            member.size = len(file.data)
            archive.addfile(member, io.BytesIO(file.data))
    capture(engine.command("buildx", "build", "--load", "--quiet", f"--tag={unique}:1", "-", input=context.getvalue()))
    paths = bytecode.find_uncompiled(contents.read_image(engine, f"{unique}:1"))
    assert set(paths) == set(files)
    found = trial.find_uncompilable(engine, f"{unique}:1", paths)
    assert list(found) == ["/app/template.py"]
    assert found["/app/template.py"].endswith(", line 1")


def test_an_image_that_is_not_there(project: Settings, engine: Engine) -> None:
    """The command that makes it is told."""
    with pytest.raises(DockyardError, match="there is no image") as caught:
        verify.verify_image(project._replace(image="dockyard-test-nowhere"), ImageQuery(), engine=engine)
    assert "invoke build --target production" in caught.value.hint
    with pytest.raises(DockyardError, match="there is no image"):
        contents.read_image(engine, "dockyard-test-nowhere:1")
