"""Locks from a package index on loopback: what is made, what is said, and that nothing half-made is left."""

import _thread
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dockyard.bases import resolve
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.locks import compile as compiling
from dockyard.locks.check import check_project, lock_path
from dockyard.locks.compile import Outcome, make_locks, write_outcome
from dockyard.locks.pins import Pin, parse_pins
from dockyard.locks.plan import Wish
from dockyard.process import Command, capture
from dockyard.settings import Settings

from .package_index import PASSWORD, USER, Index, serving, wait_for
from .registry_process import Authority, Programs

RESOLVERS = ("pip-tools", "uv")
INPUTS = {
    "base": "webapp>=1\n",
    "production": "-r base.in\nserver\n",
    "test": '-r base.in\nchecker[fast] ; python_version >= "3.9"\nnever ; python_version < "3"\n',
}


def stocked() -> Index:
    """Return an index with a few projects that need one another."""
    index = Index()
    for version in ("1.0", "1.1"):
        index.add("webapp", version, "router>=1", sdist=True)
    index.add("webapp", "2.0", "router", yanked=True)
    for version in ("1.0", "1.5"):
        index.add("router", version, sdist=True)
    index.add("server", "3.0", stated=False)
    index.add("checker", "0.9", 'speed>=1 ; extra == "fast"', "router")
    index.add("speed", "1.2.3")
    return index


@pytest.fixture
def index() -> Iterator[Index]:
    """Serve a well stocked index."""
    with serving(stocked()) as running:
        yield running


@dataclasses.dataclass(frozen=True)
class Watched(Engine):
    """An engine that notes which marks the lock containers of this test have, since others make locks beside it."""

    marks: set[str] = dataclasses.field(default_factory=set)

    def command(self, *argv: str, **options: Any) -> Command:
        """Return a command, and note the mark of a container that it starts."""
        self.marks.update(word for word in argv if word.startswith(f"{compiling.LABEL}="))
        return super().command(*argv, **options)


def watch(engine: Engine) -> Watched:
    """Return an engine whose lock containers are noted."""
    return Watched(engine.kind, engine.version, engine.snapshotter, engine.cpus, engine.environment)


@dataclasses.dataclass
class Yard:
    """A project of one Python, with an engine to lock it."""

    settings: Settings
    engine: Watched

    def write(self, index: Index, **inputs: str) -> None:
        """Write the inputs; all packages come from one index."""
        (self.settings.root / "requirements").mkdir(exist_ok=True)
        for name, text in {**INPUTS, **inputs}.items():
            first = f"--index-url {index.address}\n" if name == "base" or "-r base.in" not in text else ""
            (self.settings.root / f"requirements/{name}.in").write_text(first + text)

    def write_plain(self) -> None:
        """Write the inputs without an index: the settings name one."""
        (self.settings.root / "requirements").mkdir(exist_ok=True)
        for name, text in INPUTS.items():
            (self.settings.root / f"requirements/{name}.in").write_text(text)

    def with_settings(self, **settings: object) -> Settings:
        """Return the project's settings with some of them changed."""
        return self.settings._replace(**settings)  # type: ignore[arg-type]

    def lock(self, wish: Wish | None = None, **settings: str) -> Outcome:
        """Make the locks and write them."""
        asked = self.with_settings(**settings)
        outcome = make_locks(asked, wish or Wish(), self.engine)
        write_outcome(asked, outcome)
        if outcome.failed:
            raise outcome.failed
        return outcome

    def tree(self) -> dict[str, bytes]:
        """Return every file of the project."""
        files = (path for path in self.settings.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.settings.root)): path.read_bytes() for path in files}

    def pins(self, purpose: str) -> dict[str, Pin]:
        """Return the pins of a lock by name."""
        text = (self.settings.root / lock_path(self.settings.python, purpose)).read_text()
        return {pin.name: pin for pin in parse_pins(text)}

    def containers(self) -> str:
        """Return the lock containers of this project that exist."""
        listing = ("ps", "--all", "--quiet", "--filter")
        return "".join(capture(self.engine.command(*listing, f"label={mark}")).stdout for mark in self.engine.marks)


@pytest.fixture(scope="session")
def tools(engine: Engine, project: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put the compilers into their volumes, which needs the real index; every test below needs only its own."""
    one = project._replace(root=tmp_path_factory.mktemp("tools"), pythons=(project.python,), index_url="")
    with serving(stocked()) as index:
        yard = Yard(one, watch(engine))
        yard.write(index)
        for resolver in RESOLVERS:
            yard.lock(Wish(everything=True), resolver=resolver)


@pytest.fixture
def yard(
    engine: Engine, project: Settings, tmp_path: Path, tools: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Yard]:
    """Return a project in a folder of its own; afterwards no container of a lock may be left."""
    monkeypatch.setattr(compiling, "TIMEOUT", 2)
    monkeypatch.setattr(compiling, "RETRIES", 0)
    monkeypatch.setattr(compiling, "PAUSES", ())
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    root = tmp_path / "project"
    root.mkdir()
    made = Yard(project._replace(root=root, pythons=(project.python,), index_url=""), watch(engine))
    yield made
    assert made.containers() == ""
    assert not [path for path in made.tree() if "/." in path and not path.startswith(".dockyard/")]


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_locks_hold_what_the_index_has(yard: Yard, index: Index, resolver: str) -> None:
    """Newest versions but the yanked one, all files' hashes whether stated or not, one version in every lock."""
    yard.write(index)
    yard.lock(resolver=resolver)
    production, test = yard.pins("production"), yard.pins("test")
    assert {name: pin.version for name, pin in production.items()} == {
        "router": "1.5",
        "server": "3.0",
        "webapp": "1.1",
    }
    assert sorted(test) == ["checker", "router", "speed", "webapp"]
    assert test["router"].version == production["router"].version
    expected = {f"sha256:{file.digest}" for file in index.files if file.name.startswith("webapp-1.1")}
    assert set(production["webapp"].hashes) == expected
    assert len(expected) == 2
    assert production["server"].hashes == (f"sha256:{index.files[-3].digest}",)
    assert check_project(yard.settings._replace(resolver=resolver)) == ()


def test_both_compilers_write_the_same(yard: Yard, index: Index) -> None:
    """But for the line that names the compiler, and the fingerprints of other locks that nobody changed."""
    yard.write(index)
    yard.lock(resolver="pip-tools")
    by_pip_tools = yard.tree()
    yard.lock(Wish(everything=True), resolver="uv")
    by_uv = {path: text.replace(b"# by: uv 0.13.8", b"# by: pip-tools 7.6.2") for path, text in yard.tree().items()}
    assert by_uv == by_pip_tools


def test_a_compile_after_a_compile_changes_nothing(yard: Yard, index: Index) -> None:
    """Nothing is stale, and an upgrade that finds nothing newer writes the same bytes."""
    yard.write(index)
    assert len(yard.lock().files) == 3
    before = yard.tree()
    assert not yard.lock().files
    assert not yard.lock(Wish(everything=True)).files
    assert yard.tree() == before


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_pins_are_kept_until_an_upgrade_is_asked_for(yard: Yard, index: Index, resolver: str) -> None:
    """A new release changes nothing by itself; one package moves alone, or to a wanted version, or all move."""
    yard.write(index)
    yard.lock(resolver=resolver)
    index.add("router", "1.6")
    index.add("webapp", "1.2", "router")
    yard.write(index, test=INPUTS["test"] + "speed\n")
    assert not yard.lock(resolver=resolver).changes
    moved = yard.lock(Wish(packages=("router",)), resolver=resolver).changes
    assert [(each.package, each.before, each.after, each.step) for each in moved] == [("router", "1.5", "1.6", "minor")]
    assert len(moved[0].locks) == 3
    back = yard.lock(Wish(packages=("router==1.0",)), resolver=resolver).changes
    assert [(each.after, each.step) for each in back] == [("1.0", "minor back")]
    every = yard.lock(Wish(everything=True), resolver=resolver).changes
    assert [(each.package, each.after) for each in every] == [("router", "1.6"), ("webapp", "1.2")]


@pytest.fixture
def secure(programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """Serve an index with a password and a certificate that only its own authority vouches for."""
    authority = Authority(programs.openssl, tmp_path / "authority").make()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    (tmp_path / "netrc").write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n')
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    made = stocked()
    made.password = PASSWORD
    with serving(made, authority.issue()) as running:
        yield running


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_private_index_is_reached_and_its_password_stays_home(
    yard: Yard, secure: Index, resolver: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through TLS with a private authority and a login from netrc; no file and no output holds the password."""
    yard.write(secure)
    yard.lock(resolver=resolver)
    assert yard.pins("production")["webapp"].version == "1.1"
    written = b"".join(yard.tree().values()) + "".join(capfd.readouterr()).encode()
    assert PASSWORD.encode() not in written
    assert (
        f"--index-url {secure.address}\n" in (yard.settings.root / lock_path(yard.settings.python, "test")).read_text()
    )


def test_a_password_from_a_variable_stays_a_variable(
    yard: Yard, secure: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock repeats ${NAME}, so that an install expands it again."""
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("INDEX_WORD", PASSWORD.replace("@", "%40").replace(" ", "%20").replace("#", "%23"))
    secure.address = secure.address.replace("//", f"//{USER}:${{INDEX_WORD}}@")
    yard.write(secure)
    yard.lock()
    assert "${INDEX_WORD}@127.0.0.1" in (yard.settings.root / lock_path(yard.settings.python, "test")).read_text()
    assert not [path for path, text in yard.tree().items() if b"p%40ss" in text]


def _wrong_password(index: Index, _monkeypatch: pytest.MonkeyPatch) -> None:
    index.password = "another"


def _wrong_authority(_index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize(
    ("harm", "reason"), [(_wrong_password, r"401|[Uu]nauthorized"), (_wrong_authority, r"(?i)certificate")]
)
def test_a_closed_index_says_why(  # noqa: PLR0917 - fixtures and parameters
    yard: Yard,
    secure: Index,
    resolver: str,
    harm: Callable[[Index, pytest.MonkeyPatch], None],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong password and an authority that nobody trusts are told as such, and not as a missing package."""
    yard.write(secure)
    harm(secure, monkeypatch)
    before = yard.tree()
    with pytest.raises(DockyardError, match=reason) as caught:
        yard.lock(resolver=resolver)
    assert "127.0.0.1" in caught.value.message
    assert PASSWORD not in caught.value.message + caught.value.hint
    assert yard.tree() == before


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (
            {"test": "-r base.in\nrouter<1.5\n"},
            "test.in:2 asks for router<1.5, but the lock for production has router==1.5",
        ),
        ({"base": "webapp\nrouter<1\n"}, "base.in:3 asks for router<1, and no index has that"),
        ({"base": "webapp\nrouter==1.0\n", "test": "-r base.in\nchecker\nrouter>1.0\n"}, "router"),
        ({"base": "nosuch\n"}, "base.in:2 asks for nosuch, and no index has that"),
        ({"base": "web app\n"}, "requirements/base.in:2: not a requirement"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(
    yard: Yard, index: Index, inputs: dict[str, str], sentence: str
) -> None:
    """Two packages, a version or a name: the line of the input, the other side, and no lock changed."""
    yard.write(index)
    yard.lock()
    yard.write(index, **inputs)
    before = yard.tree()
    with pytest.raises(DockyardError) as caught:
        yard.lock()
    assert sentence in caught.value.message
    assert yard.tree() == before


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_an_index_that_stalls_is_named(yard: Yard, index: Index, resolver: str) -> None:
    """A connection that gives nothing is given up after the timeout."""
    index.stalls.add("router")
    yard.write(index)
    with pytest.raises(DockyardError, match=r"(?i)127\.0\.0\.1.*(?:time|respond)"):
        yard.lock(resolver=resolver)
    assert not list(yard.settings.root.rglob("*.txt"))


def test_a_corrupted_file_is_named(yard: Yard, index: Index) -> None:
    """What is not what the index said it is never becomes a lock."""
    index.corrupt.add("webapp-1.1-py3-none-any.whl")
    yard.write(index)
    with pytest.raises(DockyardError, match=r"webapp-1\.1-py3-none-any\.whl is not what the index says"):
        yard.lock()
    assert not list(yard.settings.root.rglob("*.txt"))


def test_a_file_that_is_gone_is_named(yard: Yard, index: Index) -> None:
    """A page that promises a file which the index has no more."""
    page = index.page("router") or ""
    index.files = [file for file in index.files if not file.name.startswith("router-")]
    index.page = lambda name: page if name == "router" else Index.page(index, name)  # type: ignore[method-assign]
    yard.write(index)
    with pytest.raises(DockyardError, match=r"router.*404"):
        yard.lock()


def test_an_interrupt_leaves_locks_and_engine_as_they_were(yard: Yard, index: Index) -> None:
    """Ctrl-C while a container waits for the index: the container is gone, every lock is the old one."""
    yard.write(index)
    yard.lock()
    before = yard.tree()
    index.asked.clear()
    index.stalls.add("router")

    def press() -> None:
        wait_for(index, "/router/")
        _thread.interrupt_main()

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        yard.lock(Wish(everything=True))
    pressing.join()
    assert yard.engine.marks
    assert yard.containers() == ""
    assert yard.tree() == before


def test_settings_of_the_host_do_not_reach_the_lock(yard: Yard, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIP_ and UV_ variables of a shell change nothing."""
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL", "PIP_CONSTRAINT", "PIP_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    yard.write(index)
    yard.lock()
    assert yard.pins("production")["router"].version == "1.5"


def test_a_python_without_a_base_gets_the_same_locks_from_uv(
    yard: Yard, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by uv from another Python's base, a lock holds what pip-tools would have written."""
    yard.write(index)
    yard.lock()
    real = resolve.ensure_bases

    def ensure(
        settings: Settings, engine: Engine, pythons: list[str]
    ) -> tuple[tuple[resolve.Base, ...], tuple[resolve.Missing, ...]]:
        found, missing = real(settings, engine, [python for python in pythons if python != "3.12"])
        return found, (*missing, *(resolve.Missing(python, "not here") for python in pythons if python == "3.12"))

    monkeypatch.setattr(resolve, "ensure_bases", ensure)
    both = yard.settings._replace(pythons=(yard.settings.python, "3.12"))
    outcome = make_locks(both, Wish(), yard.engine)
    write_outcome(both, outcome)
    assert list(yard.settings.root.glob("requirements/3.12/*.txt"))
    for purpose in INPUTS:
        here, there = ((both.root / lock_path(python, purpose)).read_text() for python in both.pythons)
        assert there.split("\n\n")[1] == here.split("\n\n")[1]
    assert check_project(both) == ()


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_lookup_that_fails_once_is_tried_again(
    yard: Yard, index: Index, resolver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that stalls for a while costs a pause; one that goes on stalling costs no lock made before."""
    monkeypatch.setattr(compiling, "PAUSES", (0.1, 0.1))
    yard.write(index)
    index.stalls.add("checker")
    with pytest.raises(DockyardError, match=r"(?s)test\.txt cannot be made: .*127\.0\.0\.1") as caught:
        yard.lock(resolver=resolver)
    assert "try again" in caught.value.hint
    made = sorted(path for path in yard.tree() if path.endswith(".txt"))
    assert [path.rpartition("/")[2] for path in made] == ["base.txt", "production.txt"]

    def mend() -> None:
        wait_for(index, "/checker/")
        index.stalls.clear()

    index.asked.clear()
    mending = threading.Thread(target=mend)
    mending.start()
    yard.lock(resolver=resolver)
    mending.join()
    assert "checker" in yard.pins("test")
    assert check_project(yard.settings._replace(resolver=resolver)) == ()
