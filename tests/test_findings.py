"""A verdict in the forms that other programs read."""

import json
import stat
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.errors import DockyardError
from dockyard.verify import output
from dockyard.verify.model import Case, Trial
from dockyard.verify.output import Report
from dockyard.verify.rules import judge
from tests import small_images
from tests.small_images import File, worked


def report(trial: Trial | None = None, files: dict[str, File] | None = None) -> Report:
    """Return the report on an image with an accepted finding, one of a layer, and one of none."""
    more = {"/app/.env": File(b"A=1"), "/usr/bin/sh": File(b"x", 0o755)} if files is None else files
    case: Case = small_images.case(more, trial=trial or worked(stop=None))
    verdict = judge.judge_image(case, allow={"no-shell": "a script starts it"})
    return Report("shop:production", case, verdict, 2.5)


def test_json_says_what_was_found_accepted_and_measured() -> None:
    """A machine reads all of it, and it can be written as JSON."""
    found = json.loads(json.dumps(output.format_json(report())))
    assert (found["ok"], found["start_seconds"], found["memory_bytes"]) == (False, 0.4, 40_000_000)
    assert found["size_bytes"] == sum(one.size for one in report().case.facts.layers)
    assert [(one["rule"], one["severity"]) for one in found["violations"]] == [
        ("no-credential-file", "error"),
        ("stops", "error"),
    ]
    assert [(one["rule"], one["accepted"]) for one in found["accepted"]] == [("no-shell", "a script starts it")]
    assert found["rules"] == [rule.id for rule in judge.RULES]


def test_json_names_the_image_as_a_build_and_a_push_do() -> None:
    """By its manifest, where the engine's store keeps one; by its configuration always."""
    made = report()
    facts = replace(made.case.facts, digest="sha256:abc", manifest="sha256:def")
    found = output.format_json(replace(made, case=replace(made.case, facts=facts)))
    assert (found["digest"], found["manifest"]) == ("sha256:abc", "sha256:def")
    assert output.format_json(made)["manifest"] is None


def test_json_without_a_trial() -> None:
    """A target that does not serve has nothing measured."""
    case = small_images.case()
    found = output.format_json(Report("x", case, judge.judge_image(case), 0.1))
    assert (found["ok"], found["start_seconds"], found["stop_seconds"]) == (True, None, None)


def results() -> list[dict[str, Any]]:
    """Return the results of the SARIF log."""
    return list(output.format_sarif(report())["runs"][0]["results"])


def test_sarif_has_the_frame_that_version_2_1_0_asks_for() -> None:
    """Version, one run, a named tool whose rules are all described once."""
    log = output.format_sarif(report())
    assert (log["version"], log["$schema"].endswith("sarif-schema-2.1.0.json")) == ("2.1.0", True)
    (run,) = log["runs"]
    assert run["automationDetails"] == {"id": "dockyard/verify/production/3.13/"}
    driver = run["tool"]["driver"]
    assert driver["name"] == "dockyard"
    assert [rule["id"] for rule in driver["rules"]] == [rule.id for rule in judge.RULES]
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note", "none")


def test_sarif_results_point_at_their_rule_and_place() -> None:
    """By its name; the path in the image, and a mark that outlives it."""
    rules = output.format_sarif(report())["runs"][0]["tool"]["driver"]["rules"]
    for one in results():
        assert one["ruleId"] in {rule["id"] for rule in rules}
        assert one["message"]["text"]
        (place,) = one["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "Dockerfile"
        assert place["physicalLocation"]["region"]["startLine"] == 1
        assert len(one["partialFingerprints"]["dockyardFinding/v1"]) == 64
    named = {one["ruleId"]: one for one in results()}
    place = named["no-credential-file"]["locations"][0]
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "/app/.env"
    assert named["no-credential-file"]["properties"]["instruction"] == "COPY /layer-1/ / # buildkit"
    assert "logicalLocations" not in named["stops"]["locations"][0]


def test_sarif_suppresses_what_is_accepted() -> None:
    """With the reason, so that a viewer can show it."""
    suppressed = {one["ruleId"]: one["suppressions"] for one in results() if "suppressions" in one}
    assert suppressed == {
        "no-shell": [{"kind": "external", "status": "accepted", "justification": "a script starts it"}]
    }


def test_fingerprints_tell_findings_apart_and_stay_the_same() -> None:
    """Two runs have the same, two findings never."""
    marks = [one["partialFingerprints"]["dockyardFinding/v1"] for one in results()]
    assert len(set(marks)) == 3
    assert marks == [one["partialFingerprints"]["dockyardFinding/v1"] for one in results()]


def test_junit_has_a_case_for_every_rule() -> None:
    """A violation is a failure, an accepted one is skipped, and the counts agree."""
    root = output.format_junit(report())
    suite = root.find("testsuite")
    assert suite is not None
    assert [case.get("name") for case in suite] == [rule.id for rule in judge.RULES]
    counts = {key: int(suite.get(key, "-1")) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": len(judge.RULES), "failures": 2, "errors": 0, "skipped": 1}
    failed = {case.get("name"): case.find("failure") for case in suite if case.find("failure") is not None}
    assert set(failed) == {"no-credential-file", "stops"}
    text = failed["no-credential-file"].text  # type: ignore[union-attr]
    assert text is not None
    assert "layer: sha256:" in text
    skipped = [case.find("skipped") for case in suite if case.find("skipped") is not None]
    assert [one.get("message") for one in skipped if one is not None] == ["accepted: a script starts it"]


def test_junit_is_xml_whatever_a_log_says(tmp_path: Path) -> None:
    """Control characters, which no XML may hold, and marks of its own."""
    trial = worked(stop_code=1, log=("\x1b[31m<&\x00]]>\ud800",))
    output.write_report(tmp_path / "junit.xml", output.format_junit(report(trial, {})))
    root = ET.parse(tmp_path / "junit.xml").getroot()
    failure = next(root.iter("failure"))
    assert "<&\ufffd]]>\ufffd" in (failure.text or "")


def test_files_are_written_whole(tmp_path: Path) -> None:
    """Into folders that are made, readable for the CI that comes after, with nothing beside them."""
    path = tmp_path / "reports" / "verify.sarif"
    output.write_report(path, output.format_sarif(report()))
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == "2.1.0"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    output.write_report(path, output.format_sarif(report()))
    assert [one.name for one in path.parent.iterdir()] == ["verify.sarif"]


def test_a_file_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    """Its folder is a file, for instance."""
    (tmp_path / "x").write_text("")
    with pytest.raises(DockyardError, match="cannot be written"):
        output.write_report(tmp_path / "x" / "y.sarif", {})
    with pytest.raises(DockyardError, match="cannot be written"):
        output.write_report(tmp_path, output.format_junit(report()))
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
