"""An audit looks up every pin once, and is whole or an error: nothing unanswered passes for 'none found'."""

import contextlib
import io
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.adapters
from invoke.context import Context
from invoke.exceptions import Exit

from dockyard.errors import DockyardError, SettingsError
from dockyard.locks.audit import (
    SENTINEL,
    SERVICE,
    Acceptance,
    Audit,
    Release,
    Service,
    audit_locks,
    locate_releases,
)
from dockyard.locks.pins import parse_pins
from dockyard.settings import Settings, load
from dockyard.tasks import verify as task
from tests.advisory_service import Advisories, Answer, advisory
from tests.conftest import replace_everywhere
from tests.lock_project import locked_project, pin

TODAY = date(2026, 11, 21)
HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}]
LOCKED = {"fastjsonschema", "flask", "gunicorn", "pytest"}
QUERY = "/v1/querybatch"


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch) -> Advisories:
    """Stand in for the network: every request reaches a service without advisories for the project."""
    made = Advisories()

    def send(_adapter: object, request: requests.PreparedRequest, **_options: object) -> requests.Response:
        if made.trouble:
            raise made.trouble
        status, content = made.answer(str(request.method), request.path_url, request.body or b"")  # type: ignore[arg-type]
        answer = requests.Response()
        answer.status_code, answer.raw, answer.reason = status, io.BytesIO(content), "as told"
        answer.url, answer.request = str(request.url), request
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    return made


@pytest.fixture
def vulnerable(service: Advisories) -> Advisories:
    """Return a service that knows of a vulnerability of flask, in two records."""
    service.records += [
        advisory("PYSEC-2026-7", "flask", "3.1.4", "CVE-2026-1234"),
        advisory("GHSA-aaaa-bbbb-cccc", "flask", "3.2.0", "CVE-2026-1234", severity=HIGH),
    ]
    return service


def look(settings: Settings, **changes: Any) -> Audit:
    """Audit a locked project."""
    return audit_locks(locked_project(settings)._replace(**changes), TODAY)


def test_every_pin_is_asked_once(settings: Settings, service: Advisories) -> None:
    """Six locks of the same four packages are one question, with a release besides that tells an empty service."""
    assert look(settings) == Audit((), 4)
    assert service.asked == [f"POST {QUERY}"]
    (queries,) = service.questions
    assert sorted(each["package"]["name"] for each in queries) == sorted({*LOCKED, SENTINEL.name})
    assert queries[-1] == {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}


def test_two_versions_are_both_asked_for(settings: Settings, vulnerable: Advisories) -> None:
    """Each version has its own findings and its own locks; a lock that was edited is audited as it is."""
    project = locked_project(settings)
    path = project.root / "requirements/3.12/base.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("flask==3.1.3", "flask==3.1.9"), encoding="utf-8")
    found = audit_locks(project, TODAY)
    assert found.asked == 5
    assert [(each.version, each.mended_in, len(each.locks)) for each in found.findings] == [
        ("3.1.3", ("3.1.4", "3.2.0"), 5),
        ("3.1.9", ("3.2.0",), 1),
    ]


def test_a_finding(settings: Settings, vulnerable: Advisories) -> None:
    """It says what is affected, how badly, what mends it, and every lock that holds it with the line."""
    (found,) = look(settings).findings
    assert (found.package, found.version, found.id) == ("flask", "3.1.3", "CVE-2026-1234")
    assert found.aliases == ("GHSA-aaaa-bbbb-cccc", "PYSEC-2026-7")
    assert (found.severity, found.score, found.mended_in) == ("high", 7.5, ("3.1.4", "3.2.0"))
    assert len(found.locks) == len(found.lines) == 6
    text = (settings.root / found.locks[0]).read_text(encoding="utf-8").splitlines()
    assert text[found.lines[0] - 1].startswith("flask==3.1.3")
    assert found.counts


def test_the_worst_comes_first(settings: Settings, service: Advisories) -> None:
    """What nobody has rated stands above what is rated low."""
    for number, word in enumerate(("LOW", "", "HIGH", "CRITICAL"), 1):
        service.records.append(advisory(f"PYSEC-1-{number}", "flask", "9", database_specific={"severity": word}))
    assert [each.severity for each in look(settings).findings] == ["critical", "high", "unknown", "low"]


def test_a_long_answer_comes_in_pages(settings: Settings, service: Advisories) -> None:
    """Every page is asked for, and every advisory counts."""
    service.page = 2
    service.records += [advisory(f"PYSEC-1-{number}", "flask", "9") for number in range(5)]
    assert len(look(settings).findings) == 5
    assert [len(queries) for queries in service.questions] == [5, 1, 1]


def test_many_packages_are_several_questions(settings: Settings, service: Advisories) -> None:
    """The service refuses more than a thousand at once."""
    found = Service(settings, {}).read_advisories([Release(f"p{number}", "1") for number in range(1500)])
    assert len(found) == 1500
    assert [len(queries) for queries in service.questions] == [1000, 501]


@pytest.mark.parametrize(
    ("until", "counts"), [("2026-11-20", True), ("2026-11-21", False), ("2027-01-01", False)], ids=str
)
def test_an_acceptance_ends(settings: Settings, vulnerable: Advisories, until: str, counts: bool) -> None:
    """It holds through its day, by any alias in any case; one that fits nothing is named."""
    table = {"pysec-2026-7": f"until {until}: not reachable", "CVE-2020-1": "until 2030-01-01: gone"}
    found = look(settings, accept_vulnerabilities=table)
    assert found.findings[0].counts is counts
    assert found.findings[0].acceptance == Acceptance(date.fromisoformat(until), "not reachable")
    assert found.unused == ("CVE-2020-1",)


def changed(path: str, **fields: Any) -> Callable[[str, Answer], Answer]:
    """Return a fault that changes fields of the answer under one path."""
    return lambda asked, right: (right[0], {**right[1], **fields}) if asked == path else right


def status(path: str, number: int) -> Callable[[str, Answer], Answer]:
    """Return a fault that answers with another status under a path."""
    return lambda asked, right: (number, {"code": 13, "message": "no"}) if asked.startswith(path) else right


def short(_path: str, right: Answer) -> Answer:
    """Leave the last result out."""
    return 200, {"results": right[1]["results"][:-1]}


def second(result: Any) -> Callable[[str, Answer], Answer]:
    """Return a fault that puts something else in the place of the second result, or of the only one."""

    def harm(path: str, right: Answer) -> Answer:
        results = right[1]["results"] if path == QUERY else []
        return (200, {"results": [*results[:-1][:1], result, *results[2:]]}) if results else right

    return harm


RECORD = "/v1/vulns/PYSEC-2026-7"
UNANSWERED = "did not answer for fastjsonschema==2.22.3, flask==3.1.3, gunicorn==27.0.1 and 2 more"
NOT_WHOLE: list[tuple[Callable[[str, Answer], Answer | bytes], str]] = [
    (status(QUERY, 500), "answered with status 500"),
    (status(QUERY, 429), "answered with status 429"),
    (status(QUERY, 403), "answered with status 403"),
    (status(RECORD, 404), "/v1/vulns/PYSEC-2026-7 answered with status 404"),
    (lambda _path, _right: b"<html>Log in to the guest network</html>", "answered with what is no JSON object"),
    (lambda _path, _right: b"", "answered with what is no JSON object"),
    (lambda _path, _right: b"[]", "answered with what is no JSON object"),
    (lambda _path, _right: b"null", "answered with what is no JSON object"),
    (lambda _path, _right: b"{}", UNANSWERED),
    (short, UNANSWERED),
    (second(None), UNANSWERED),
    (second({"vulns": "PYSEC-2026-7"}), UNANSWERED),
    (second({"vulns": [{"modified": "today"}]}), UNANSWERED),
    (second({"vulns": [{"id": None}]}), "/v1/vulns/None answered with status 404"),
    (second({"vulns": [{"id": ""}]}), "/v1/vulns/ answered with"),
    (second({"next_page_token": 7}), "goes on for ever with flask==3.1.3"),
    (second({"next_page_token": "0"}), "goes on for ever with flask==3.1.3"),
    (lambda path, right: (200, {"results": [{}] * 5}), "no data on Python packages"),
    (changed(RECORD, id="PYSEC-2026-8"), "no readable record of PYSEC-2026-7"),
    (changed(RECORD, affected=7), "what PYSEC-2026-7, GHSA-aaaa-bbbb-cccc says of flask==3.1.3 cannot be read"),
    (changed(RECORD, affected=[{"package": {"ecosystem": "PyPI"}}]), "cannot be read"),
    (changed(RECORD, aliases=[{}]), "cannot be read"),
    (changed(RECORD, severity=["CVSS"]), "cannot be read"),
]


@pytest.mark.parametrize(("harm", "said"), NOT_WHOLE, ids=[said for _, said in NOT_WHOLE])
def test_what_was_not_answered_is_an_error(
    settings: Settings, vulnerable: Advisories, harm: Callable[[str, Answer], Answer | bytes], said: str
) -> None:
    """A service that cannot answer is said plainly, never taken for 'none found'."""
    vulnerable.harm = harm
    with pytest.raises(DockyardError) as caught:
        look(settings)
    assert said in caught.value.message
    assert "nothing can be said of the locks" in caught.value.message
    assert caught.value.code == 1
    assert caught.value.hint


BROKEN = [
    (requests.ConnectTimeout("no answer in 10 s"), "ConnectTimeout: no answer in 10 s"),
    (requests.ReadTimeout("silent for 30 s"), "ReadTimeout: silent for 30 s"),
    (requests.exceptions.SSLError(OSError("certificate verify failed")), "certificate verify failed"),
    (requests.exceptions.ProxyError("http://me:hunter2@proxy:1 says 407"), "http://me:***@proxy:1 says 407"),
    (requests.ConnectionError(OSError(111, "Connection refused")), "Connection refused"),
]


@pytest.mark.parametrize(("error", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_a_service_that_cannot_be_reached(
    settings: Settings, service: Advisories, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """The reason is told, without the password of a proxy."""
    service.trouble = error
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy:1")
    with pytest.raises(DockyardError, match="cannot be had") as caught:
        look(settings, audit_url="https://advisories.example")
    assert said in caught.value.message
    assert "https://advisories.example/v1/querybatch" in caught.value.message


def test_a_missing_lock_is_an_error(settings: Settings, service: Advisories) -> None:
    """It would pass for a lock without vulnerabilities; nothing is asked."""
    project = locked_project(settings)
    (project.root / "requirements/3.13/test.txt").unlink()
    with pytest.raises(DockyardError, match=r"requirements/3\.13/test\.txt:1: is missing"):
        audit_locks(project, TODAY)
    assert not service.asked


def test_an_address_cannot_be_looked_up() -> None:
    """A pin without a version is named with its place."""
    pins = parse_pins("shop @ https://host/shop-1.0.zip \\\n    --hash=sha256:00\n" + pin("flask", "3.1.3", "x"))
    with pytest.raises(DockyardError, match=r"a\.txt:1: shop @ https://host/shop-1\.0\.zip has no version"):
        locate_releases({"a.txt": pins})


def test_the_way_to_the_service(settings: Settings, tmp_path: Path) -> None:
    """The address is the setting's, the public one without; certificates are the host's, and a password is secret."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    environment = {"HTTPS_PROXY": "http://me:hunter2@proxy:1", "HOME": str(tmp_path), "SSL_CERT_FILE": str(bundle)}
    assert Service(settings, environment).address == SERVICE
    own = settings._replace(audit_url="https://us:w0rd@advisories.example/osv/")
    found = Service(own, environment)
    assert found.address == "https://us:w0rd@advisories.example/osv"
    assert found.bundle == bundle
    assert {"hunter2", "w0rd"} <= set(found.secrets)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ('CVE-2026-1 = "not reachable"', 'CVE-2026-1: must be "until YYYY-MM-DD: reason"'),
        ('CVE-2026-1 = "until 2026-12-01"', 'must be "until'),
        ('CVE-2026-1 = "until 2026-12-01: "', 'must be "until'),
        ('CVE-2026-1 = "until 2026-02-30: later"', "there is no day 2026-02-30"),
        ("CVE-2026-1 = 2026-12-01", "must be a string"),
        ('flask = "until 2026-12-01: later"', "flask: is no identifier"),
    ],
)
def test_acceptances_are_validated(tmp_path: Path, entry: str, wrong: str) -> None:
    """A reason and a day that exists are needed, and the error names the entry."""
    least = '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n[tool.dockyard.accept-vulnerabilities]\n'
    (tmp_path / "pyproject.toml").write_text(least + entry, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {})
    assert wrong in caught.value.message


def test_acceptances_in_the_environment(tmp_path: Path) -> None:
    """The form is that of the other tables."""
    (tmp_path / "pyproject.toml").write_text('[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n', encoding="utf-8")
    entries = "CVE-2026-1=until 2026-12-01: a = b, GHSA-a-b=until 2027-01-01: later"
    assert load(tmp_path, {"DOCKYARD_ACCEPT_VULNERABILITIES": entries}).accept_vulnerabilities == {
        "CVE-2026-1": "until 2026-12-01: a = b",
        "GHSA-a-b": "until 2027-01-01: later",
    }


@pytest.fixture
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return a locked project that the task finds."""
    found = locked_project(settings)
    replace_everywhere(monkeypatch, "settings", lambda: found)
    return found


def test_the_task_with_nothing_found(
    project: Settings, service: Advisories, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says how many were looked up."""
    task.audit(Context())
    out, err = capsys.readouterr()
    assert out == ""
    assert "4 packages looked up: no known vulnerability" in err


def test_the_task_with_a_finding(project: Settings, vulnerable: Advisories, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, and exit 1 with what to do."""
    with pytest.raises(Exit) as caught:
        task.audit(Context())
    out, err = capsys.readouterr()
    assert caught.value.code == 1
    for word in ("flask", "PYSEC-2026-7", "CVE-2026-1234", "high 7.5", "3.1.4, 3.2.0", " all "):
        assert word in out
    assert "ERROR 1 known vulnerability in the locks" in err


@pytest.mark.parametrize("until", ["2000-01-01", "9999-12-31"])
def test_the_task_with_an_acceptance(
    settings: Settings,
    vulnerable: Advisories,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    until: str,
) -> None:
    """One that holds is shown apart and is no failure; one that is over is said to be."""
    table = {"CVE-2026-1234": f"until {until}: not reachable", "CVE-2020-1": "until 9999-12-31: gone"}
    found = locked_project(settings)._replace(accept_vulnerabilities=table)
    replace_everywhere(monkeypatch, "settings", lambda: found)
    over = until == "2000-01-01"
    with pytest.raises(Exit) if over else contextlib.nullcontext():
        task.audit(Context())
    out, err = capsys.readouterr()
    assert ("counts again: it was accepted until 2000-01-01 (not reachable)" in err) is over
    assert ("until 9999-12-31: not reachable" in out) is not over
    assert "CVE-2020-1 accepts nothing any more" in err


def test_the_task_as_json(project: Settings, vulnerable: Advisories, capsys: pytest.CaptureFixture[str]) -> None:
    """Machines get every field, and the same exit code."""
    with pytest.raises(Exit):
        task.audit(Context(), json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["asked"] == 4
    assert said["counting"] == 1
    assert said["findings"][0]["mended_in"] == ["3.1.4", "3.2.0"]
    assert (said["findings"][0]["severity"], said["findings"][0]["score"]) == ("high", 7.5)


def test_the_task_as_sarif(
    settings: Settings, vulnerable: Advisories, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Code scanners get a rule with a score, a result at each line that pins it, and what is accepted as suppressed."""
    vulnerable.records.append(advisory("PYSEC-2026-9", "gunicorn", "", summary="It smuggles"))
    table = {"CVE-2026-1234": "until 9999-12-31: not reachable"}
    found = locked_project(settings)._replace(accept_vulnerabilities=table)
    replace_everywhere(monkeypatch, "settings", lambda: found)
    with pytest.raises(Exit):
        task.audit(Context(), sarif=str(tmp_path / "reports/audit.sarif"))
    (run,) = json.loads((tmp_path / "reports/audit.sarif").read_text(encoding="utf-8"))["runs"]
    assert run["automationDetails"] == {"id": "dockyard/audit/"}
    known, unrated = run["tool"]["driver"]["rules"]
    assert (known["id"], known["properties"]["security-severity"]) == ("CVE-2026-1234", "7.5")
    assert (unrated["shortDescription"], unrated["properties"]) == ({"text": "It smuggles"}, {"tags": ["security"]})
    accepted, open_one = run["results"]
    assert (accepted["level"], open_one["level"]) == ("error", "warning")
    assert accepted["suppressions"][0]["justification"] == "not reachable"
    assert "suppressions" not in open_one
    assert "no version mends it yet" in open_one["message"]["text"]
    assert "mended in 3.1.4, 3.2.0" in accepted["message"]["text"]
    places = [each["physicalLocation"] for each in accepted["locations"]]
    assert len(places) == 6
    lines = (settings.root / places[0]["artifactLocation"]["uri"]).read_text(encoding="utf-8").splitlines()
    assert lines[places[0]["region"]["startLine"] - 1].startswith("flask==")
