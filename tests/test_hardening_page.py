"""The page of hardening, limits, secrets and health: each line has its settings, and a test that is there."""

import re

import pytest

from .markdown_blocks import ROOT
from .messages import has_test
from .pod_security import list_violations

PAGE = (ROOT / "docs/reference/hardening.md").read_text("utf-8")
SECTIONS = ("Hardening", "Limits", "Secrets", "Health")


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's lines, without the head of its table."""
    part = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.host
def test_every_line_has_a_test_that_is_there() -> None:
    """A name that a test has no more is found; a line without a setting anywhere is none."""
    for section in SECTIONS:
        assert len(rows(section)) >= 6, section
        for row in rows(section):
            assert len(row) == 5, row
            assert any(row[1:4]), row
            tests = re.findall(r"`(tests/[\w/]+\.py::\w+)`", row[4])
            assert tests, row
            assert [test for test in tests if not has_test(test)] == [], row


@pytest.mark.host
def test_what_compose_is_said_to_have_it_has() -> None:
    """The words of the column for one host that look like a Compose setting stand in compose.production.yaml."""
    compose = (ROOT / "compose.production.yaml").read_text("utf-8")
    keys = set(re.findall(r"`([a-z_]+):", " ".join(row[1] for section in SECTIONS for row in rows(section))))
    assert keys >= {"user", "read_only", "tmpfs", "cap_drop", "pids_limit", "logging", "secrets", "restart"}
    assert [key for key in keys if f"{key}:" not in compose] == []


def test_what_kubernetes_is_said_to_have_the_standard_asks_for() -> None:
    """A pod without any of it breaks the standard in each of its words."""
    told = " ".join(list_violations({"containers": [{"securityContext": {}}]}))
    for words in ("runAsNonRoot", "allowPrivilegeEscalation", "capabilities.drop", "seccompProfile"):
        assert words in told
        assert words.partition(".")[0] in PAGE
