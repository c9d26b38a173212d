"""Two runs compared, the time line of one, and the grid of tests."""

from typing import Any

from ledger import comparison, grid, timeline
from ledger.comparison import Change


def image(layers: dict[str, tuple[int, str | None]], **packages: str) -> dict[str, Any]:
    """Return a record with layers by their instruction, and Python packages."""
    told = [{"created_by": name, "size_bytes": size, "digest": digest} for name, (size, digest) in layers.items()]
    known = [{"name": name, "version": version, "type": "python"} for name, version in packages.items()]
    return {"duration_seconds": 10.0, "image": {"layers": told, "packages": known}}


def test_what_grew() -> None:
    """Only what one of both has measured; the change is told as an amount and a share."""
    before = image({"a": (1_000_000, None)}) | {"tests": {"passed": 3, "failed": 0}}
    after = image({"a": (1_500_000, None)}) | {"verify": {"start_seconds": 0.5, "violations": 0}}
    assert comparison.compare_measures(before, after) == [
        Change("duration", "10 s", "10 s", "same"),
        Change("size, unpacked", "1.0 MB", "1.5 MB", "500 kB more, +50 %"),
        Change("layers", "1", "1", "same"),
        Change("tests passed", "3", "-", ""),
        Change("tests failed", "0", "-", ""),
        Change("first answer", "-", "0.50 s", ""),
        Change("violations", "-", "0", ""),
    ]


def test_packages_that_moved() -> None:
    """Which came, went, or have another version, and which way that is; numbers count as numbers."""
    before = image({}, flask="3.9", gone="1", same="2", odd="a")
    after = image({}, flask="3.10", new="1", same="2", odd="b")
    assert comparison.compare_packages(before, after) == [
        Change("flask (python)", "3.9", "3.10", "up"),
        Change("gone (python)", "1", "-", "removed"),
        Change("new (python)", "-", "1", "added"),
        Change("odd (python)", "a", "b", "changed"),
    ]
    assert comparison.compare_packages(after, before)[0].step == "down"


def test_layers_that_changed() -> None:
    """By their digests; where these are not told, by size. Two layers of one instruction are two."""
    before = image({"same": (9, "x"), "new": (9, "x"), "size": (9, None), "gone": (9, "x")})
    after = image({"same": (9, "x"), "new": (9, "y"), "size": (9, "y"), "come": (1009, "x")})
    assert [(one.what, one.step) for one in comparison.compare_layers(before, after)] == [
        ("same", "same"), ("new", "changed"), ("size", "same size"), ("come", "added"), ("gone", "removed"),
    ]  # fmt: skip
    twice = {"image": {"layers": [{"created_by": "", "size_bytes": size} for size in (1, 2)]}}
    more = {"image": {"layers": [{"created_by": "", "size_bytes": size} for size in (1, 2002)]}}
    assert [(one.what, one.step) for one in comparison.compare_layers(twice, more)] == [
        ("base image", "same size"), ("base image", "changed, 2.0 kB more"),
    ]  # fmt: skip


def step(name: str, started: float, seconds: float, **more: Any) -> dict[str, Any]:
    """Return a step as a record has it."""
    return {"name": name, "started_seconds": started, "duration_seconds": seconds, **more}


def test_a_time_line() -> None:
    """In the order of the starts, in percent of the run; what is short can still be seen, and none leaves the line."""
    steps = [step("b", 5, 5, outcome="failed"), step("a", 0, 5, cached=True), step("c", 10, 0)]
    found = timeline.lay_out(steps, 10.0)
    assert [(one.name, one.start, one.width, one.state) for one in found] == [
        ("a", 0.0, 50.0, "cached"), ("b", 50.0, 50.0, "failed"), ("c", 99.6, 0.4, "ran"),
    ]  # fmt: skip
    assert timeline.lay_out([step("a", 0, 20)], 10.0)[0].width == 100.0
    assert timeline.lay_out([step("a", 0, 0)], 0.0)[0].start == 0.0
    assert timeline.lay_out([], 1.0) == []


def result_of(commit: str, python: str | None, outcome: str = "passed", *, dirty: bool = False) -> dict[str, Any]:
    """Return the record of a test run."""
    git = {"commit": commit * 40, "dirty": dirty, "branch": "main", "tag": None}
    return {"python": python, "git": git, "outcome": outcome, "started": "2026-01-01T00:00:00Z"}


def test_the_grid_of_tests() -> None:
    """The newest run of each Python and commit counts; Pythons are sorted by their numbers."""
    runs = [result_of("b", "3.9"), result_of("b", "3.13"), result_of("a", "3.9", "failed"), result_of("a", "3.9")]
    found = grid.make_grid(runs)
    assert found.pythons == ("3.13", "3.9")
    assert [(line.label, sorted(line.cells)) for line in found.lines] == [
        ("bbbbbbbb", ["3.13", "3.9"]), ("aaaaaaaa", ["3.9"]),
    ]  # fmt: skip
    assert found.lines[1].cells["3.9"]["outcome"] == "failed"


def test_changes_that_were_not_committed_stand_apart() -> None:
    """And so does what was tested outside of git; the grid is bounded."""
    found = grid.make_grid(
        [result_of("a", "3.9", dirty=True), result_of("a", "3.9"), {**result_of("a", None), "git": None}]
    )
    assert [line.label for line in found.lines] == ["aaaaaaaa with changes", "aaaaaaaa", "no commit"]
    many = [{**result_of("a", "3.9"), "git": {"commit": f"{number:040x}"}} for number in range(99)]
    assert len(grid.make_grid(many).lines) == grid.COMMITS
