"""A version's section is found in whatever form people write it, and becomes release notes."""

import pytest

from dockyard.errors import DockyardError
from dockyard.release import preconditions

TEXT = """\
# Changelog

All that users notice. See [Keep a Changelog].

## [Unreleased]

### Added

- Something that waits.

## [1.2.0] - 2026-11-21

### Added

- A button, see [the manual].

```md
## A heading
```

### Fixed

- Nothing.

## [1.1.0] - 2026-01-02 [YANKED]

- Withdrawn.

## 1.0.0-rc.1 (2025-12-24)

- The first.

## v0.9

### Added

[Keep a Changelog]: https://keepachangelog.example/
[the manual]: https://manual.example/
[1.2.0]: https://code.example/compare/v1.1.0...v1.2.0
"""


def test_the_versions_in_their_order() -> None:
    """Every second-level heading is a section; one in a block of code is not."""
    found = [(one.version, one.date) for one in preconditions.parse_sections(TEXT)]
    assert found == [
        ("Unreleased", ""),
        ("1.2.0", "2026-11-21"),
        ("1.1.0", "2026-01-02"),
        ("1.0.0-rc.1", "2025-12-24"),
        ("0.9", ""),
    ]


def test_a_section_is_what_stands_below_its_heading() -> None:
    """It ends at the next version, and brings the links that it uses: those of others stay behind."""
    body = preconditions.find_section(preconditions.parse_sections(TEXT), "1.2.0").body
    assert body.startswith("### Added\n\n- A button, see [the manual].\n\n```md\n## A heading\n")
    assert body.endswith("### Fixed\n\n- Nothing.\n\n[the manual]: https://manual.example/")
    assert "code.example" not in body
    assert "keepachangelog" not in body


@pytest.mark.parametrize("version", ["1.0.0rc1", "1.0.0-rc.1", "1.0.0RC1"])
def test_a_version_in_another_way_of_writing(version: str) -> None:
    """Tags and changelogs need not agree on how a candidate is written."""
    assert preconditions.find_section(preconditions.parse_sections(TEXT), version).body == "- The first."


def test_a_version_without_a_section() -> None:
    """The hint says what to write, and where the entries are that wait for it."""
    with pytest.raises(DockyardError, match=r"CHANGELOG.md has no section for 1\.3\.0") as caught:
        preconditions.find_section(preconditions.parse_sections(TEXT), "1.3.0")
    assert "`## [1.3.0] - YYYY-MM-DD` between [Unreleased] and its entries" in caught.value.hint
    with pytest.raises(DockyardError) as caught:
        preconditions.find_section(preconditions.parse_sections("# Changelog\n\n## [Unreleased]\n"), "1.3.0")
    assert caught.value.hint.startswith("write a section `## [1.3.0]")


def test_an_empty_section() -> None:
    """Headings alone are no notes."""
    with pytest.raises(DockyardError, match=r"says nothing about 0\.9"):
        preconditions.find_section(preconditions.parse_sections(TEXT), "0.9")


def test_two_sections() -> None:
    """Which of them is meant, nobody can tell."""
    with pytest.raises(DockyardError, match="2 sections for 1"):
        preconditions.find_section(preconditions.parse_sections("## 1.0\n- a\n## [1.0.0]\n- b\n"), "1.0")


def test_the_newest() -> None:
    """The topmost version, not what waits above it."""
    assert preconditions.find_newest(preconditions.parse_sections(TEXT)) == "1.2.0"
    assert preconditions.find_newest(preconditions.parse_sections("# Changelog\n\n## Unreleased\n")) == ""
    assert preconditions.find_newest(preconditions.parse_sections("")) == ""


def test_other_systems_write_files_otherwise() -> None:
    """A byte order mark and the line endings of Windows are gone when a file is read; other headings are text."""
    (found,) = preconditions.parse_sections("## Summer\n- sun\n## [1.0]\n\n## Winter\n- snow\n")
    assert (found.version, found.body) == ("1.0", "## Winter\n- snow")


def test_a_heading_with_a_link() -> None:
    """Some link the heading to the comparison right there."""
    (found,) = preconditions.parse_sections("## [2.0](https://code.example/v1...v2) - 2026-02-03\n- x\n")
    assert (found.version, found.date, found.body) == ("2.0", "2026-02-03", "- x")


def test_notes() -> None:
    """What changed, and how to get exactly this image."""
    found = preconditions.find_section(preconditions.parse_sections(TEXT), "1.1.0")
    assert preconditions.format_notes("shop", found, "registry.example/shop@sha256:1", ("1.1.0", "latest")) == (
        "# shop 1.1.0 (2026-01-02)\n\n- Withdrawn.\n\n## Image\n\n"
        "```text\nregistry.example/shop@sha256:1\n```\n\nTags: `1.1.0`, `latest`\n"
    )
