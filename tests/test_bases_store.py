"""The cache of bases and the engine's share in it."""

import json
from pathlib import Path

import pytest

from dockyard import files
from dockyard.bases import cache as store
from dockyard.bases import lookup
from dockyard.bases.cache import Record
from dockyard.errors import CommandError, DockyardError, EngineError
from dockyard.process import Completed
from tests.scripted_docker import Docker


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every base of these tests in a folder of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files.folder().mkdir(parents=True)
    return files.folder()


def record(cache: Path, content: bytes, python: str = "3.13") -> Record:
    """Return a base that was just made and kept, whose tree is `content`."""
    tree = cache / "tree"
    tree.write_bytes(content)
    made = cache / ".making"
    image = store.write_layout(tree, made, "amd64", "test", {})
    tree.unlink()
    return store.store_record(made, Record(python, f"{python}.1", "trixie", "amd64", "r1", {"libc6": "1"}, image, ""))


def answering(*answers: Completed | CommandError) -> Docker:
    """Return a Docker that gives these answers, one after the other."""
    docker, waiting = Docker(), list(answers)
    docker.says["docker"] = lambda _command: waiting.pop(0)
    return docker


def inspected(layer: str) -> Completed:
    """Return what `docker image inspect` says of an image with one layer, or without one of no image."""
    absent = "Error response from daemon: No such image"
    return (
        Completed(0, json.dumps([{"RootFS": {"Layers": [layer]}}]), "", 0.1) if layer else Completed(1, "", absent, 0.1)
    )


def test_kept_and_read(cache: Path) -> None:
    """What is kept is read again, and nothing half-made stays beside it."""
    kept = record(cache, b"one")
    assert store.read_record("3.13", "amd64") == kept
    assert store.read_record("3.13", "arm64") is None
    assert sorted(path.name for path in cache.iterdir()) == [kept.folder, "python-3.13-amd64.json"]


def test_a_newer_base_replaces_the_older(cache: Path) -> None:
    """One base per Python is kept; others' stay."""
    other = record(cache, b"one", "3.11")
    older, newer = record(cache, b"one"), record(cache, b"two")
    assert store.read_record("3.13", "amd64") == newer
    assert not (cache / older.folder).exists()
    assert store.read_record("3.11", "amd64") == other


def test_the_same_base_again(cache: Path) -> None:
    """Making the same image twice keeps one layout, whole."""
    assert record(cache, b"one") == record(cache, b"one")
    assert store.read_record("3.13", "amd64") is not None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"python": "3.13"}', '{"image": {"layer": 1}}', '{"image": []}']
)
def test_a_torn_record_counts_as_none(cache: Path, text: str) -> None:
    """A file that was damaged leads to a new base, not to a traceback."""
    record(cache, b"one")
    (cache / "python-3.13-amd64.json").write_text(text)
    assert store.read_record("3.13", "amd64") is None


def test_a_lost_layout_counts_as_none(cache: Path) -> None:
    """A record whose layout somebody deleted is no base."""
    kept = record(cache, b"one")
    (cache / kept.folder / "index.json").unlink()
    assert store.read_record("3.13", "amd64") is None


NAME = "dockyard-base/python:3.13-slim"


def test_an_engine_that_has_it_is_only_asked(cache: Path) -> None:
    """There is nothing to load."""
    kept = record(cache, b"one")
    ran = answering(inspected(kept.image.diff_id))
    store.load_images(ran.engine, {NAME: kept})
    assert [command.argv for command in ran.asked] == [("docker", "image", "inspect", NAME)]


@pytest.mark.parametrize("layer", ["", "sha256:older"])
def test_an_engine_that_lacks_it_gets_it(cache: Path, layer: str) -> None:
    """A base that the engine lacks, or has in another state, is loaded."""
    ran = answering(inspected(layer), Completed(0, "", "", 1.0))
    store.load_images(ran.engine, {NAME: record(cache, b"one")})
    assert ran.asked[1].argv == ("docker", "load", "--quiet")
    assert NAME.encode() in (ran.asked[1].input or b"")


def test_no_base_no_question() -> None:
    """Without a base there is nothing to ask an engine."""
    docker = Docker()
    store.load_images(docker.engine, {})
    assert docker.asked == []


def test_an_engine_that_refuses(cache: Path) -> None:
    """An engine with a full disk is named as the trouble, with its own words."""
    ran = answering(inspected(""), CommandError("exit", output="no space left on device"))
    with pytest.raises(EngineError, match="no space left on device"):
        store.load_images(ran.engine, {NAME: record(cache, b"one")})


@pytest.mark.parametrize("layouts", [True, False])
def test_base_of_a_record(cache: Path, layouts: bool) -> None:
    """An engine whose BuildKit reads layouts gets one; for another the image's name must do."""
    kept = record(cache, b"one")
    base = store.make_base(kept, layouts=layouts)
    assert base.digest == kept.image.config
    assert base.layout == (f"{cache / kept.folder}@{kept.image.manifest}" if layouts else "")


def test_what_a_registry_says_is_remembered() -> None:
    """Each reference is asked about once, briefly, and both digest and silence are recalled while they are fresh."""
    digest = "sha256:" + "a" * 64
    ran = answering(Completed(0, json.dumps({"digest": digest}), "", 0.1))
    answers = lookup.ask_registry(ran.engine, ["python:3.13-slim"])
    assert answers["python:3.13-slim"].digest == digest
    assert ran.asked[0].argv == (
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        "python:3.13-slim",
        "--format",
        "{{json .Manifest}}",
    )
    assert ran.asked[0].timeout == lookup.PATIENCE
    at = answers["python:3.13-slim"].at
    assert lookup.recall_answers(at + 1) == answers
    assert lookup.recall_answers(at + 10**6) == {}


@pytest.mark.parametrize("text", ["", "[]", "7", '{"x": 1}', '{"x": {"y": 1}}'])
def test_a_torn_memory_is_no_memory(cache: Path, text: str) -> None:
    """A damaged file of answers is as good as none."""
    (cache / lookup.MEMORY).write_text(text)
    assert lookup.recall_answers() == {}


@pytest.mark.parametrize(
    ("error", "reason", "absent"),
    [
        (CommandError("x", output="ERROR: python:3.99-slim: not found"), "python:3.99-slim: not found", True),
        (
            CommandError(
                "x", output='ERROR: failed to do request: Head "https://r/v2/": dial tcp: lookup r: no such host'
            ),
            "lookup r: no such host",
            False,
        ),
        (CommandError("docker did not finish"), "no answer within 5 s", False),
        (CommandError("docker is not installed", returncode=127), "docker is not installed", False),
    ],
)
def test_a_registry_without_an_answer(error: CommandError, reason: str, absent: bool) -> None:
    """Silence and an image that does not exist are told apart, in one short line."""
    ran = answering(error)
    answer = lookup.ask_registry(ran.engine, ["python:3.99-slim"])["python:3.99-slim"]
    assert (answer.digest, answer.reason, answer.absent) == ("", reason, absent)


def test_an_answer_that_is_no_json() -> None:
    """A proxy's web page is no digest."""
    ran = answering(Completed(0, "<html>", "", 0.1))
    assert "'<html>'" in lookup.ask_once(ran.engine, "python:3.13-slim").reason


def test_disk_trouble_is_told(tmp_path: Path) -> None:
    """A file that cannot be written is an error with its path, and a hint about folders."""
    with pytest.raises(DockyardError, match="somewhere") as caught, files.disk_errors():
        raise OSError(28, "No space left on device", "somewhere")
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_relative_cache_folder_is_ignored() -> None:
    """XDG says that a relative path is invalid; the default is taken then."""
    assert files.folder({"XDG_CACHE_HOME": "relative"}) == Path("~/.cache").expanduser() / "dockyard" / "bases"
