"""How two builds of an image differ is named: layer, file or key, and in what."""

import tarfile
from dataclasses import replace
from typing import Any

import pytest

from dockyard.verify.compare import LARGEST_TEXT, Difference, compare_images, suggest_hint

from .saved_images import TIME, Entry, saved

WEB = Entry("/app/web.py", b"import sys\n\napp = 1\n")


def one(before: Entry | None, after: Entry | None) -> Difference:
    """Return the one difference between two images that differ in one entry of their second layer."""
    layers = [[entry for entry in (WEB, changed) if entry] for changed in (before, after)]
    verdict, findings = compare_images(saved([WEB], layers[0]), saved([WEB], layers[1]))
    assert verdict == "different"
    (finding,) = findings
    assert (finding.layer, finding.instruction) == (2, "COPY layer2 /")
    return finding


FILE = Entry("/a", b"x\n")
CHANGES: list[tuple[str, Entry | None, Entry | None, tuple[str, str, str]]] = [
    ("missing", FILE, None, ("missing", "file", "")),
    ("extra", None, FILE, ("extra", "", "file")),
    ("mode", FILE, replace(FILE, mode=0o600), ("mode", "0644", "0600")),
    ("owner", FILE, replace(FILE, uid=1000), ("owner", "0:0", "1000:0")),
    ("time", FILE, replace(FILE, time=TIME + 61), ("time", "1980-01-01T00:00:00Z", "1980-01-01T00:01:01Z")),
    (
        "a part of a second",
        FILE,
        replace(FILE, time=TIME + 0.5),
        ("time", "1980-01-01T00:00:00Z", "1980-01-01T00:00:00.500000Z"),
    ),
    (
        "link",
        Entry("/a", kind=tarfile.SYMTYPE, link="b"),
        Entry("/a", kind=tarfile.SYMTYPE, link="c"),
        ("link", "b", "c"),
    ),
    ("kind", FILE, Entry("/a", kind=tarfile.SYMTYPE, link="c"), ("kind", "file", "link")),
    (
        "attributes",
        FILE,
        replace(FILE, extended={"SCHILY.xattr.user.a": "1"}),
        ("attributes", "", "SCHILY.xattr.user.a=1"),
    ),
    (
        "a program",
        Entry("/a", b"\x7fELF\0\1"),
        Entry("/a", b"\x7fELF\0\2"),
        ("content", "sha256:7ab58c495f91", "sha256:9ac5a273a5dc"),
    ),
    ("a program that was a text", FILE, Entry("/a", b"\0"), ("content", "sha256:73cb3858a687", "sha256:6e340b9cffb3")),
    (
        "bytecode",
        Entry("/a.pyc", b"one"),
        Entry("/a.pyc", b"two"),
        ("bytecode", "sha256:7692c3ad3540", "sha256:3fc4ccfe7458"),
    ),
]


@pytest.mark.parametrize(("before", "after", "told"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_difference(before: Entry | None, after: Entry | None, told: tuple[str, str, str]) -> None:
    """Each way to differ has a name, and both sides are shown."""
    finding = one(before, after)
    assert (finding.how, finding.before, finding.after) == told
    assert finding.diff == ()
    assert finding.path == (before or after or WEB).path


def test_a_text_is_shown_line_by_line() -> None:
    """Only the changed lines with one around them, and not without end."""
    finding = one(Entry("/built", b"a\nb\nmonday\n"), Entry("/built", b"a\nb\ntuesday\n"))
    assert (finding.how, finding.diff) == ("content", ("@@ -2,2 +2,2 @@", " b", "-monday", "+tuesday"))
    long = one(Entry("/built", b"x\n" * 60), Entry("/built", b"y\n" * 60))
    assert (len(long.diff), long.diff[-1]) == (21, "… 101 more lines")
    assert one(Entry("/built", b""), Entry("/built", b"x\n")).diff == ("@@ -0,0 +1 @@", "+x")
    assert one(Entry("/built", b"x\n"), Entry("/built", b"y\n" * LARGEST_TEXT)).diff == ()


def test_one_entry_may_differ_in_several_ways() -> None:
    """Every way is told."""
    _, findings = compare_images(saved([FILE]), saved([replace(FILE, mode=0o600, uid=7, data=b"y\n")]))
    assert [finding.how for finding in findings] == ["content", "mode", "owner"]


def test_the_same_image() -> None:
    """Nothing to tell."""
    assert compare_images(saved([WEB], [FILE]), saved([WEB], [FILE])) == ("identical", ())


def test_another_compression() -> None:
    """Other manifests of the same configuration and layers are what two engine versions make."""
    long = Entry("/long", bytes(range(256)) * 400)
    before, after = saved([long], level=9), saved([long], level=1)
    assert before.manifest != after.manifest
    assert compare_images(before, after) == ("recompressed", ())


def test_a_configuration_that_lies_about_its_layers() -> None:
    """Layers are hashed, not believed: the same configuration over other content is a difference."""
    before = saved([FILE])
    after = replace(saved([replace(FILE, data=b"y\n")]), config=before.config, config_digest=before.config_digest)
    verdict, findings = compare_images(before, after)
    assert (verdict, [finding.path for finding in findings]) == ("different", ["/a"])


def test_another_order() -> None:
    """Layers of the same entries in another order are other layers."""
    verdict, (finding,) = compare_images(saved([FILE, WEB]), saved([WEB, FILE]))
    assert verdict == "different"
    assert (finding.path, finding.how, finding.after) == ("/a", "order", "/app/web.py comes here")


def test_another_form_of_archive() -> None:
    """Where all entries are alike and the digests still differ, that is said instead of nothing."""
    before = saved([WEB])
    other = replace(before.layers[0], diff_id="sha256:other")
    verdict, (finding,) = compare_images(before, replace(before, config_digest="sha256:x", layers=(other,)))
    assert (verdict, finding.how) == ("different", "archive")
    assert "only the form of the archive differs" in finding.diff[0]


@pytest.mark.parametrize(("before", "after", "how"), [(1, 2, "extra layer"), (2, 1, "missing layer")])
def test_another_number_of_layers(before: int, after: int, how: str) -> None:
    """A layer without a counterpart is told as a whole."""
    _, findings = compare_images(saved(*[[WEB]] * before), saved(*[[WEB]] * after))
    assert [finding.how for finding in findings if finding.layer] == [how]
    assert findings[0].layer == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"created": "2027-01-01T00:00:00Z"}, [("created", "value", "2026-11-21T00:00:00Z", "2027-01-01T00:00:00Z")]),
        (
            {"config": {"Env": ["PATH=/bin", "PORT=9"], "Labels": {"title": "shop"}}},
            [("config.Env.PORT", "value", "8000", "9")],
        ),
        (
            {"config": {"Env": ["PATH=/bin", "PORT=8000"], "User": "1"}},
            [("config.Labels.title", "missing", "shop", ""), ("config.User", "extra", "", "1")],
        ),
        (
            {"config": {"Env": ["PORT=8000", "PATH=/bin"], "Labels": {"title": "shop"}}},
            [("", "order", "the keys stand in another order", "")],
        ),
    ],
    ids=["date", "environment", "keys", "order"],
)
def test_configurations(changes: dict[str, Any], told: list[tuple[str, str, str, str]]) -> None:
    """Every key that differs is named by its path; the times that repeat `created` are not told again."""
    if "created" in changes:
        changes["history"] = [{"created": changes["created"], "created_by": "COPY layer1 /"}]
    verdict, findings = compare_images(saved([WEB]), saved([WEB], **changes))
    assert verdict == "different"
    assert [(finding.path, finding.how, finding.before, finding.after) for finding in findings] == told


def test_the_tip_is_for_the_most_telling_difference() -> None:
    """Bytecode is written after its sources: mending it comes first. A configuration has no such tip."""
    findings = [Difference(1, "", "/a", how) for how in ("content", "time", "bytecode")]
    assert "unchecked-hash" in suggest_hint(findings)
    assert "SOURCE_DATE_EPOCH" in suggest_hint(findings[:2])
    assert suggest_hint([Difference(0, "", "created", "value")]) == ""
