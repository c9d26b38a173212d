"""The program that runs inside the containers, and its shortcuts through pip-tools."""

import importlib.metadata
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging import specifiers, version

from dockyard.locks import check
from dockyard.payload import lock, resolvers

PAGES = {
    "https://host/simple/a/": [
        "a-1.0.tar.gz",
        "a-1.0-py3-none-any.whl",
        "a-1.0.0-cp313-cp313-linux.whl",
        "a-2.0-py3-none-any.whl",
    ],
}


class Repository:
    """pip-tools' class, as far as the shortcuts reach: it hashes by downloading."""

    def _get_file_hash(self, link: Any) -> str:
        return f"sha256:downloaded {link.filename}"

    def _get_project(self, _requirement: Any) -> dict[str, str]:
        return {"asked": "the index for JSON"}

    def get_hashes(self, requirement: Any) -> set[str]:
        """Hash every file that may be of a version."""
        page = self.collector.fetch_response(SimpleNamespace(url="https://host/simple/a/"))
        links = sys.modules["pip._internal.index.package_finder"].parse_links(page)
        return {self._get_file_hash(link) for link in links}

    def __init__(self, collector: Any) -> None:
        self.collector = collector


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Put stand-ins in the place of pip's and pip-tools' modules; count what is fetched and parsed."""
    seen = SimpleNamespace(fetched=[], parsed=[], say="")

    class LinkCollector:
        """pip's class: it fetches a page, and says in its log when it cannot."""

        def fetch_response(self, location: Any) -> Any:
            """Return a page or nothing."""
            seen.fetched.append(location.url)
            logger.debug("Getting page %s", location.url)
            if seen.say:
                logger.debug("Could not fetch URL %s: %s - skipping", location.url, seen.say)
                return None
            return SimpleNamespace(url=location.url, content=b"page")

    def parse_links(page: Any) -> list[Any]:
        seen.parsed.append(page.url)
        return [SimpleNamespace(filename=name, hash_name="sha256", hash=f"{name}#") for name in PAGES[page.url]]

    class Fresh(Repository):
        """A class of its own for each test, since the shortcuts replace its methods."""

    logger = logging.getLogger("pip._internal.index.collector")
    modules: dict[str, dict[str, Any]] = {
        "piptools.repositories.pypi": {"PyPIRepository": Fresh},
        "pip._internal.index.package_finder": {"parse_links": parse_links},
        "pip._internal.index.collector": {"LinkCollector": LinkCollector},
        "pip._vendor.packaging.version": {"Version": version.Version, "InvalidVersion": version.InvalidVersion},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    seen.repository = Fresh(LinkCollector())
    yield seen
    logger.filters.clear()
    logger.setLevel(logging.NOTSET)


def requirement(text: str) -> Any:
    """Return a pinned requirement."""
    return SimpleNamespace(specifier=specifiers.SpecifierSet(text))


def test_hashes_come_from_the_links_of_the_version_and_nothing_is_downloaded(pip: SimpleNamespace) -> None:
    """The index states each hash; a wheel of another version is not looked at, an sdist always is."""
    resolvers.Shortcuts().take()
    assert pip.repository.get_hashes(requirement("==1.0")) == {
        f"sha256:{name}#" for name in PAGES["https://host/simple/a/"][:3]
    }
    assert pip.repository._get_project(None) is None


def test_a_page_is_fetched_and_parsed_once_for_all_locks(pip: SimpleNamespace) -> None:
    """All locks of a run see one state of the index, at the price of one."""
    resolvers.Shortcuts().take()
    for text in ("==1.0", "==2.0", "==1.0"):
        assert pip.repository.get_hashes(requirement(text))
    assert pip.fetched == pip.parsed == ["https://host/simple/a/"]


@pytest.mark.parametrize("said", ["401 Client Error: Unauthorized", "connection error: refused"])
def test_an_index_that_does_not_answer_ends_the_compile(pip: SimpleNamespace, said: str) -> None:
    """A lock must not depend on which of two indexes was there that day."""
    resolvers.Shortcuts().take()
    pip.say = said
    with pytest.raises(resolvers.UnreachableError, match=said):
        pip.repository.get_hashes(requirement("==1.0"))


def test_an_index_without_the_package_does_not(pip: SimpleNamespace) -> None:
    """With two indexes, each has 404 for what the other has."""
    resolvers.Shortcuts().take()
    pip.say = "404 Client Error: Not Found for url: x"
    with pytest.raises(AttributeError):  # the stand-in goes on with the page that is not there
        pip.repository.get_hashes(requirement("==1.0"))


def test_a_file_without_a_stated_hash_is_hashed_as_ever(pip: SimpleNamespace) -> None:
    """Folders of files and plain indexes state none."""
    resolvers.Shortcuts().take()
    link = SimpleNamespace(filename="a-1.0.tar.gz", hash_name=None, hash=None)
    assert pip.repository._get_file_hash(link) == "sha256:downloaded a-1.0.tar.gz"


def test_a_pip_tools_of_another_shape_is_left_alone(pip: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the methods it knows, the program takes no shortcut, and everything works as upstream made it."""
    monkeypatch.delattr(Repository, "_get_project")
    monkeypatch.delattr(sys.modules["pip._internal.index.package_finder"], "parse_links")
    before = type(pip.repository)._get_file_hash
    resolvers.Shortcuts().take()
    assert type(pip.repository)._get_file_hash is before


@pytest.mark.parametrize(
    ("package", "file", "names"),
    [
        ("piptools", "repositories/pypi.py", ("_get_file_hash", "_get_project", "get_hashes")),
        ("pip", "_internal/index/package_finder.py", ("process_project_url", "find_all_candidates")),
        ("pip", "_internal/index/collector.py", ("parse_links", "fetch_response")),
    ],
)
def test_pip_and_pip_tools_have_the_known_shape(package: str, file: str, names: tuple[str, ...]) -> None:
    """The installed versions, which are those that tools/ pins or older, define what the shortcuts replace."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    source = (Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8")
    assert [name for name in names if f"def {name}(" not in source] == []


def test_the_compiler_is_the_one_that_headers_name() -> None:
    """The version in a header, the one in tools/ and the one that tests run with are the same."""
    assert importlib.metadata.version("pip-tools") == check.PIP_TOOLS.removeprefix("pip-tools ")


def test_constraints_are_bare_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock made a moment ago and one that stays both become constraints without hashes; a wish comes last."""
    monkeypatch.chdir(tmp_path)
    text = "a==1 \\\n    --hash=sha256:aa\n    # via b\nc @ https://x/c.zip\n"
    done = {"base": {"texts": {"linux/amd64": text, "linux/arm64": text.replace("a==1", "a==2")}}}
    machines = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
    asked = {
        "environments": {name: {"markers": {"platform_machine": machine}} for name, machine in machines.items()},
        "agreed": {"production": ["d==4", 'f==6 ; platform_machine == "aarch64"']},
        "wanted": ["e==5"],
    }
    for name, pins in (("linux/amd64", ["d==4\n", "a==1\n"]), ("linux/arm64", ["d==4\nf==6\n", "a==2\n"])):
        names = lock.constraint_files({"agrees_with": ["production", "base"]}, asked, done, name)
        assert [Path(file).read_text() for file in names] == [*pins, "e==5\n"]


def test_trouble_of_the_network_is_tried_again_with_pauses() -> None:
    """As often as there are pauses; any other failure, and the last one, is told at once."""
    slept: list[float] = []

    def work(failures: list[bool]) -> str:
        if failures:
            raise resolvers.FailedError("test", "said", {"transient": failures.pop(0)})
        return "made"

    request = {"pauses": [3, 10]}
    assert lock.patiently(request, lambda: work([]), slept.append) == "made"
    twice = [True, True]
    assert lock.patiently(request, lambda: work(twice), slept.append) == "made"
    assert slept == [3, 10]
    thrice, lasting = [True, True, True], [False, True]
    for failures in (thrice, lasting):
        with pytest.raises(resolvers.FailedError):
            lock.patiently(request, lambda failures=failures: work(failures), slept.append)  # type: ignore[misc]
    assert slept == [3, 10, 3, 10]
    assert lasting == [True]


def test_a_page_that_could_not_be_fetched_is_asked_for_again(pip: SimpleNamespace) -> None:
    """A second try asks the index, and not what the first one remembers."""
    resolvers.Shortcuts().take()
    pip.say = "connection error: refused"
    with pytest.raises(resolvers.UnreachableError):
        pip.repository.get_hashes(requirement("==1.0"))
    pip.say = ""
    assert pip.repository.get_hashes(requirement("==1.0"))


def test_what_pip_blames_is_found_behind_other_errors() -> None:
    """The resolver's error stands at the end of a chain; a requirement of a person comes with its line."""
    source = SimpleNamespace(comes_from="-r requirements/test.in (line 2)")

    class Wanted:
        """A requirement as pip's resolver holds it."""

        def get_candidate_lookup(self) -> tuple[None, Any]:
            """Return no explicit candidate, and the line."""
            return None, source

        def __str__(self) -> str:
            return "click<8"

    parent = SimpleNamespace(name="flask", version="3.1")
    inner = RuntimeError("impossible")
    vars(inner)["causes"] = [
        SimpleNamespace(requirement=Wanted(), parent=None),
        SimpleNamespace(requirement=Wanted(), parent=parent),
    ]
    outer = ValueError("outer")
    outer.__cause__ = inner
    assert list(resolvers.find_blamed(outer)) == [
        {"what": "click<8", "by": "", "line": "-r requirements/test.in (line 2)"},
        {"what": "click<8", "by": "flask 3.1", "line": ""},
    ]
    assert list(resolvers.find_blamed(ValueError("alone"))) == []


def test_only_errors_of_the_network_are_network_trouble() -> None:
    """What pip says of its connections is told as such; a conflict is not."""
    assert resolvers.explain_network(resolvers.UnreachableError("no answer")) == "no answer"
    assert resolvers.explain_network(ValueError("conflict")) == ""
    error = type("Timeout", (Exception,), {"__module__": "pip._internal.exceptions.network"})()
    vars(error).update(message="Unable to [magenta]fetch[/] x", context="h didn't respond")
    assert resolvers.explain_network(error) == "Unable to fetch x: h didn't respond"


def test_output_is_kept_in_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """While a compiler runs, standard output belongs to the answer; what it prints goes to its log."""
    with lock.logged(tmp_path / "log") as log:
        sys.stdout.write("quiet\n")
        sys.stdout.flush()
    sys.stdout.write("loud\n")
    sys.stdout.flush()
    assert resolvers.read(log) in ("quiet\n", "")
    assert "loud" in capfd.readouterr().out


def test_the_names_of_files_come_from_the_links_they_were_hashed_by(pip: SimpleNamespace) -> None:
    """A hash that a lock holds can be told to be of a wheel for some platform, or of an sdist."""
    taken = resolvers.Shortcuts()
    taken.take()
    digests = pip.repository.get_hashes(requirement("==1.0"))
    assert {taken.hashed[digest] for digest in digests} == set(PAGES["https://host/simple/a/"][:3])


PYLOCK = """
lock-version = "1.0"
[[packages]]
name = "a"
sdist = { url = "https://host/a-1.tar.gz", hashes = { sha256 = "11" } }
wheels = [
    { url = "https://host/x/a-1%2Bcpu-py3-none-any.whl?signed=y", hashes = { sha256 = "22" } },
    { name = "a-1-py2-none-any.whl", url = "https://host/4711", hashes = { sha256 = "33" } },
]
[[packages]]
name = "b"
archive = { url = "https://host/b.zip", hashes = { sha256 = "44" } }
[[packages]]
name = "c"
wheels = [{ path = "wheels/c-1-py3-none-any.whl", hashes = { sha256 = "55" } }]
"""


def test_the_names_of_files_are_read_from_what_uv_writes() -> None:
    """Archives, wheels, addresses and paths of a pylock.toml; a name that it states counts."""
    assert resolvers.named_in(PYLOCK) == {
        "sha256:11": "a-1.tar.gz",
        "sha256:22": "a-1+cpu-py3-none-any.whl",
        "sha256:33": "a-1-py2-none-any.whl",
        "sha256:44": "b.zip",
        "sha256:55": "c-1-py3-none-any.whl",
    }
