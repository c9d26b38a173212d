"""Figures: which runs they show, in which words, with which table."""

from typing import Any

from ledger import figures

Record = dict[str, Any]


def run(number: int, **more: Any) -> Record:
    """Return a record of a run; a higher number is a later one."""
    git = {"commit": f"{number:040x}", "tag": f"v{number}", "dirty": False}
    started = f"2026-01-{number:02d}T00:00:00Z"
    return {"id": f"{number:032x}", "started": started, "duration_seconds": float(number), "git": git, **more}


def built(number: int, *sizes: int, cached: int = 1) -> Record:
    """Return a build with layers of these sizes."""
    layers = [{"size_bytes": size, "created_by": f"COPY {place}"} for place, size in enumerate(sizes)]
    return run(number, image={"layers": layers}, cache={"steps": 4, "cached": cached})


def values(figure: figures.Figure | None) -> list[tuple[str, ...]]:
    """Return the rows of a figure's table."""
    assert figure
    return [(row.label, *row.values) for row in figure.rows]


def test_size_by_layer() -> None:
    """The newest is first in the table and last in the chart; a layer that is not there has no value."""
    found = figures.size_by_layer([built(2, 5_000_000, 2_000_000), built(1, 4_000_000)])
    assert values(found) == [("v2", "5.0 MB", "2.0 MB"), ("v1", "4.0 MB", "-")]
    assert found
    assert found.summary == "7.0 MB unpacked; 3.0 MB more than the one before and 3.0 MB more than the oldest shown"
    assert found.chart.index(">v1<") < found.chart.index(">v2<")
    assert [name for _, name in found.legend] == ["COPY 0", "COPY 1"]


def test_many_layers_are_put_together() -> None:
    """The largest are named, the others are one."""
    found = figures.size_by_layer([built(1, *range(1000, 9000, 1000))])
    assert found
    assert found.columns == ("COPY 7", "COPY 6", "COPY 5", "COPY 4", "COPY 3", "other layers")
    assert found.rows[0].values[-1] == "6.0 kB"
    assert found.summary.endswith("there is no earlier one to compare with")


def test_cold_builds_are_told_apart() -> None:
    """A build of which nothing came from the cache is cold; one that does not tell is warm."""
    found = figures.build_time([built(3, 1), built(2, 1, cached=0), run(1)])
    assert values(found) == [("v3", "3.0 s", "-"), ("v2", "-", "2.0 s"), ("v1", "1.0 s", "-")]
    assert found
    assert found.summary == "Last warm 3.0 s, last cold 2.0 s"


def test_start_time() -> None:
    """Runs in which the service was not tried are left out."""
    runs = [run(n, verify={"start_seconds": seconds}) for n, seconds in ((3, 0.5), (2, None), (1, 0.5))]
    found = figures.start_time(runs)
    assert values(found) == [("v3", "0.50 s"), ("v1", "0.50 s")]
    assert found
    assert found.summary.startswith("0.50 s to the first answer; the same as the one before")


def test_results_of_tests() -> None:
    """The summary names what there is."""
    found = figures.test_results([run(1, tests={"passed": 4, "failed": 0, "skipped": 2}), run(2)])
    assert values(found) == [("v1", "4", "0", "2")]
    assert found
    assert found.summary == "4 passed, 2 skipped in the last run"
    assert [name for _, name in found.legend] == ["passed", "skipped"]


def test_cache_hits() -> None:
    """In percent; a build without steps has none."""
    empty = run(1, cache={"steps": 0, "cached": 0})
    assert values(figures.cache_hits([built(2, 1, cached=3), empty])) == [("v2", "75 %")]


def test_vulnerabilities() -> None:
    """Those that are accepted do not count; an audit that found none is a point too."""
    one = {"severity": "high", "accepted": False}
    runs = [
        run(2, audit={"vulnerabilities": [one, one, {"severity": "low", "accepted": True}]}),
        run(1, audit={"vulnerabilities": []}),
    ]
    found = figures.vulnerabilities(runs)
    assert values(found) == [("v2", "0", "2", "0", "0", "0"), ("v1", "0", "0", "0", "0", "0")]
    assert found
    assert found.summary == "2 high in the last audit, 1 accepted"


def test_nothing_to_show() -> None:
    """No figure at all, and none of more than its bound."""
    makers = (figures.size_by_layer, figures.build_time, figures.start_time, figures.test_results, figures.cache_hits,
              figures.vulnerabilities)  # fmt: skip
    assert [make([]) for make in makers] == [None] * 6
    assert len(values(figures.build_time([built(1, 1)] * 50))) == figures.POINTS
