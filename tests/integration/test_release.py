"""Releases to a real registry: whole, died half-way, refused, and never over what is out already."""

import gzip
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from dockyard.deploy.destination import Destination
from dockyard.deploy.steps import EVIDENCE, require_evidence
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.host import ca_bundle
from dockyard.process import Command, capture
from dockyard.registry import client, documents
from dockyard.registry import push as pushing
from dockyard.registry.content import open_repository
from dockyard.registry.errors import RegistryError
from dockyard.release import steps as release
from dockyard.release.plan import FOLDER, Job, ReleaseState, Shipped, Status, plan_steps
from dockyard.settings import Settings, load
from tests.progress import LINES

from .registry_process import Authority, Programs, Relay, RunningRegistry, Shape, login, running

VERSION = "0.0.1"
COPIED = ("src", "docs/reference", "requirements/3.13")
CHANGELOG = f"# Changelog\n\n## [Unreleased]\n\n## [{VERSION}] - 2026-11-21\n\n### Added\n\n- All of it.\n"
TASKS = """\
from invoke.collection import Collection

from dockyard.tasks.publish import release

ns = Collection(release)
"""
TEST = '"""A test."""\n\n\ndef test_nothing() -> None:\n    """Nothing is wrong."""\n'
DATE = "2026-11-21T00:00:00Z"
COSIGN = f"""\
#!{sys.executable}
import json, os, pathlib, sys

verb, *rest = sys.argv[1:]
kept = pathlib.Path(__file__).with_suffix(".json")
signed = json.loads(kept.read_text()) if kept.exists() else []
if verb == "version":
    print(json.dumps({{"gitVersion": "v2.4.1"}}))
elif verb == "public-key":
    if os.environ.get("COSIGN_PASSWORD") != "open sesame":
        sys.exit("Error: reading key: decrypt: encrypted: decryption failed")
    print("-----BEGIN PUBLIC KEY-----\\nMFkw\\n-----END PUBLIC KEY-----")
elif "--help" in rest:
    print("cosign sign: no option that this stand-in would miss")
elif verb == "sign":
    kept.write_text(json.dumps([*signed, rest[-1]]))
else:
    sys.exit(rest[-1] not in signed)
"""
"""Stands in for cosign: opens its key with one password, and remembers what it has signed."""


@dataclass
class Port:
    """A project of its own and a registry behind a relay, so that it can go away and come back at one address."""

    settings: Settings
    engine: Engine
    registry: RunningRegistry
    relay: Relay

    def release(self, key: str = "") -> Shipped:
        """Release; `said` holds what this run said alone."""
        LINES.clear()
        return release.make_release(self.settings, key, engine=self.engine)

    def steps(self) -> dict[str, Status]:
        """Return how it stands with every step, as a dry run shows it."""
        _, state = release.inspect_release(self.settings, "", engine=self.engine)
        return {step.name: step.status for step in plan_steps(state)}

    def tags(self) -> dict[str, str]:
        """Return what the registry has, without the tags that list what is attached."""
        with open_repository(self.engine, self.settings.repository) as there:
            return there.read_digests(tag for tag in there.list_tags() if not tag.startswith("sha256-"))

    def begun(self) -> list[str]:
        """Return the steps that the last run began."""
        names = [line.partition(":")[0] for line in LINES]
        return [name for name in names if name in release.STEPS]

    def git(self, *arguments: str) -> str:
        """Run git in the project."""
        return git(self.settings.root, *arguments)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Let nothing listen where the registry was."""
        there, self.relay.target = self.relay.target, 1
        try:
            yield
        finally:
            self.relay.target = there


def git(root: Path, *arguments: str) -> str:
    """Run git as nobody in particular, at a time that never changes."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in WHO.items()}
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    return capture(Command(("git", *arguments), cwd=root, env={**who, **alone})).stdout.strip()


WHO = {"NAME": "Nobody", "EMAIL": "nobody@example.org", "DATE": DATE}


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Yield a monkeypatch for the whole module."""
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture(scope="module")
def port(
    project: Settings,
    engine: Engine,
    programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
    patch: pytest.MonkeyPatch,
) -> Iterator[Port]:
    """Yield a copy of this project with one small test, committed and tagged, and a registry for it."""
    folder = tmp_path_factory.mktemp("release")
    authority = Authority(programs.openssl, folder / "ca").make()
    with ExitStack() as stack:
        registry = stack.enter_context(running(programs, folder / "registry", Shape(authority.issue())))
        relay = stack.enter_context(Relay(registry.port))
        _log_in(engine, folder, relay.host, authority, patch)
        patch.setattr(client, "PAUSE", 0.05)
        root = _copied(project.root, folder / "project", relay.host)
        settings = load(root, {})
        made = Port(settings, engine, registry, relay)
        yield made
        listing = engine.command("images", "--format={{.Repository}}:{{.Tag}}")
        names = (settings.image, settings.repository)
        own = [name for name in capture(listing).stdout.split() if name.rpartition(":")[0] in names]
        capture(engine.command("rmi", "--force", *own), check=False)


def _log_in(engine: Engine, folder: Path, host: str, authority: Authority, patch: pytest.MonkeyPatch) -> None:
    """Log in as a user would, and trust the test's authority beside those of the host."""
    config = login(folder / "docker", host)
    plugins = Path(engine.environment.get("DOCKER_CONFIG") or os.environ.get("DOCKER_CONFIG", "")) / "cli-plugins"
    if plugins.is_dir():
        (config / "cli-plugins").symlink_to(plugins)
    usual = ca_bundle()
    bundle = folder / "ca.pem"
    bundle.write_bytes((usual.read_bytes() if usual else b"") + authority.certificate.read_bytes())
    patch.setenv("DOCKER_HOST", engine.address()["DOCKER_HOST"])
    patch.setenv("DOCKER_CONFIG", str(config))
    patch.setenv("SSL_CERT_FILE", str(bundle))
    patch.delenv("CI", raising=False)


def _copied(source: Path, root: Path, host: str) -> Path:
    """Copy this project for one Python, without its tests and its history."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(source / name, root / name, ignore=ignored)
    for pattern in ("*.*", ".dockerignore", ".gitignore", "Dockerfile", "bootstrap", "LICENSE", "requirements/*.in"):
        for file in source.glob(pattern):
            # In a worktree `.git` is a file that names the real repository: git would work on that one.
            if file.is_file() and file.name not in {".env", ".git"}:
                shutil.copy(file, root / file.relative_to(source))
    (root / "tests").mkdir()
    (root / "tests" / "test_small.py").write_text(TEST)
    (root / "CHANGELOG.md").write_text(CHANGELOG)
    (root / "tasks.py").write_text(TASKS)
    _write_settings(root / "pyproject.toml", host)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=All of it")
    git(root, "tag", f"v{VERSION}")
    return root


def _write_settings(file: Path, host: str) -> None:
    """Give the copy a name, a registry and one Python of its own; all else stays."""
    words = {"image": f'"dockyard-test-{os.getpid()}"', "pythons": '["3.13"]'}
    lines = []
    for line in file.read_text().splitlines():
        key = line.partition(" = ")[0]
        lines.append(f"{key} = {words.pop(key)}" if key in words else line)
        if line == "[tool.dockyard]":
            lines.append(f'registry = "{host}/fleet"')
    file.write_text("\n".join(lines) + "\n")


def dying_at(port: Port, step: str, patch: pytest.MonkeyPatch) -> None:
    """Let the registry go away when a step begins, and see the release fail."""
    real = release.STEPS[step]

    def cut(job: Job, state: ReleaseState) -> ReleaseState:
        with port.away():
            return real(job, state)

    with patch.context() as once:
        once.setattr(release, "STEPS", {**release.STEPS, step: cut})
        with pytest.raises(RegistryError):
            port.release()


def test_a_release_that_dies_is_finished_by_running_it_again(port: Port, patch: pytest.MonkeyPatch) -> None:
    """The registry goes away twice; each run begins where the one before it died, and builds nothing again."""
    assert port.tags() == {}
    assert set(port.steps().values()) == {Status.DUE, Status.LEFT_OUT}

    dying_at(port, "tag", patch)
    sha = port.git("rev-parse", "HEAD")[:12]
    assert set(port.tags()) == {sha}, "the version is there, though not all behind it is"
    assert port.steps()["push"] is Status.DONE
    assert port.steps()["tag"] is Status.DUE

    dying_at(port, "move", patch)
    assert port.begun() == ["tag", "move"]
    assert set(port.tags()) == {sha, VERSION}

    shipped = port.release()
    assert port.begun() == ["move", "notes"]
    assert port.tags() == dict.fromkeys((sha, VERSION, "0.0", "0", "latest"), shipped.digest)
    assert shipped.size > 1_000_000
    notes = shipped.notes.read_text()
    assert "- All of it." in notes
    assert f"{port.settings.repository}@{shipped.digest}" in notes
    assert port.git("status", "--porcelain") == ""


def test_a_complete_release_is_left_alone(port: Port) -> None:
    """Running it once more does nothing and prints the same."""
    before = port.tags()
    assert not port.release().changed
    assert port.begun() == []
    assert port.tags() == before
    assert set(port.steps().values()) == {Status.DONE, Status.LEFT_OUT}


def test_the_registry_has_what_was_built(port: Port) -> None:
    """A pull by the digest gives the very image of the engine."""
    shipped = port.release()
    pinned = f"{shipped.repository}@{shipped.digest}"
    logged_in = {"DOCKER_CONFIG": os.environ["DOCKER_CONFIG"]}  # an embedded engine has a folder of its own
    capture(port.engine.command("pull", "--quiet", pinned, env=logged_in))
    found = capture(
        port.engine.command("image", "inspect", "--format={{.Id}}", pinned, f"{port.settings.image}:production")
    )
    assert set(found.stdout.split()) == {shipped.digest}


@contextmanager
def undone(port: Port) -> Iterator[None]:
    """Bring the project back to its tagged commit afterwards."""
    try:
        yield
    finally:
        port.git("reset", "--quiet", "--hard", f"v{VERSION}")
        port.git("clean", "--quiet", "-d", "--force")


def refused(port: Port) -> DockyardError:
    """Release, and return the error; nothing was begun, and the registry is as it was."""
    before = port.tags()
    with pytest.raises(DockyardError) as caught:
        port.release()
    assert port.begun() == []
    assert port.tags() == before
    return caught.value


def test_a_dirty_tree_is_refused(port: Port) -> None:
    """The file that is in the way is named."""
    with undone(port):
        (port.settings.root / "src" / "new.py").touch()
        assert "uncommitted changes: src/new.py" in refused(port).message


def test_a_commit_without_a_version_is_refused(port: Port) -> None:
    """The tag to make is the changelog's newest version, where that is not taken."""
    with undone(port):
        (port.settings.root / "CHANGELOG.md").write_text(CHANGELOG.replace(VERSION, "0.0.2"))
        port.git("commit", "--quiet", "--all", "--message=More")
        assert "`git tag v0.0.2`" in refused(port).hint


def test_a_stale_lock_and_a_missing_section_are_refused(port: Port) -> None:
    """Both are told at once."""
    with undone(port):
        (port.settings.root / "requirements" / "production.in").write_text("-r base.in\ngunicorn\nattrs\n")
        port.git("commit", "--quiet", "--all", "--message=More")
        port.git("tag", "v0.0.3")
        try:
            message = refused(port).message
        finally:
            port.git("tag", "--delete", "v0.0.3")
    assert "the locks are stale: requirements/production.in" in message
    assert "CHANGELOG.md has no section for 0.0.3" in message


def test_a_shallow_clone_is_refused(port: Port, tmp_path: Path) -> None:
    """It lacks tags, so it cannot say what the highest version is."""
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{port.settings.root}", "shallow")
    there = replace(port, settings=port.settings._replace(root=tmp_path / "shallow"))
    assert "shallow" in refused(there).message


def test_a_platform_that_cannot_be_built_is_refused(port: Port) -> None:
    """Said before anything starts."""
    there = replace(port, settings=port.settings._replace(platforms=("linux/amd64", "linux/s390x")))
    described = capture(port.engine.command("buildx", "inspect")).stdout
    if "linux/s390x" in described:
        pytest.skip("this engine emulates every platform")
    message = refused(there).message
    assert "linux/s390x cannot be built here" in message or "the locks are stale" in message


def test_a_version_with_another_digest_is_never_overwritten(port: Port, tmp_path: Path) -> None:
    """The error says both digests, with the journal and without it, and the registry keeps what it has."""
    shipped = port.release()
    name = f"{port.settings.repository}:{VERSION}"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    own = capture(
        port.engine.command("image", "inspect", "--format={{.Id}}", f"{port.settings.image}:production")
    ).stdout
    capture(port.engine.command("build", "--quiet", "--provenance=false", f"--tag={name}", str(tmp_path)))
    (other,) = pushing.push_images(port.engine, [name])
    capture(port.engine.command("tag", f"{port.settings.image}:production", name))
    assert own.strip() == shipped.digest != other.digest
    try:
        error = refused(port)
        assert shipped.digest in error.message
        assert other.digest in error.message
        shutil.move(port.settings.root / FOLDER / f"{VERSION}.json", tmp_path)
        with pytest.raises(DockyardError, match="never overwritten"):
            port.release()
        assert port.begun() == ["build"]
        assert port.tags()[VERSION] == other.digest
    finally:
        shutil.move(tmp_path / f"{VERSION}.json", port.settings.root / FOLDER / f"{VERSION}.json")
        pushing.push_images(port.engine, [name])
    assert port.tags()[VERSION] == shipped.digest


def test_a_version_that_another_engine_has_compressed_is_kept(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same content in other bytes is no other image: the release is finished with what is out."""
    shipped = port.release()
    for step in ("verify", "reproduce", "test"):
        passing = partial(release._mark_passed, step=step)
        monkeypatch.setattr(release, "STEPS", {**release.STEPS, step: passing})
    with open_repository(port.engine, port.settings.repository) as there:
        document = there.read_document(shipped.digest)
        first, *others = document.fields["layers"]
        content = gzip.compress(gzip.decompress(there.read_blob(first["digest"])), 1, mtime=0)
        layer = there.put_blob(content, first["mediaType"])
        fields = {**document.fields, "layers": [layer, *others]}
        other, _ = there.put_document(json.dumps(fields).encode(), document.media_type, VERSION)
    try:
        again = port.release()
        assert again.digest == other.digest != shipped.digest
        assert {port.tags()[tag] for tag in again.names.every} == {other.digest}
        assert any("compressed by another engine" in line for line in LINES)
    finally:
        with open_repository(port.engine, port.settings.repository) as there:
            there.add_tags(shipped.digest, again.names.every)
    assert port.release().digest == shipped.digest


def test_what_is_in_it_is_attached(port: Port) -> None:
    """A bill of materials and the provenance refer to the image, whose digest is what it was.

    A destination that asks for them takes it, and nothing else that is in the registry.
    """
    shipped = port.release()
    with open_repository(port.engine, port.settings.repository) as there:
        kinds = {one["artifactType"] for one in there.list_referrers(shipped.digest)}
        document = there.read_document(shipped.digest)
        fields = {**document.fields, "annotations": {"changed": "yes"}}
        other, _ = there.put_document(json.dumps(fields).encode(), document.media_type)
    assert kinds == {documents.SBOM_TYPE, documents.PROVENANCE_TYPE}
    place = Destination("far", "swarm", verified=True)
    require_evidence(port.settings, place, f"{port.settings.repository}@{shipped.digest}", EVIDENCE)
    with pytest.raises(DockyardError, match="far takes no image without provenance"):
        require_evidence(port.settings, place, f"{port.settings.repository}@{other.digest}", EVIDENCE)


def test_a_series_never_goes_back(port: Port) -> None:
    """A higher version in the registry, though unknown to this clone, keeps all series."""
    shipped = port.release()
    higher = f"{port.settings.repository}:0.1.0"
    capture(port.engine.command("tag", f"{port.settings.image}:production", higher))
    pushing.push_images(port.engine, [higher])
    again = port.release()
    assert again.names.moving == ("0.0",)
    assert again.digest == shipped.digest


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return what puts a stand-in for cosign on PATH with a password, and returns its key."""

    def use(password: str) -> str:
        (tmp_path / "cosign").write_text(COSIGN)
        (tmp_path / "cosign").chmod(stat.S_IRWXU)
        (tmp_path / "cosign.key").touch()
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("COSIGN_PASSWORD", password)
        return str(tmp_path / "cosign.key")

    return use


def test_a_wrong_password_is_found_before_anything_is_done(port: Port, key: Callable[[str], str]) -> None:
    """No build, no push: a release that could not be signed is not begun."""
    before = port.tags()
    with pytest.raises(DockyardError, match="the password is wrong"):
        port.release(key("sesame"))
    assert port.begun() == []
    assert port.tags() == before


def test_a_signature(port: Port, key: Callable[[str], str], tmp_path: Path) -> None:
    """A key that comes later adds what is missing: the signature of the digest."""
    path = key("open sesame")
    shipped = port.release(path)
    assert port.begun() == ["sign"]
    assert json.loads((tmp_path / "cosign.json").read_text()) == [f"{shipped.repository}@{shipped.digest}"]
    assert not port.release(path).changed


def test_the_command_itself(port: Port) -> None:
    """The dry run of `invoke release` shows a row for every step, and exits with 0."""
    search = os.pathsep.join((str(port.settings.root / "src"), os.environ.get("PYTHONPATH", "")))
    command = (sys.executable, "-m", "invoke", "release", "--dry-run", "--json")
    done = capture(Command(command, cwd=port.settings.root, env={"PYTHONPATH": search}, timeout=120), check=False)
    assert done.ok, done.stderr
    assert [step["name"] for step in json.loads(done.stdout)["steps"]] == list(release.STEPS)
