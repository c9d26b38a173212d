"""Which names a release gets, what it still lacks, when it is refused, and that running it again finishes it."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.bases.resolve import Missing
from dockyard.doctor import FAIL, OK, Row
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.git import VERSION_TAG, Git
from dockyard.image.build import Built, Request
from dockyard.image.names import Variant
from dockyard.process import Command, Completed
from dockyard.registry import sign
from dockyard.registry.client import Registry
from dockyard.registry.content import MANIFEST, Document, Repository
from dockyard.registry.push import Pushed
from dockyard.registry.sign import Signer
from dockyard.release import plan, preconditions, steps
from dockyard.release.plan import FOLDER, Actions, Journal, Names, ReleaseState, Shipped, Status, read_journal
from dockyard.release.preconditions import Local, find_section, parse_sections
from dockyard.settings import Settings
from dockyard.tasks import publish as task
from dockyard.verify import compare, matrix
from dockyard.verify.model import Case, Expected, Facts, Finding, ImageQuery, Severity, Verdict
from dockyard.verify.output import Report
from dockyard.verify.reproduce import Comparison
from tests.conftest import replace_everywhere
from tests.progress import LINES
from tests.scripted_docker import Docker
from tests.test_registry import ACCESS

REGISTRY = Registry(ACCESS)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA = COMMIT[:12]
GIT = Git(COMMIT, 1_700_000_000, "main", "v1.2.3")
ENGINE = Engine("host", "28.5.2", True, 2)
IMAGE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CHANGELOG = "# Changelog\n\n## [1.2.3] - 2026-11-21\n\n- A button.\n"
LOCAL = Local(GIT, versions=("1.2.3",), section=find_section(parse_sections(CHANGELOG), "1.2.3"))
ORDER = ["build", "verify", "reproduce", "test", "push", "attest", "tag", "move", "notes"]


@pytest.mark.parametrize(
    ("version", "tagged", "moving"),
    [
        ("1.2.3", (), ("1.2", "1", "latest")),
        ("1.2.3", ("1.2.3", "1.2.2", "0.9"), ("1.2", "1", "latest")),
        ("1.2.3", ("1.2.4",), ()),
        ("1.2.3", ("1.3.0",), ("1.2",)),
        ("1.2.10", ("1.2.9",), ("1.2", "1", "latest")),
        ("1.2.3", ("2.0.0",), ("1.2", "1")),
        ("1.2.3", ("2.0.0rc1", "1.2.4.dev1"), ("1.2", "1", "latest")),
        ("1.2.3", ("winter",), ("1.2", "1", "latest")),
        ("1.2.3rc1", (), ()),
        ("1.2.3-rc.1", (), ()),
        ("1.2.3.dev4", (), ()),
        ("1.2.3-next.4", (), ()),
        ("1.2.3.post1", ("1.2.3",), ("1.2", "1", "latest")),
        ("1.2", (), ("1", "latest")),
        ("1.2.1", ("1.2",), ("1", "latest")),
        ("2026.11.1", (), ("2026.11", "2026", "latest")),
    ],
)
def test_the_moving_names(version: str, tagged: tuple[str, ...], moving: tuple[str, ...]) -> None:
    """Each series follows its highest version, a candidate moves nothing, and a version's own name stays its own."""
    assert plan.choose_tags(version, COMMIT, tagged) == Names(version, SHA, moving)


def test_what_is_published_counts_like_what_is_tagged() -> None:
    """A clone that lacks a tag does not bring a series back; names that moved before are no rivals."""
    there = ("1.2", "1.2.4", "1", "latest", SHA, "1.2.9-test-py3.12", "1.2.8-dev")
    assert plan.choose_tags("1.2.3", COMMIT, (), there).moving == ()
    assert plan.choose_tags("1.2.4", COMMIT, (), there).moving == ("1.2", "1", "latest")


def test_a_build_number() -> None:
    """A plus sign cannot stand in a tag."""
    assert plan.choose_tags("1.2.3+7", COMMIT, ("1.2.3", "1.2.3+7")).own == "1.2.3-7"


def test_the_versions_among_tags() -> None:
    """Tags may be about anything."""
    tags = map(VERSION_TAG.fullmatch, ["v1.2.3", "2.0", "nightly", "v3", "release-4.0"])
    assert [tag[1] for tag in tags if tag] == ["1.2.3", "2.0"]


def statuses(state: ReleaseState) -> dict[str, Status]:
    """Return how it stands with each step."""
    return {step.name: step.status for step in plan.plan_steps(state)}


NAMES = Names("1.2.3", SHA, ("1.2", "latest"))


def test_the_plan_at_the_start() -> None:
    """Everything is to be done, and the names that people pull come last."""
    found = statuses(ReleaseState(NAMES, left_out={"sign": "no key"}))
    assert [name for name, status in found.items() if status is Status.DUE] == ORDER
    assert found["sign"] is Status.LEFT_OUT


def test_the_plan_in_the_middle() -> None:
    """What the registry has and what was passed is done; a series that is behind is not."""
    passed = frozenset({"verify", "reproduce", "test"})
    state = ReleaseState(NAMES, IMAGE, passed, {SHA: IMAGE, "1.2.3": IMAGE, "1.2": IMAGE, "latest": OTHER})
    assert [name for name, status in statuses(state).items() if status is Status.DUE] == [
        "attest",
        "sign",
        "move",
        "notes",
    ]


def test_the_steps_are_done_in_the_order_of_the_plan() -> None:
    """What is planned at a place is what is done there."""
    assert list(steps.STEPS) == [step.name for step in plan.plan_steps(ReleaseState(NAMES))]


def test_the_plan_at_the_end() -> None:
    """Nothing is due."""
    passed = frozenset({"verify", "reproduce", "test", "attest", "sign"})
    registry = dict.fromkeys(("1.2.3", SHA, "1.2", "latest"), IMAGE)
    state = ReleaseState(NAMES, IMAGE, passed, registry, noted=True)
    assert set(statuses(state).values()) == {Status.DONE}


def test_a_candidate_moves_nothing() -> None:
    """The step is shown as left out, with the reason."""
    found = plan.plan_steps(ReleaseState(Names("1.2.3rc1", SHA)))
    assert next(step.what for step in found if step.name == "move") == "no series ends with this version"


def test_the_plan_names_what_is_in_the_way() -> None:
    """Before the build nobody can tell whether the version in the registry is this one: it is shown."""
    found = plan.plan_steps(ReleaseState(NAMES, registry={"1.2.3": OTHER}))
    assert next(step.what for step in found if step.name == "tag") == f"1.2.3: in the registry as {OTHER}"


REFUSED = [
    (Local(None), "no git commit", "commit first"),
    (replace(LOCAL, git=replace(GIT, tag=None), next="1.3.0"), "commit 0123456789ab has no version", "git tag v1.3.0"),
    (replace(LOCAL, git=replace(GIT, tag="nightly")), "has no version tag", "git tag v1.2.3"),
    (replace(LOCAL, git=replace(GIT, dirty=True), changes=("a.py", "b.py")), "changes: a.py, b.py", "commit or stash"),
    (replace(LOCAL, git=replace(GIT, dirty=True), changes=tuple("1234567")), "1, 2, 3, 4, 5 and 2 more", "commit"),
    (replace(LOCAL, git=replace(GIT, dirty=True), changes=(".dockyard/",)), ".dockyard/", ".gitignore"),
    (replace(LOCAL, shallow=True), "shallow", "fetch-depth: 0"),
    (replace(LOCAL, registry=False), "no registry", "DOCKYARD_REGISTRY"),
    (replace(LOCAL, stale=("requirements/3.13/test.txt is missing",)), "stale: requirements", "invoke lock"),
    (replace(LOCAL, changelog=DockyardError("no section", "write it")), "no section", "write it"),
]


@pytest.mark.parametrize(("local", "message", "hint"), REFUSED, ids=[row[1] for row in REFUSED])
def test_refused(local: Local, message: str, hint: str) -> None:
    """Each reason has its own words, and says what to do."""
    with pytest.raises(DockyardError) as caught:
        preconditions.require_releasable(local)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_refused_for_several_reasons() -> None:
    """All are told at once: nobody mends one to meet the next."""
    with pytest.raises(DockyardError, match="for 2 reasons") as caught:
        preconditions.require_releasable(replace(LOCAL, shallow=True, stale=("x is missing",)))
    assert "\n- the locks are stale: x is missing\n  run `invoke lock`" in caught.value.message


def test_allowed() -> None:
    """A good commit has a version."""
    assert preconditions.require_releasable(LOCAL) == ("1.2.3", COMMIT, LOCAL.section)


def test_a_version_that_is_out_is_never_overwritten() -> None:
    """The error says both digests; until the image is built there is nothing to compare."""
    there = ReleaseState(NAMES, registry={"1.2.3": OTHER})
    plan.refuse_overwriting("shop", there)
    plan.refuse_overwriting("shop", replace(there, digest=OTHER))
    with pytest.raises(DockyardError, match="never overwritten") as caught:
        plan.refuse_overwriting("shop", replace(there, digest=IMAGE))
    assert IMAGE in caught.value.message
    assert OTHER in caught.value.message


INSPECTED = "Name: default\nDriver: docker\n\nNodes:\nPlatforms:  linux/amd64*, linux/amd64/v2\nLabels:\n"


def test_platforms_that_a_builder_lacks() -> None:
    """Without emulation another platform cannot be built: said before anything starts."""
    plan.refuse_platforms(INSPECTED, "", ("linux/amd64",))
    more = INSPECTED + "Platforms: linux/arm64\n"
    plan.refuse_platforms(more, "far", ("linux/amd64", "linux/arm64/v8"))
    with pytest.raises(DockyardError, match="linux/arm64 cannot be built here: the engine's own builder") as caught:
        plan.refuse_platforms(INSPECTED, "", ("linux/amd64", "linux/arm64"))
    assert "qemu-user-static" in caught.value.hint


@dataclass
class Yard:
    """A world to release in: a registry that is a dictionary, a builder that gives one image, steps that can die."""

    settings: Settings
    local: Local = LOCAL
    image: str = IMAGE
    registry: dict[str, str] = field(default_factory=dict)
    here: dict[str, str] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    configs: dict[str, str] = field(default_factory=lambda: {IMAGE: "config", OTHER: "another"})
    reproduced: compare.Likeness = "identical"
    rebuilt: str = ""
    dies_at: str = ""
    becomes: str = ""
    arrives: str = ""
    pushed_meanwhile: dict[str, str] = field(default_factory=dict)
    public: str = ""
    signatures: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)

    def actions(self) -> Actions:
        """Return what a release is to call: this world, in which no program starts."""
        return Actions(
            read_project=lambda _settings: self.local,
            require_ready=lambda _settings, _engine: self.looked.append("ready"),
            build_images=self.build,
            verify_image=self.verify,
            read_image=lambda _engine, _image: Facts(self.configs[self.image], {}, (), {}),
            reproduce_image=self.reproduce,
            run_matrix=self.test,
            preflight=lambda _engine, _references: None,
            open_repository=self.open_repository,
            push_variants=self.ship,
            verify_pushed=self.verify_pushed,
            attest_image=self.attest,
            explain_hindrance=self.explain_hindrance,
            unlock_key=self.unlock_key,
            has_signature=self.has_signature,
            sign_digest=self.sign,
        )

    def run(self, key: str = "", **settings: Any) -> Shipped:
        """Release, and return what was shipped; `did` holds this run's work alone."""
        self.did.clear()
        LINES.clear()
        return steps.make_release(self.settings._replace(**settings), key, engine=self.engine, actions=self.actions())

    def step(self, name: str) -> None:
        """Note some work, or die at it."""
        if name == self.dies_at:
            raise KeyboardInterrupt
        self.did.append(name)

    @property
    def engine(self) -> Engine:
        """Return an engine in which images have digests, and which builds for its own machine alone."""
        docker = Docker(cpus=2)
        docker.says = {"image": self.inspect, "buildx": INSPECTED}
        return docker.engine

    def inspect(self, command: Command) -> Completed:
        """Tell the digests of images."""
        found = [self.here.get(name, "") for name in command.argv[4:]]
        return Completed(int(not all(found)), "\n".join(found), "", 0.1)

    def build(self, settings: Settings, request: Request, *, engine: Engine) -> tuple[tuple[Built, ...], tuple[()]]:
        """Give the image its names, as a build does."""
        self.step(" ".join(("build", *request.platforms)))
        assert self.local.git
        for tag in ("1.2.3", self.local.git.commit[:12], "production"):
            self.here[f"{settings.repository if tag != 'production' else settings.image}:{tag}"] = self.image
        return (
            Built(Variant("production", settings.python), (), self.image, 1_000, (), 0.1, {"steps": 1, "cached": 0}),
        ), ()

    def verify(self, settings: Settings, asked: ImageQuery, *, engine: Engine) -> Report:
        """Judge the image."""
        self.step("verify")
        self.image = self.becomes or self.image
        verdict = Verdict((), self.findings)
        case = Case(Facts(self.image, {}, (), {}), Expected(asked.target, settings.python))
        return Report("shop:production", case, verdict, 0.1)

    def reproduce(self, _settings: Settings, _asked: ImageQuery, *, engine: Engine) -> Comparison:
        """Build once more."""
        self.step("reproduce")
        return Comparison("shop:production", self.reproduced, self.image, self.rebuilt or self.image, (), ())

    def test(
        self, _settings: Settings, _arguments: Sequence[str]
    ) -> tuple[tuple[matrix.Outcome, ...], tuple[Missing, ...]]:
        """Test on one Python."""
        self.step("test")
        return (matrix.Outcome("3.13", 1, 0, 0, 0.1, 0, "shop:test"),), ()

    def ship(self, _settings: Settings, wanted: Mapping[Variant, Sequence[str]], *, force: bool) -> tuple[Pushed, ...]:
        """Push: the registry has what the engine has."""
        names = [name for references in wanted.values() for name in references]
        for name in names:
            self.step(f"push {name.rpartition(':')[2]}")
            self.registry[name.rpartition(":")[2]] = self.here[name]
        self.registry.update(self.pushed_meanwhile)
        return tuple(Pushed(name, self.arrives or self.here[name], 1_000, 1, 0, 0, 0.1) for name in names)

    @contextmanager
    def open_repository(self, _engine: Engine, _name: str) -> Iterator["Shelf"]:
        """Answer as a registry."""
        yield Shelf(REGISTRY, "shop", self)

    def attest(self, _settings: Settings, _reference: str, *, engine: Engine) -> tuple[Document, ...]:
        """Attach nothing."""
        self.step("attest")
        return ()

    def explain_hindrance(self, key: str) -> str:
        """Let any key do, where there is one."""
        return "" if self.public else sign.explain_hindrance(key)

    def unlock_key(self, key: str, _environment: Mapping[str, str]) -> Signer:
        """Open the key."""
        return Signer(key, self.public, False)

    def has_signature(self, signer: Signer, pinned: str) -> bool:
        """Look for a signature by this key."""
        return signer.public + pinned in self.signatures

    def sign(self, signer: Signer, pinned: str) -> None:
        """Sign a digest."""
        self.step("sign")
        self.signatures.append(signer.public + pinned)

    def verify_pushed(self, _engine: Engine, reference: str, digest: str, **_more: Any) -> int:
        """Check the registry at the end."""
        assert self.registry[reference.rpartition(":")[2]] == digest
        return 1_000


@dataclass(frozen=True)
class Shelf(Repository):
    """A repository whose registry is a yard's."""

    yard: Yard

    def list_tags(self) -> tuple[str, ...]:
        """Return the names."""
        return tuple(self.yard.registry)

    def read_digests(self, tags: Iterable[str]) -> dict[str, str]:
        """Return the digests of those names that there are."""
        return {tag: self.yard.registry[tag] for tag in tags if tag in self.yard.registry}

    def add_tags(self, digest: str, tags: Iterable[str]) -> None:
        """Give an image more names."""
        for tag in tags:
            self.yard.step(f"push {tag}")
            self.yard.registry[tag] = digest

    def read_document(self, wanted: str) -> Document:
        """Return a manifest that names an image's content."""
        content = json.dumps({"config": {"digest": self.yard.configs[wanted]}})
        return Document(wanted, MANIFEST, content.encode())


@pytest.fixture
def yard(settings: Settings) -> Yard:
    """Return a world in which a release goes well."""
    return Yard(settings._replace(registry="registry.example"))


def test_a_release(yard: Yard) -> None:
    """All steps in their order; the registry has every name, the notes stand in a file."""
    shipped = yard.run()
    assert yard.did == [
        "build",
        "verify",
        "reproduce",
        "test",
        f"push {SHA}",
        "attest",
        "push 1.2.3",
        "push 1.2",
        "push 1",
        "push latest",
    ]
    assert yard.registry == dict.fromkeys((SHA, "1.2.3", "1.2", "1", "latest"), IMAGE)
    assert shipped.notes.read_text().startswith("# shop 1.2.3 (2026-11-21)\n\n- A button.\n")
    assert f"registry.example/shop@{IMAGE}" in shipped.notes.read_text()
    assert (shipped.digest, shipped.size, shipped.changed) == (IMAGE, 1_000, True)
    assert "the image will not be signed: no key is given (--key FILE or DOCKYARD_COSIGN_KEY)" in LINES


def test_again(yard: Yard) -> None:
    """A complete release is looked at, and left alone."""
    first = yard.run()
    assert yard.run() == replace(first, changed=False)
    assert yard.did == []


@pytest.mark.parametrize(
    "step", ["build", "verify", "reproduce", "test", f"push {SHA}", "push 1.2.3", "push 1", "push latest"]
)
def test_a_release_that_dies_is_finished_by_the_next(yard: Yard, step: str) -> None:
    """Wherever it dies, the second run does what is left, and nothing twice."""
    yard.dies_at = step
    with pytest.raises(KeyboardInterrupt):
        yard.run()
    before = list(yard.did)
    assert any("goes on from here" in line for line in LINES)
    yard.dies_at = ""
    yard.run()
    every = [
        "build",
        "verify",
        "reproduce",
        "test",
        f"push {SHA}",
        "attest",
        "push 1.2.3",
        "push 1.2",
        "push 1",
        "push latest",
    ]
    assert before == every[: every.index(step)]
    # The names of all series are one step: within it, one that did arrive is sent again where no answer came.
    assert [one for one in yard.did if one not in before] == every[every.index(step) :]
    assert not set(yard.did) & {"build", "verify", "reproduce", "test"} & set(before)
    assert yard.registry == dict.fromkeys((SHA, "1.2.3", "1.2", "1", "latest"), IMAGE)


def test_on_another_machine(yard: Yard) -> None:
    """Without a journal the checks are made again; what is in the registry is not sent again."""
    yard.run()
    (yard.settings.root / FOLDER / "1.2.3.json").unlink()
    yard.run()
    assert yard.did == ["build", "verify", "reproduce", "test", "attest"]


def test_another_commit_remembers_nothing(yard: Yard) -> None:
    """A tag that was moved before anything was pushed starts anew."""
    yard.run()
    yard.registry.clear()
    yard.local = replace(LOCAL, git=replace(GIT, commit="f" * 40))
    yard.run()
    assert yard.did[:5] == ["build", "verify", "reproduce", "test", f"push {'f' * 12}"]


def test_another_image_passes_its_own_checks(yard: Yard) -> None:
    """A base that was updated between two runs gives another image: what the first passed does not count for it."""
    yard.dies_at = f"push {SHA}"
    with pytest.raises(KeyboardInterrupt):
        yard.run()
    yard.dies_at, yard.image = "", OTHER
    yard.here.clear()
    assert yard.run().digest == OTHER
    assert yard.did[:4] == ["build", "verify", "reproduce", "test"]
    assert any("its checks begin anew" in line for line in LINES)


def test_a_version_that_is_another_image(yard: Yard) -> None:
    """Another configuration is another image: known after the build, and nothing is pushed."""
    yard.registry["1.2.3"] = OTHER
    with pytest.raises(DockyardError, match="never overwritten"):
        yard.run()
    assert yard.did == ["build"]
    assert yard.registry == {"1.2.3": OTHER}


def test_a_version_that_another_engine_has_compressed(yard: Yard) -> None:
    """The same configuration names the same content: the release is finished with what is out."""
    yard.registry["1.2.3"], yard.configs[OTHER] = OTHER, "config"
    assert yard.run().digest == OTHER
    assert yard.registry == dict.fromkeys((SHA, "1.2.3", "1.2", "1", "latest"), OTHER)
    assert any("compressed by another engine" in line for line in LINES)
    yard.run()
    assert yard.did == ["build"]


def test_a_version_that_somebody_else_pushes_meanwhile(yard: Yard) -> None:
    """The registry is asked again right before the version gets its name."""
    yard.pushed_meanwhile = {"1.2.3": OTHER}
    with pytest.raises(DockyardError, match="never overwritten"):
        yard.run()
    assert yard.registry == {"1.2.3": OTHER, SHA: IMAGE}


def test_violations_stop_it(yard: Yard) -> None:
    """An image that breaks the policy is not pushed; each violation is said."""
    yard.findings = (Finding("root", Severity.ERROR, "runs as root", ""),)
    with pytest.raises(DockyardError, match=r"the image breaks the policy \(violations: 1\)"):
        yard.run()
    assert "  root: runs as root" in LINES
    assert yard.registry == {}


def test_a_build_that_is_not_reproducible_stops_it(yard: Yard) -> None:
    """Nobody could check such an image: it is not pushed."""
    yard.reproduced, yard.rebuilt = "different", OTHER
    with pytest.raises(DockyardError, match="a build without cache gives another image") as caught:
        yard.run()
    assert OTHER in caught.value.message
    assert yard.registry == {}


def test_what_a_release_needs_is_looked_at_once_and_first(yard: Yard) -> None:
    """A complete release needs nothing more: it is not even looked for."""
    yard.run()
    yard.run()
    assert yard.looked == ["ready"]


GOOD_DISK, FULL_DISK = Row("disk", OK, "x"), Row("disk", FAIL, "1.0 MB free for the cache", "free some")
UNREADY: dict[str, tuple[tuple[str, ...], Row, str]] = {
    "all is there": ((), GOOD_DISK, ""),
    "no base to test on": (("3.12",), GOOD_DISK, "Python 3.12 cannot be tested here: no base"),
    "no base to ship on": (("3.13",), GOOD_DISK, "Python 3.13, which ships, cannot be built here: no base"),
    "an untested one that may be": (("3.11",), GOOD_DISK, ""),
    "no room": ((), FULL_DISK, "there is no room for a release: 1.0 MB free for the cache"),
}


@pytest.mark.parametrize(("lost", "disk", "message"), UNREADY.values(), ids=UNREADY)
def test_what_a_later_step_would_lack_is_said_at_the_start(
    settings: Settings, lost: tuple[str, ...], disk: Row, message: str
) -> None:
    """Before minutes of building and testing."""
    (settings.root / "Dockerfile").write_text("FROM x AS production\nFROM x AS test\n")
    wanted = settings._replace(pythons=("3.11", "3.12", "3.13"), untested_pythons=("3.11",))

    def ensure(*_given: object, heed: Callable[[Missing], None], run: bool) -> None:
        assert not run
        for python in lost:
            heed(Missing(python, "no base"))

    def look() -> None:
        preconditions.require_ready(wanted, ENGINE, ensure=ensure, look=lambda _use, _path: disk)

    if not message:
        look()
        return
    with pytest.raises(DockyardError) as caught:
        look()
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_a_target_that_a_later_step_would_lack(settings: Settings) -> None:
    """The tests run in one of their own."""
    (settings.root / "Dockerfile").write_text("FROM x AS production\n")
    with pytest.raises(DockyardError, match="no target 'test'"):
        preconditions.require_ready(settings, ENGINE)


def test_every_platform_is_verified(yard: Yard) -> None:
    """Each alone, then all are one image again."""
    yard.run(platforms=("linux/amd64", "linux/amd64/v2"))
    both = "build linux/amd64 linux/amd64/v2"
    assert yard.did[:6] == [both, "build linux/amd64", "verify", "build linux/amd64/v2", "verify", both]


def test_an_image_that_changes_while_its_platforms_are_verified(yard: Yard) -> None:
    """What was verified is what is pushed, or nothing is."""
    yard.becomes = OTHER
    with pytest.raises(DockyardError, match=f"was {IMAGE} before its platforms were verified, and {OTHER} after"):
        yard.run(platforms=("linux/amd64", "linux/amd64/v2"))
    assert yard.registry == {}


def test_a_name_that_another_build_took(yard: Yard) -> None:
    """The content that arrived is not what was verified: no version gets it."""
    yard.arrives = OTHER
    with pytest.raises(DockyardError, match=f"was pushed as {OTHER}, where {IMAGE} was built"):
        yard.run()
    assert "1.2.3" not in yard.registry


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b"\xff", "cannot be read")])
def test_a_changelog_that_cannot_be_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    """It is the source of the notes, so it is asked for before anything is built."""
    replace_everywhere(monkeypatch, "read_git", lambda _root: Git("f" * 40, 1))
    monkeypatch.setattr(preconditions, "_git", lambda _root, *_arguments: "")
    if content is not None:
        (settings.root / "CHANGELOG.md").write_bytes(content)
    found = preconditions.read_project(settings).changelog
    assert found is not None
    assert said in found.message


def test_an_old_image_store(yard: Yard) -> None:
    """An engine that cannot tell a digest before a push is of no use here: said at once."""
    old = replace(ENGINE, snapshotter=False)
    with pytest.raises(DockyardError, match="containerd's store"):
        steps.inspect_release(yard.settings, "", engine=old, actions=yard.actions())


def test_a_signature_comes_before_the_version(yard: Yard) -> None:
    """Whoever pulls a version finds it signed; a second run signs nothing, with another key it does."""
    yard.public = "one"
    yard.run("cosign.key")
    assert yard.did.index(f"push {SHA}") < yard.did.index("sign") < yard.did.index("push 1.2.3")
    assert yard.signatures == [f"oneregistry.example/shop@{IMAGE}"]
    yard.run("cosign.key")
    assert yard.did == []
    yard.public = "two"
    yard.run("cosign.key")
    assert yard.did == ["sign"]


def test_a_signature_that_is_there_already(yard: Yard) -> None:
    """Another machine may have signed it."""
    yard.public, yard.signatures, yard.registry = "one", [f"oneregistry.example/shop@{IMAGE}"], {SHA: IMAGE}
    yard.run("cosign.key")
    assert "sign" not in yard.did


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"commit": "x"}', json.dumps({"commit": "f" * 40, "digest": IMAGE, "passed": ["test"]})],
    ids=["empty", "list", "cut", "other", "other commit"],
)
def test_a_journal_of_no_use(tmp_path: Path, content: str) -> None:
    """What cannot be read, or is about another commit, is forgotten."""
    file = tmp_path / "1.json"
    assert read_journal(file, COMMIT) == Journal()
    file.write_text(content)
    assert read_journal(file, COMMIT) == Journal()


def test_the_table_and_the_json(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    """People get a row per tag, and last the name that never changes; machines get the same as JSON."""
    shipped = yard.run()
    task.print_shipped(shipped)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"registry.example/shop@{IMAGE}"
    assert [line.split()[0] for line in lines if IMAGE in line][:-1] == ["1.2.3", "1.2", "1", "latest", SHA]
    found = task.describe_shipped(shipped)
    assert found["image"] == f"registry.example/shop@{IMAGE}"
    assert found["tags"][0] == {
        "tag": "1.2.3",
        "reference": "registry.example/shop:1.2.3",
        "digest": IMAGE,
        "size_bytes": 1_000,
    }
    assert found["signed"] is False


def test_the_plan_is_shown(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run shows what is done and what is not, and does nothing."""
    yard.dies_at = "push 1.2.3"
    with pytest.raises(KeyboardInterrupt):
        yard.run()
    yard.did.clear()
    job, state = steps.inspect_release(yard.settings, "", engine=yard.engine, actions=yard.actions())
    task.show_plan(job, state, json=True)
    found = {step["name"]: step["status"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert (found["push"], found["sign"], found["tag"]) == ("done", "left out", "to do")
    task.show_plan(job, state, json=False)
    assert "registry.example/shop 1.2.3, commit 0123456789ab" in capsys.readouterr().out
    assert yard.did == []
