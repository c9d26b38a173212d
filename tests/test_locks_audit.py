"""An audit looks up every pin once, and is whole or an error: nothing unanswered passes for 'none found'."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from dockyard import execute
from dockyard.errors import DockyardError, SettingsError
from dockyard.execute import Command, Completed
from dockyard.locks import audit, body
from dockyard.settings import Settings, load
from dockyard.tasks import audit as task
from tests.lock_project import locked_project, pin

TODAY = date(2026, 11, 21)
VULNERABILITY = {
    "id": "PYSEC-2026-7",
    "fix_versions": ["3.1.4", "3.2.0"],
    "aliases": ["GHSA-aaaa-bbbb-cccc", "CVE-2026-1234"],
    "description": "It leaks.",
}
LOCKED = {"fastjsonschema", "flask", "gunicorn", "pytest"}
Answer = Callable[[dict[str, Any]], Completed]


def recorded(rows: dict[str, Any], **changes: Any) -> Completed:
    """Return what pip-audit 2.10 prints for these rows by package."""
    found = any(row.get("vulns") for row in rows.values())
    said = json.dumps({"dependencies": list(rows.values()), "fixes": []})
    said_last = "Found 1 known vulnerability in 1 package" if found else "No known vulnerabilities found"
    return dataclasses.replace(Completed(int(found), said, said_last, 0.1), **changes)


def clean(pins: tuple[body.Pin, ...]) -> dict[str, Any]:
    """Return pip-audit's rows for pins without a vulnerability."""
    return {each.name: {"name": each.name, "version": each.version, "vulns": []} for each in pins}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[body.Pin, ...]], list[Answer]]:
    """Stand in for pip-audit: return the pins of each run, and a list whose last function makes the answer."""
    asked: list[tuple[body.Pin, ...]] = []
    how: list[Answer] = [recorded]

    def capture(command: Command, *, check: bool = True) -> Completed:
        assert not check, "an exit status of 1 says that something was found, too"
        argv = command.argv
        assert argv[1:3] == ("-m", "pip_audit")
        assert {"--require-hashes", "--disable-pip", "--no-deps", "--strict"} <= set(argv)
        asked.append(body.parse(Path(argv[argv.index("--requirement") + 1]).read_text(encoding="utf-8")))
        assert all(each.hashes for each in asked[-1])
        return how[-1](clean(asked[-1]))

    monkeypatch.setattr(execute, "capture", capture)
    return asked, how


def vulnerable(rows: dict[str, Any]) -> Completed:
    """Answer with a vulnerability of flask."""
    rows["flask"]["vulns"] = [VULNERABILITY]
    return recorded(rows)


def test_every_pin_is_asked_once(settings: Settings, answers: Any) -> None:
    """Six locks of the same four packages are one run with four pins, and nothing is left behind."""
    found = audit.audit(locked_project(settings), TODAY, lambda _: None)
    assert found == audit.Audit((), 4)
    assert [{each.name for each in pins} for pins in answers[0]] == [LOCKED]


def test_two_versions_are_two_runs(settings: Settings, answers: Any) -> None:
    """pip-audit refuses one package in two versions; the second run asks for the second one only."""
    project = locked_project(settings)
    path = project.root / "requirements/3.12/base.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("flask==3.1.3", "flask==3.0.9"), encoding="utf-8")
    said: list[str] = []
    assert audit.audit(project, TODAY, said.append).asked == 5
    assert [sorted(each.requirement for each in pins if each.name == "flask") for pins in answers[0]] == [
        ["flask==3.1.3"],
        ["flask==3.0.9"],
    ]
    assert len(answers[0][1]) == 1
    assert "`invoke lock --check` finds something wrong" in said[0]


def test_a_finding(settings: Settings, answers: Any) -> None:
    """It says what is affected, what mends it, and every lock that holds it."""
    answers[1].append(vulnerable)
    (found,) = audit.audit(locked_project(settings), TODAY, lambda _: None).findings
    assert (found.package, found.version, found.id, found.severity) == ("flask", "3.1.3", "PYSEC-2026-7", "")
    assert found.aliases == ("CVE-2026-1234", "GHSA-aaaa-bbbb-cccc")
    assert found.mended_in == ("3.1.4", "3.2.0")
    assert len(found.locks) == 6
    assert found.counts


@pytest.mark.parametrize(
    ("until", "counts"), [("2026-11-20", True), ("2026-11-21", False), ("2027-01-01", False)], ids=str
)
def test_an_acceptance_ends(settings: Settings, answers: Any, until: str, counts: bool) -> None:
    """It holds through its day, by any alias in any case; one that fits nothing is named."""
    answers[1].append(vulnerable)
    table = {"cve-2026-1234": f"until {until}: not reachable", "CVE-2020-1": "until 2030-01-01: gone"}
    project = dataclasses.replace(locked_project(settings), accept_vulnerabilities=table)
    found = audit.audit(project, TODAY, lambda _: None)
    assert found.findings[0].counts is counts
    assert found.findings[0].acceptance == audit.Acceptance(date.fromisoformat(until), "not reachable")
    assert found.unused == ("CVE-2020-1",)


def without_flask(rows: dict[str, Any]) -> Completed:
    """Leave a pin out of the answer."""
    del rows["flask"]
    return recorded(rows)


def skipped(rows: dict[str, Any]) -> Completed:
    """Skip every pin and still say that nothing was found, as pip-audit does without --strict."""
    return recorded({name: {"name": name, "skip_reason": f"{name} not found on PyPI"} for name in rows})


STRICT = "ERROR:pip_audit._cli:flask: Dependency not found on PyPI and could not be audited: flask (3.1.3)"
TRACEBACK = "Traceback (most recent call last):\n  File ...\nrequests.exceptions.ConnectionError: no route to pypi.org"
NOT_WHOLE: list[tuple[Answer, str]] = [
    (without_flask, "no answer for flask==3.1.3"),
    (skipped, "no answer for fastjsonschema==2.22.3, flask==3.1.3"),
    (lambda rows: Completed(1, "", STRICT, 0.1), "Dependency not found on PyPI"),
    (lambda rows: Completed(1, "", TRACEBACK, 0.1), "no route to pypi.org"),
    (lambda rows: Completed(0, "", "No known vulnerabilities found", 0.1), "No known vulnerabilities found"),
    (lambda rows: Completed(0, "[]", "", 0.1), "exit status 0"),
    (lambda rows: Completed(0, '{"dependencies": null}', "", 0.1), "exit status 0"),
    (lambda rows: recorded({**rows, "flask": {"name": "flask", "vulns": [{}]}}), "not complete"),
    (lambda rows: recorded({**rows, "flask": {"name": "flask", "vulns": None}}), "not complete"),
    (lambda rows: recorded(rows, returncode=1, stderr="ERROR:pip_audit._cli:half"), "half"),
    (lambda rows: recorded(rows, returncode=-9, stderr=""), "exit status -9"),
    (lambda rows: Completed(1, "", "python: No module named pip_audit", 0.1), "pip-audit is not installed"),
]


@pytest.mark.parametrize(("answer", "said"), NOT_WHOLE, ids=[said for _, said in NOT_WHOLE])
def test_what_was_not_answered_is_an_error(settings: Settings, answers: Any, answer: Answer, said: str) -> None:
    """A service that cannot answer is said plainly, never taken for 'none found'."""
    answers[1].append(answer)
    with pytest.raises(DockyardError) as caught:
        audit.audit(locked_project(settings), TODAY, lambda _: None)
    assert said in caught.value.message
    assert caught.value.code == 1
    assert caught.value.hint


def test_a_missing_lock_is_an_error(settings: Settings, answers: Any) -> None:
    """It would pass for a lock without vulnerabilities; nothing is asked."""
    project = locked_project(settings)
    (project.root / "requirements/3.13/test.txt").unlink()
    with pytest.raises(DockyardError, match=r"requirements/3\.13/test\.txt:1: is missing"):
        audit.audit(project, TODAY, lambda _: None)
    assert not answers[0]


def test_an_address_cannot_be_looked_up() -> None:
    """A pin without a version is named with its place."""
    pins = body.parse("shop @ https://host/shop-1.0.zip \\\n    --hash=sha256:00\n" + pin("flask", "3.1.3", "x"))
    with pytest.raises(DockyardError, match=r"a\.txt:1: shop @ https://host/shop-1\.0\.zip has no version"):
        audit.placed({"a.txt": pins})


def test_proxy_passwords_are_not_shown(tmp_path: Path) -> None:
    """What pip-audit says of a proxy loses the password; certificates of the host are passed on."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    environment = {"HTTPS_PROXY": "http://me:hunter2@proxy:1", "HOME": str(tmp_path), "SSL_CERT_FILE": str(bundle)}
    asked = audit.command(Path("pins.txt"), environment)
    assert asked.env["REQUESTS_CA_BUNDLE"] == str(bundle)
    with pytest.raises(DockyardError) as caught:
        audit.answered(asked, Completed(1, "", "InvalidProxyURL: http://me:hunter2@proxy:1", 0.1), ())
    assert "http://me:***@proxy:1" in caught.value.message


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
    monkeypatch.setattr(task, "settings", lambda: found)
    return found


def test_the_task_with_nothing_found(project: Settings, answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says how many were looked up."""
    task.audit(Context())
    out, err = capsys.readouterr()
    assert out == ""
    assert "4 packages looked up: no known vulnerability" in err


def test_the_task_with_a_finding(project: Settings, answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, and exit 1 with what to do."""
    answers[1].append(vulnerable)
    with pytest.raises(Exit) as caught:
        task.audit(Context())
    out, err = capsys.readouterr()
    assert caught.value.code == 1
    for word in ("flask", "PYSEC-2026-7", "CVE-2026-1234", "not given", "3.1.4, 3.2.0", "production 3.12 3.13"):
        assert word in out
    assert "ERROR 1 known vulnerability in the locks" in err


@pytest.mark.parametrize("until", ["2000-01-01", "9999-12-31"])
def test_the_task_with_an_acceptance(
    settings: Settings,
    answers: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    until: str,
) -> None:
    """One that holds is shown apart and is no failure; one that is over is said to be."""
    answers[1].append(vulnerable)
    table = {"CVE-2026-1234": f"until {until}: not reachable", "CVE-2020-1": "until 9999-12-31: gone"}
    found = dataclasses.replace(locked_project(settings), accept_vulnerabilities=table)
    monkeypatch.setattr(task, "settings", lambda: found)
    over = until == "2000-01-01"
    with pytest.raises(Exit) if over else contextlib.nullcontext():
        task.audit(Context())
    out, err = capsys.readouterr()
    assert ("counts again: it was accepted until 2000-01-01 (not reachable)" in err) is over
    assert ("until 9999-12-31: not reachable" in out) is not over
    assert "CVE-2020-1 accepts nothing any more" in err


def test_the_task_as_json(project: Settings, answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Machines get every field, and the same exit code."""
    answers[1].append(vulnerable)
    with pytest.raises(Exit):
        task.audit(Context(), json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["asked"] == 4
    assert said["counting"] == 1
    assert said["findings"][0]["mended_in"] == ["3.1.4", "3.2.0"]
