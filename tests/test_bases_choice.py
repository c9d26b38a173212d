"""Where a base image comes from is decided without asking more often than needed."""

import pytest

from dockyard.bases.lookup import ANSWER_SECONDS, SILENCE_SECONDS, Answer, Base, local_name, reference
from dockyard.bases.resolve import Known, choose_source, summarize_sources

YES = Answer(digest="sha256:" + "a" * 64)
NO = Answer(reason="no such host")
PIN = "sha256:" + "b" * 64


@pytest.mark.parametrize(
    ("mode", "known", "choice"),
    [
        pytest.param("debian", Known(pin=PIN, answer=YES), "debian", id="debian is obeyed"),
        pytest.param("registry", Known(pin=PIN), "registry", id="a pin needs no question"),
        pytest.param("registry", Known(answer=YES), "registry", id="an answer lately given counts"),
        pytest.param("registry", Known(made=True), "ask", id="registry never becomes packages"),
        pytest.param("registry", Known(answer=NO), "ask", id="registry asks again after silence"),
        pytest.param("auto", Known(), "ask", id="auto knows nothing"),
        pytest.param("auto", Known(made=True), "debian", id="what was made is kept"),
        pytest.param("auto", Known(made=True, answer=YES), "debian", id="what was made is kept although one answers"),
        pytest.param("auto", Known(pin=PIN, made=True), "ask", id="a pin goes before what was made"),
        pytest.param("auto", Known(pin=PIN, answer=YES), "registry", id="a pin that the registry has"),
        pytest.param("auto", Known(pin=PIN, made=True, answer=NO), "debian", id="silence leads to packages"),
        pytest.param("auto", Known(answer=YES), "registry", id="auto prefers a registry"),
    ],
)
def test_choice_without_asking(mode: str, known: Known, choice: str) -> None:
    """Each setting and state leads to one choice."""
    assert choose_source(mode, known) == choice


@pytest.mark.parametrize(("answer", "seconds"), [(YES, ANSWER_SECONDS), (NO, SILENCE_SECONDS)])
def test_answers_grow_old(answer: Answer, seconds: int) -> None:
    """A digest counts for a day, silence for minutes, and an answer from the future not at all."""
    assert answer.fresh(seconds - 1)
    assert not answer.fresh(seconds)
    assert not answer.fresh(-1)


def test_summary_names_both_sources() -> None:
    """One line says which Pythons come from where, and why the registry was passed over."""
    said = summarize_sources({"3.12": "registry", "3.13": "debian", "3.14": "debian"}, "no such host")
    assert said == "base images: Python 3.12 from the registry; 3.13, 3.14 from Debian packages (no such host)"


def test_context_is_a_layout_where_there_is_one() -> None:
    """BuildKit reads a base from the cache where it can, because it looks an engine's image up in a registry first."""
    base = Base("3.13", reference("3.13"), "debian", local_name("3.13"), "sha256:1", "/cache/python@sha256:2")
    assert base.context == "oci-layout:///cache/python@sha256:2"
    plain = Base("3.13", reference("3.13"), "debian", local_name("3.13"), "sha256:1")
    assert plain.context == "docker-image://dockyard-base/python:3.13-slim"
