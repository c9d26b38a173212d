"""Advisories in the OSV format: how severe, what mends them, and which are one and the same."""

from typing import Any

import pytest

from dockyard.locks.audit import Release, level, merge_records
from tests.advisory_service import advisory

V3 = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}
V4 = {"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}
V2 = {"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:N/A:N"}
GARBLED = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N"}
OTHER = {"type": "Ubuntu", "score": "negligible"}


@pytest.mark.parametrize(
    ("more", "severity", "score"),
    [
        ({"severity": [V3]}, "high", 7.5),
        ({"severity": [V2, V3, V4]}, "critical", 9.3),
        ({"severity": [V2]}, "medium", 5.0),
        ({"severity": [V3], "database_specific": {"severity": "LOW"}}, "high", 7.5),
        ({"severity": [OTHER], "database_specific": {"severity": "MODERATE"}}, "medium", None),
        ({"severity": [GARBLED], "database_specific": {"severity": "CRITICAL"}}, "critical", None),
        ({"severity": [GARBLED, V2]}, "medium", 5.0),
        ({"severity": None, "database_specific": {"severity": "SERIOUS"}}, "unknown", None),
        ({"database_specific": {"severity": None}}, "unknown", None),
        ({}, "unknown", None),
    ],
)
def test_severity(more: dict[str, Any], severity: str, score: float | None) -> None:
    """The newest kind of vector that can be read counts, then the database's own word, and else it is unknown."""
    (found,) = merge_records(Release("flask", "3.1.3"), [advisory("PYSEC-2026-7", "flask", "3.1.4", **more)])
    assert (found.severity, found.score) == (severity, score)


def test_severity_of_one_package() -> None:
    """It may stand with the package instead of the record."""
    record = advisory("PYSEC-2026-7", "flask", "3.1.4")
    record["affected"][0]["severity"] = [V3]
    assert merge_records(Release("flask", "3.1.3"), [record])[0].score == 7.5


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (0, "none"),
        (0.1, "low"),
        (3.9, "low"),
        (4, "medium"),
        (6.9, "medium"),
        (7, "high"),
        (8.9, "high"),
        (9, "critical"),
    ],
)
def test_levels(score: float, word: str) -> None:
    """The bounds are those of the CVSS specification."""
    assert level(score) == word


def test_one_vulnerability_is_one_advisory() -> None:
    """Records that share a name, even through a third, are one: the worst severity, the name that all know first."""
    records = [
        advisory("PYSEC-2026-7", "flask", "3.1.4", "CVE-2026-1234"),
        advisory("PYSEC-2026-8", "flask", "3.1.5"),
        advisory("GHSA-aaaa-bbbb-cccc", "Flask", "3.1.4", severity=[V3], summary="It leaks"),
        advisory("BIT-flask-1", "flask", "3.1.4", "GHSA-aaaa-bbbb-cccc", "CVE-2026-1234"),
    ]
    for order in (records, records[::-1]):
        one, other = merge_records(Release("flask", "3.1.3"), order)
        assert (one.id, one.aliases) == ("CVE-2026-1234", ("GHSA-aaaa-bbbb-cccc", "BIT-flask-1", "PYSEC-2026-7"))
        assert (one.severity, one.score, one.mended_in, one.summary) == ("high", 7.5, ("3.1.4",), "It leaks")
        assert (other.id, other.aliases, other.mended_in) == ("PYSEC-2026-8", (), ("3.1.5",))


def test_withdrawn_advisories_do_not_count() -> None:
    """Nor do their names or severities; another record of the same flaw that stands does."""
    gone = advisory(
        "GHSA-aaaa-bbbb-cccc", "flask", "3.1.4", "CVE-2026-1", severity=[V4], withdrawn="2026-11-02T00:00:00Z"
    )
    assert merge_records(Release("flask", "3.1.3"), [gone]) == []
    stands = advisory("PYSEC-2026-7", "flask", "3.1.4", "CVE-2026-1")
    (found,) = merge_records(Release("flask", "3.1.3"), [gone, stands])
    assert (found.id, found.aliases, found.severity) == ("CVE-2026-1", ("PYSEC-2026-7",), "unknown")


def test_what_mends_it() -> None:
    """Every series' fix that comes after the locked version, in order; not a commit, nor another package's."""
    record = advisory("PYSEC-2026-7", "Some.Package", "1.10")
    affected = record["affected"][0]
    affected["ranges"] += [
        {"type": "ECOSYSTEM", "events": [{"introduced": "1.11"}, {"fixed": "1.12.3"}, {"fixed": "weird"}]},
        {"type": "ECOSYSTEM", "events": [{"introduced": "2"}, {"last_affected": "2.2"}]},
        {"type": "GIT", "repo": "https://code.example/it", "events": [{"fixed": "c0ffee"}]},
    ]
    record["affected"].append({"package": {"ecosystem": "npm", "name": "some-package"}, "ranges": affected["ranges"]})
    record["affected"].append({**affected, "package": {"ecosystem": "PyPI", "name": "other"}})
    assert merge_records(Release("some-package", "1.9"), [record])[0].mended_in == ("1.10", "1.12.3")
    assert merge_records(Release("some-package", "1.11.1"), [record])[0].mended_in == ("1.12.3",)
    assert merge_records(Release("some-package", "2.1"), [record])[0].mended_in == ()
    assert merge_records(Release("third", "1"), [record])[0].mended_in == ()
