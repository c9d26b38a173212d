"""The pure parts of the benchmarks: statistics, aims, tables, chart and changed locks."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import aims  # noqa: E402
import chart  # noqa: E402
import images  # noqa: E402
import packing  # noqa: E402

import samples as benchmark  # noqa: E402
from dockyard.errors import CommandError  # noqa: E402
from tests.integration import three_commands  # noqa: E402
from tests.integration.three_commands import Story  # noqa: E402

SAMPLES = {
    "size": {"pip": [125e6], "uv": [120e6], "compiled": [135e6], "dockyard": [31e6]},
    "start": {"pip": [2.0, 1.0, 9.0], "uv": [1.0, 1.2, 1.1], "compiled": [0.7, 0.6, 0.8], "dockyard": [0.5, 0.6, 0.7]},
    "dependency": {"uv": [10.0], "dockyard": [7.0]},
    "source": {"dockyard": [1.2], "copy": [1.0], "container": [1.1]},
    "nothing": {"dockyard": [1.0]},
}


def verdicts() -> dict[tuple[str, str], bool]:
    """Return what the samples above reach."""
    return {(one.measure, one.aim): one.reached for one in aims.judge(SAMPLES)}


def test_medians_and_bests() -> None:
    """A disturbed round moves neither; a recipe without values has none."""
    assert aims.medians(SAMPLES)["start"]["pip"] == 2.0
    assert aims.bests(SAMPLES)["start"]["pip"] == 1.0
    assert aims.medians({"start": {"pip": []}}) == {"start": {}}


def test_aims() -> None:
    """Each compares with the best of those that it names, and reaching the limit is enough."""
    assert verdicts() == {
        ("size", "at most 31 MB"): True,
        ("start", "equal to the best of the others"): True,
        ("dependency", "at most 0.55 of the best of the others"): False,
        ("source", "at most 1.6 of a bare COPY"): True,
    }


@pytest.mark.parametrize(("ours", "equal"), [([0.4], True), ([0.55], True), ([0.57], False)])
def test_equal_is_no_further_apart_than_the_others_own_times(ours: list[float], equal: bool) -> None:
    """Two runs of one image differ too: the middle half of the best one's lies within 0.06 here."""
    others = {"pip": [0.9, 0.9], "compiled": [0.4, 0.47, 0.5, 0.53, 0.9]}
    (verdict,) = aims.judge({"start": {**others, "dockyard": ours}})
    assert (verdict.reached, round(verdict.limit, 3)) == (equal, 0.56)


def test_an_aim_without_a_comparison_is_left_out() -> None:
    """With --only nothing is claimed that was not measured."""
    assert aims.judge({"dependency": {"dockyard": [1.0]}}) == ()
    assert aims.judge({}) == ()


def test_table() -> None:
    """A column per recipe and a row per measure; the best stands in brackets where there was a choice."""
    assert aims.header(SAMPLES) == ["", "pip", "uv", "compiled", "dockyard", "copy", "container"]
    rows = {row[0]: row[1:] for row in aims.rows(SAMPLES)}
    assert rows["pulled"] == ["125.0 MB", "120.0 MB", "135.0 MB", "31.0 MB", "", ""]
    assert rows["start to first answer"][0] == "2.00 s (1.00)"
    assert "of it, since the process began" not in rows


def test_table_of_aims() -> None:
    """Numbers with their units, and the word that matters."""
    row = aims.verdict_rows([aims.Verdict("size", "at most 35 MB", 36e6, 35e6)])
    assert row == [("pulled", "at most 35 MB", "36.0 MB", "35.0 MB", "fail")]


def test_chart_is_well_formed_and_knows_both_schemes() -> None:
    """One bar per number, ours in another colour, a line where the aim lies, colours for dark pages."""
    drawn = chart.draw(SAMPLES)
    root = ElementTree.fromstring(drawn)
    bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(bars) == sum(len(of) for of in SAMPLES.values())
    assert sum(one.attrib["class"] == "bar ours" for one in bars) == len(SAMPLES)
    assert drawn.count("<line") == 4
    assert "prefers-color-scheme: dark" in drawn
    right = max(float(one.attrib["x"]) + float(one.attrib["width"]) for one in bars)
    assert right <= chart.WIDTH - chart.NUMBERS + 0.1


def test_the_line_of_an_aim_goes_through_no_number() -> None:
    """A bar that ends just before the line has its number behind it."""
    drawn = chart.panel(aims.Measure("size", "pulled", "B"), {"pip": 100e6, "dockyard": 30e6}, 35e6, 0)
    line = float(ElementTree.fromstring(f"<svg>{drawn}</svg>").find("line").attrib["x1"])  # type: ignore[union-attr]
    ours = [one for one in ElementTree.fromstring(f"<svg>{drawn}</svg>").iter("text") if one.text == "30.0 MB"]
    assert [float(one.attrib["x"]) for one in ours] == [pytest.approx(line + 6, abs=0.1)]


def test_a_failed_measurement_is_made_again(said: list[str]) -> None:
    """The failure is told and not counted; what fails every time ends the run."""
    outcomes: list[CommandError | float] = [
        CommandError("exit status 1", output="Collecting x\nthe index is silent\n"),
        2.0,
    ]

    def take() -> float:
        outcome = outcomes.pop(0)
        if isinstance(outcome, CommandError):
            raise outcome
        return outcome

    assert packing.again(take, said.append) == 2.0
    assert said == ["  failed, and not counted: the index is silent"]
    outcomes.extend(CommandError("x") for _ in range(packing.ATTEMPTS))
    with pytest.raises(CommandError):
        packing.again(take, said.append)


def test_chart_of_nothing() -> None:
    """No number is no reason to fail."""
    ElementTree.fromstring(chart.draw({}))


def test_words_in_the_chart_are_no_markup() -> None:
    """A heading may have any sign."""
    assert chart.text(1, 2, "a < b", "title", end=True).count("&lt;") == 1


def test_page() -> None:
    """Tables, picture and what it ran on, with no braces left."""
    page = chart.page(SAMPLES, {"engine": "26.1.5, 2 CPUs"}, "benchmarks.svg")
    assert "- engine: 26.1.5, 2 CPUs" in page
    assert "](benchmarks.svg)" in page
    assert "| pulled | at most 31 MB | 31.0 MB | 31.0 MB | pass |" in page
    assert "runs nothing but `cp` takes 1.10 of a bare COPY" in page
    assert "{" not in page
    assert chart.ratio_of_container({"source": {"copy": [1.0]}}) == "?"
    assert chart.markdown(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |"


LOCK = "# by uv\nalembic==1 \\\n    --hash=sha256:aa\n    # via app\nblinker==2 \\\n    --hash=sha256:bb\n"


def test_blocks() -> None:
    """Every entry of the list of changes, without its heading."""
    assert packing.changed_blocks(LOCK) == [
        "alembic==1 \\\n    --hash=sha256:aa\n    # via app",
        "blinker==2 \\\n    --hash=sha256:bb",
    ]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("alembic==9 \\\n    --hash=x", "# by uv\nalembic==9 \\\n    --hash=x\nblinker==2 \\\n    --hash=sha256:bb\n"),
        ("blinker==9", LOCK.replace("blinker==2 \\\n    --hash=sha256:bb", "blinker==9")),
    ],
)
def test_a_changed_lock(block: str, expected: str) -> None:
    """One entry is replaced, wherever it stands, and nothing else."""
    assert packing.with_block(LOCK, block) == expected


def test_every_listed_change_is_another_version() -> None:
    """Each fits the lock of the app, and no two are the same, or a cache would know one of them."""
    lock = (packing.APP / "requirements.txt").read_text()
    blocks = packing.changed_blocks((packing.APP / "changes.txt").read_text())
    assert len({block.split()[0] for block in blocks}) == len(blocks) > 9
    assert all(packing.with_block(lock, block) != lock for block in blocks)


def test_turns() -> None:
    """Another recipe is first in every round."""
    assert [packing.rotated(("a", "b", "c"), number) for number in (0, 1, 3)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["a", "b", "c"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stamp", "seconds"), [("1970-01-01T00:00:01.500000001Z", 1.500000001), ("1970-01-01T00:01:00Z", 60.0)]
)
def test_stamps(stamp: str, seconds: float) -> None:
    """Engines write nine places after the point, or none."""
    assert packing.seconds_of(stamp) == pytest.approx(seconds)


def test_every_recipe_has_its_file_and_ours_fits_the_dockerfile(tmp_path: Path) -> None:
    """Ours is the repository's own Dockerfile: what it copies is in the context."""
    for recipe in (*aims.RECIPES, *aims.YARDSTICKS):
        packing.make_context(BENCHMARKS.parent, tmp_path / recipe.name, recipe.name, run="seven")
        assert (tmp_path / recipe.name / "Dockerfile").is_file()
        assert packing.lock_files(tmp_path / recipe.name)
    ours = tmp_path / aims.OURS
    assert "source=src/shop,target=/app/shop" in (ours / "Dockerfile").read_text()
    assert (ours / "src" / "shop").is_dir()
    assert "COPY src/dockyard/payload /" in (ours / "Dockerfile").read_text()
    payload = ours / "src" / "dockyard" / "payload"
    assert (payload / "__main__.py").is_file()
    assert (payload / "files.py").read_text().count('(layer / ".run").write_text("seven")\n') == 1
    assert len(packing.lock_files(ours)) == 2


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "x"], ["--only", "nix"], ["--nonsense"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage is told, with the code for it, before an engine is looked for."""
    with pytest.raises(SystemExit) as caught:
        images.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_run_can_be_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --json writes, --from reads; a missed aim is exit 1."""
    first, again = tmp_path / "first.json", tmp_path / "again.json"
    first.write_text(json.dumps(aims.document(SAMPLES, {"engine": "x"})))
    assert images.main(["--from", str(first), "--json", str(again)]) == 1
    assert again.read_text().split() == json.dumps(aims.document(SAMPLES, {"engine": "x"}), indent=1).split()
    assert "one dependency changed" in capsys.readouterr().out


def story(init: float, up: float) -> Story:
    """Return what a sample took that had no trouble."""
    seconds = {"init": init, "up": up, "lock": 1.5, "again": 3.0, "verify": 2.0, "tests": 9.0, "answer": 0.42}
    lines = {"Dockerfile": 60, "compose.yaml": 20, "compose.production.yaml": 15, "requirements/test.in": 5}
    return Story(lines=lines, seconds=seconds, size=20_440_000, tests=1)


def test_a_sample_has_a_row() -> None:
    """Clone to healthy is init and up together; both Compose files count."""
    row = benchmark.describe(three_commands.ALL[0], story(0.2, 8.1))
    assert row["sample"] == "single"
    assert (row["lines written"], row["Dockerfile"], row["Compose"], row["to edit"]) == ("100", "60", "35", "0")
    assert (row["clone to healthy"], row["to pull"], row["first answer"]) == ("8.3 s", "20.4 MB", "0.4 s")


def test_rows_are_replaced_one_by_one() -> None:
    """A sample that is walked again takes its old row's place; the others stay, in their order; so does the page."""
    page = "# Samples\n\n<!-- samples -->\n<!-- end of samples -->\n\nThe end.\n"
    single, factory = three_commands.ALL[:2]
    slow = benchmark.write_rows(page, {"factory": benchmark.describe(factory, story(1, 59))}, "Two cores.")
    both = benchmark.write_rows(slow, {"single": benchmark.describe(single, story(1, 9))}, "Two cores.")
    again = benchmark.write_rows(both, {"factory": benchmark.describe(factory, story(1, 19))}, "Two cores.")
    assert both.startswith("# Samples\n\n<!-- samples -->\nFrom clone to healthy the median sample takes 35.0 s")
    assert [line.split()[1] for line in again.splitlines() if line.startswith("|")][2:] == ["single", "factory"]
    assert "median sample takes 15.0 s; the aim is at most 60 s. 2 of 2 need no edit.\nTwo cores." in again
    assert " 60.0 s " not in again
    assert again.endswith("<!-- end of samples -->\n\nThe end.\n")


@pytest.mark.parametrize(
    ("stories", "failed", "code"),
    [
        ({"single": story(1, 59)}, {}, 0),
        ({"single": story(1, 59.5)}, {}, 1),
        ({"single": story(1, 9)}, {"npm": "it broke"}, 1),
        ({}, {}, 1),
    ],
    ids=["at the aim", "above the aim", "one failed", "nothing walked"],
)
def test_the_exit_code_says_whether_the_aim_is_reached(
    stories: dict[str, Story], failed: dict[str, str], code: int
) -> None:
    """The median may be at most 60 s, and no sample may fail."""
    assert benchmark.judge(stories, failed) == code


def test_every_sample_is_walked() -> None:
    """Each folder below tests/samples is in the list, and those of the core are too."""
    names = {path.name for path in three_commands.SAMPLES.iterdir() if path.is_dir()}
    assert {sample.name for sample in three_commands.ALL} == names


def test_no_build_knows_an_earlier_one(tmp_path: Path) -> None:
    """What builds run and where they keep packages is another one each time."""
    for name in ("payload", "adopt"):
        (tmp_path / name).mkdir()
    recipe = tmp_path / "adopt" / "dockerfiles.py"
    recipe.write_text("--mount=type=cache,id=dockyard,target=/root\n")
    for token in ("aa", "bb"):
        benchmark.forget_builds(tmp_path, token)
        assert recipe.read_text() == f"--mount=type=cache,id=dockyard-{token},target=/root\n"
        assert (tmp_path / "payload" / ".run").read_text() == token
