"""Which images a build makes, with which command, and what is said when it fails."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.bases.resolve import Base
from dockyard.engine.archive import describe_instruction
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError, ExitCode, UsageError
from dockyard.git import Git
from dockyard.image import build, records
from dockyard.image.build import Job, Request, World
from dockyard.image.dockerfile import parse_dockerfile
from dockyard.image.names import Variant
from dockyard.locks.indexes import Access
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from tests.conftest import kept_records, replace_everywhere
from tests.lock_project import write_inputs
from tests.scripted_docker import Docker, write_metadata

GIT = Git("0123456789abcdef0123456789abcdef01234567", 1_700_000_000, "main", "v1.2.3")
ENGINE = Engine("host", "28.5.2", True, 4, {"DOCKER_HOST": "unix:///run/x.sock"})


def base(python: str) -> Base:
    """Return a base image as a registry gives it."""
    return Base(
        python, f"python:{python}-slim", "registry", f"python:{python}-slim@sha256:{python}", f"sha256:{python}"
    )


STAGES = "FROM scratch AS base\nFROM base AS test\nFROM base AS production\n"
FOUND = World(GIT, Path("/ca.crt"), (base("3.12"), base("3.13")), parse_dockerfile(STAGES))


def test_a_plain_build(settings: Settings) -> None:
    """By default, the production target on the default Python."""
    (image,) = build.plan_images(settings, FOUND, Request())
    assert (image.name, image.target) == ("production-3_13", "production")
    assert image.references == ("shop:1.2.3", "shop:0123456789ab", "shop:production")
    assert image.arguments == {"PYTHON_VERSION": "3.13", "SOURCE_DATE_EPOCH": "1700000000"}
    assert image.contexts == {"python:3.13-slim": "docker-image://python:3.13-slim@sha256:3.13"}
    assert image.secrets == ("id=ca,src=/ca.crt",)


def test_the_settings_index_reaches_the_build(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the place of the one that the host's pip would ask."""
    (settings.root / "Dockerfile").write_text("FROM x AS production\n")
    replace_everywhere(monkeypatch, "read_git", lambda _root: GIT)
    monkeypatch.setenv("PIP_INDEX_URL", "https://host.example/simple")
    found = build.read_world(settings._replace(index_url="https://own.example/simple"))
    assert "index-url = https://own.example/simple" in found.logins.pip_conf
    assert "host.example" not in found.logins.pip_conf


def test_a_build_cache_is_read_by_all_and_written_by_one(settings: Settings) -> None:
    """Several images would overwrite each other's cache in the same place."""
    cached = settings._replace(build_cache="type=registry,ref=cache")
    (alone,) = build.plan_images(cached, FOUND, Request())
    assert (alone.cache_from, alone.cache_to) == (("type=registry,ref=cache",), ("type=registry,ref=cache,mode=max",))
    several = build.plan_images(cached, FOUND, Request(("test", "production")))
    assert {(image.cache_from, image.cache_to) for image in several} == {(("type=registry,ref=cache",), ())}


def test_several_targets_and_pythons(settings: Settings) -> None:
    """Every combination is one image of the same solve."""
    planned = build.plan_images(settings, FOUND, Request(("test", "production"), ("3.12", "3.13")))
    assert [image.name for image in planned] == [
        "test-3_12",
        "test-3_13",
        "production-3_12",
        "production-3_13",
    ]
    assert len({reference for image in planned for reference in image.references}) == 12


def test_a_python_without_a_base_is_left_out(settings: Settings) -> None:
    """It is the caller's to name it: the others are built."""
    planned = build.plan_images(settings, replace(FOUND, bases=(base("3.12"),)), Request(pythons=("3.12", "3.13")))
    assert [image.name for image in planned] == ["production-3_12"]


def test_a_pushed_image_has_no_moving_name(settings: Settings) -> None:
    """The name by which stacks find an image stays on this machine."""
    (image,) = build.plan_images(settings, FOUND, Request(push=True))
    assert image.references == ("shop:1.2.3", "shop:0123456789ab")


def test_nothing_to_push_it_as(settings: Settings) -> None:
    """Without git and without --tag there is no name to push: said before anything is built."""
    found = replace(FOUND, git=None, bases=())
    with pytest.raises(UsageError, match="no git commit to take a tag from"):
        build.plan_images(settings, found, Request(push=True))
    assert build.plan_images(settings, found, Request(push=True, tags=("1",))) == ()


def test_without_git_or_certificates(settings: Settings) -> None:
    """A project outside git is built with a fixed date and the moving name alone; no secret is mounted."""
    (image,) = build.plan_images(settings, replace(FOUND, git=None, ca=None), Request())
    assert image.references == ("shop:production",)
    assert image.arguments["SOURCE_DATE_EPOCH"] == "315532800"
    assert image.secrets == ()


def test_a_base_in_a_layout(settings: Settings) -> None:
    """A base made from packages is read from its folder, so that no registry is asked."""
    made = replace(base("3.13"), layout="/cache/x@sha256:1")
    (image,) = build.plan_images(settings, replace(FOUND, bases=(made,)), Request())
    assert image.contexts == {"python:3.13-slim": "oci-layout:///cache/x@sha256:1"}


def test_the_package_index_is_a_secret_from_the_environment(settings: Settings) -> None:
    """Its credentials are in no argument and no file: only in the environment of the one command."""
    found = replace(FOUND, logins=Access(pip={"index-url": "https://me:hunter2@x/"}))
    planned = build.plan_images(settings, found, Request())
    command = build.make_command(Job(settings, ENGINE, found, Request(), planned, records.Recording()), Path("/m"))
    assert planned[0].secrets == ("id=ca,src=/ca.crt", "id=pip,env=DOCKYARD_PIP_CONF")
    assert "hunter2" in str(command.env["DOCKYARD_PIP_CONF"])
    assert "hunter2" not in command.display() + (command.input or b"").decode()


def test_what_lies_outside_the_project(settings: Settings) -> None:
    """The certificates and the base are the host's: a newer buildx would refuse to read them, or ask first."""
    command = build.make_command(Job(settings, ENGINE, FOUND, Request(), (), records.Recording()), Path("/m"))
    assert command.env["BUILDX_BAKE_ENTITLEMENTS_FS"] == "0"


def test_logins_are_secrets_from_the_environment(settings: Settings) -> None:
    """A netrc, and each variable that an address in a lock holds, under its own name; the output shows none of them."""
    logins = Access({"WORD": "me:hunter2"}, "machine x login me password hunter2\n", ("hunter2",))
    found = replace(FOUND, logins=logins)
    planned = build.plan_images(settings, found, Request())
    command = build.make_command(Job(settings, ENGINE, found, Request(), planned, records.Recording()), Path("/m"))
    assert planned[0].secrets[1:] == ("id=netrc,env=DOCKYARD_NETRC", "id=WORD,env=WORD")
    assert "hunter2" in str(command.env["DOCKYARD_NETRC"])
    assert command.env["WORD"] == "me:hunter2"
    assert command.secrets == ("hunter2",)
    assert "hunter2" not in command.display() + (command.input or b"").decode()


def test_what_the_indexes_of_the_locks_need(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build reads the inputs for their indexes, and takes along their logins alone."""
    write_inputs(settings.root, {"production": "--index-url https://pip.corp/${TEAM}/simple\nflask\n"})
    (settings.root / "Dockerfile").write_text("FROM x AS production\n")
    (settings.root / "rc").write_text("machine pip.corp login me password w0rd\nmachine other login a password b\n")
    replace_everywhere(monkeypatch, "read_git", lambda _root: GIT)
    monkeypatch.setenv("NETRC", str(settings.root / "rc"))
    monkeypatch.setenv("TEAM", "red")
    found = build.read_world(settings)
    assert found.logins.netrc == "machine pip.corp login me password w0rd\n"
    assert found.logins.variables == {"TEAM": "red"}
    assert "w0rd" in found.logins.secrets


@pytest.mark.host
def test_every_install_of_this_project_may_log_in() -> None:
    """Wherever the Dockerfile runs pip, all secrets are mounted where the program looks for them."""
    text = (Path(__file__).parents[1] / "Dockerfile").read_text(encoding="utf-8")
    secrets = text.count("--mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=secret,id=netrc ")
    assert secrets == len(re.findall(r"python /dockyard (?:install|wheels) ", text)) > 0


def test_platforms(settings: Settings) -> None:
    """The command line is stronger than the settings."""
    there = settings._replace(platforms=("linux/amd64",))
    assert build.plan_images(there, FOUND, Request())[0].platforms == ("linux/amd64",)
    assert build.plan_images(there, FOUND, Request(platforms=("linux/arm64",)))[0].platforms == ("linux/arm64",)


def test_an_unknown_target(settings: Settings) -> None:
    """The error names the targets that there are, with the code for usage."""
    with pytest.raises(UsageError) as caught:
        build.plan_images(settings, FOUND, Request(("prodcution",)))
    assert (caught.value.message, caught.value.hint, caught.value.code) == (
        "the Dockerfile has no target 'prodcution'",
        "its targets are base, test, production",
        ExitCode.USAGE,
    )


@pytest.mark.parametrize("text", ["FROM scratch\nFROM scratch\n", "# nothing\n"])
def test_a_target_where_none_has_a_name(settings: Settings, text: str) -> None:
    """The tip is not an empty list."""
    with pytest.raises(UsageError, match="none of its stages has a name") as caught:
        build.plan_images(settings, replace(FOUND, dockerfile=parse_dockerfile(text)), Request())
    assert "AS production" in caught.value.hint


def test_an_unsupported_python(settings: Settings) -> None:
    """The error names the Pythons that the project supports."""
    with pytest.raises(UsageError, match=r"Python 3\.10 is not supported by this project: 3\.12, 3\.13 are"):
        build.plan_images(settings, FOUND, Request(pythons=("3.10",)))


def test_the_helper_stage_of_other_projects(settings: Settings) -> None:
    """A Dockerfile with a stage named dockyard gets the payload there and nothing else, unless it has it itself."""
    found = replace(FOUND, dockerfile=parse_dockerfile(f"{STAGES}FROM scratch AS dockyard\n"))
    (image,) = build.plan_images(settings, found, Request())
    assert image.contexts["dockyard"] == str(Path(build.__file__).parents[1] / "payload")
    (settings.root / "src" / "dockyard" / "payload").mkdir(parents=True)
    assert "dockyard" not in build.plan_images(settings, found, Request())[0].contexts


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("RUN /bin/sh -c pip   install\t-r x # buildkit", "pip install -r x"),
        ('/bin/sh -c #(nop)  CMD ["x"]', '#(nop) CMD ["x"]'),
        ("COPY /layer / # buildkit", "COPY /layer /"),
    ],
)
def test_readable(instruction: str, expected: str) -> None:
    """A layer's instruction without BuildKit's marks."""
    assert describe_instruction(instruction) == expected


HISTORY = (("0", "CMD x"), ("30", "COPY b / # buildkit"), ("70", "COPY a / # buildkit"))
"""What an engine says of an image's layers: newest first, its size and what made it."""
SHOWN = "#6 [a 1/2] FROM x\n#6 CACHED\n#7 [a 2/2] RUN y\n#7 DONE 1s\n"


class Bench(Docker):
    """A Docker that builds, beside the project that it builds: `endings` are how the first builds end."""

    def __init__(self, root: Path) -> None:
        super().__init__(cpus=4)
        self.root = root
        self.endings: list[Completed | BaseException] = []
        self.registry = {"python:3.13-slim": "sha256:3.13"}
        whole = {"Id": "sha256:1", "Size": 1000, "RootFS": {"Layers": ["sha256:a", "sha256:b"]}}
        layers = [{"Size": size, "CreatedBy": made_by} for size, made_by in HISTORY]
        self.images["shop:1.2.3"] = whole
        self.says = {
            "bake": self.bake,
            "history": "".join(json.dumps(layer) + "\n" for layer in layers),
        }
        self.api["/images/shop:1.2.3/json"] = whole
        self.api["/images/shop:1.2.3/history"] = [{**layer, "Size": int(layer["Size"])} for layer in layers]

    def bake(self, command: Command) -> Completed | BaseException:
        """Build, or end as it is scripted."""
        if self.endings:
            return self.endings.pop(0)
        write_metadata(command)
        return Completed(0, SHOWN, "", 1.0, ((0.1, SHOWN[:20]), (1.2, SHOWN[20:])))

    @property
    def builds(self) -> list[Command]:
        """The commands that build."""
        return [command for command in self.asked if "bake" in command.argv]

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was recorded, oldest first."""
        return kept_records(self.root)


@pytest.fixture
def bench(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return an engine beside a project that has a Dockerfile and a commit."""
    (settings.root / "Dockerfile").write_text("FROM x AS production\n")
    replace_everywhere(monkeypatch, "read_git", lambda _root: GIT)
    return Bench(settings.root)


def test_a_whole_build(settings: Settings, bench: Bench, said: list[str]) -> None:
    """One command; what comes back has digests, sizes and layers, and a record is kept."""
    built, missing = build.build_images(settings, Request(pythons=("3.12", "3.13")), engine=bench.engine)
    (command,) = bench.builds
    shown = re.sub(r"--metadata-file=\S+", "--metadata-file=M", command.display())
    assert shown == ("docker buildx bake --file=- --provenance=false --metadata-file=M --load")
    assert (command.cwd, command.env["DOCKER_HOST"]) == (settings.root, "unix:///run/x.sock")
    (image,) = built
    assert image.variant == Variant("production", "3.13")
    assert (image.digest, image.size, image.cache) == ("sha256:production-3_13", 1000, {"steps": 2, "cached": 1})
    assert [layer["created_by"] for layer in image.layers] == ["COPY a /", "COPY b /"]
    assert [absent.python for absent in missing] == ["3.12"]
    assert said[0].startswith("Python 3.12 cannot be built here: no Debian release ships Python 3.12")
    (record,) = bench.records
    assert (record["outcome"], record["cache"]) == ("passed", {"steps": 2, "cached": 1})
    assert record["image"] == {
        "reference": "shop:1.2.3",
        "digest": "sha256:production-3_13",
        "size_bytes": 1000,
        "layers": [
            {"size_bytes": 70, "created_by": "COPY a /", "digest": "sha256:a"},
            {"size_bytes": 30, "created_by": "COPY b /", "digest": "sha256:b"},
        ],
    }
    steps = {step["name"]: (step.get("cached"), step["duration_seconds"]) for step in record["steps"]}
    assert steps.keys() == {"base images", "[a 1/2] FROM x", "[a 2/2] RUN y", "look at the image"}
    assert (steps["[a 1/2] FROM x"], steps["[a 2/2] RUN y"]) == ((True, 0.0), (False, 1.0))


def test_layers_that_cannot_be_told_apart(settings: Settings, bench: Bench) -> None:
    """An empty layer has a digest too, and then nobody knows whose is whose: none is told."""
    bench.api["/images/shop:1.2.3/json"]["RootFS"]["Layers"] += ["sha256:c"]
    build.build_images(settings, Request(), engine=bench.engine)
    assert all("digest" not in layer for layer in bench.records[0]["image"]["layers"])


def test_the_packages_of_a_build_are_those_of_its_lock(settings: Settings, bench: Bench) -> None:
    """Of the lock that the target is made from; a project without locks tells of none."""
    for purpose, text in {
        "production": "flask==3.1\n",
        "test": "flask==3.1\npytest==9.0 ; os_name == 'posix'\n",
    }.items():
        lock = settings.root / "requirements" / "3.13" / f"{purpose}.txt"
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text(text)
        (settings.root / "requirements" / f"{purpose}.in").write_text("flask\n")
    flask, pytest_ = (
        {"name": name, "version": v, "type": "python"} for name, v in (("flask", "3.1"), ("pytest", "9.0"))
    )
    assert build.read_locked_packages(settings, Variant("production", "3.13")) == [flask]
    assert build.read_locked_packages(settings, Variant("slim", "3.13")) == [flask]
    assert build.read_locked_packages(settings, Variant("test", "3.13")) == [flask, pytest_]
    assert build.read_locked_packages(settings, Variant("production", "3.12")) == []


def test_what_is_to_be_kept_is_given_to_the_dockerfile(settings: Settings) -> None:
    """One build argument; a Dockerfile that would ignore it is told, and without the setting there is none."""
    kept = settings._replace(keep=("/usr/share/misc/magic.mgc", "/usr/lib/*/libmagic.so.1*"))
    found = replace(FOUND, dockerfile=parse_dockerfile(f"{STAGES}ARG KEEP\n"))
    (image,) = build.plan_images(kept, found, Request())
    assert image.arguments["KEEP"] == "/usr/share/misc/magic.mgc:/usr/lib/*/libmagic.so.1*"
    assert "KEEP" not in build.plan_images(settings, found, Request())[0].arguments
    with pytest.raises(DockyardError, match="has no ARG KEEP") as caught:
        build.plan_images(kept, FOUND, Request())
    assert '--keep "${KEEP}" to `python /dockyard runtime`' in caught.value.hint


def test_no_stage_builds_wheels_where_all_packages_have_them(settings: Settings) -> None:
    """Only a lock for some platforms says that something is built; a Dockerfile that does not ask is told nothing."""
    found = replace(FOUND, dockerfile=parse_dockerfile(f"{STAGES}ARG WHEELS_FROM=compiled\n"))
    assert build.plan_images(settings, found, Request())[0].arguments["WHEELS_FROM"] == "scratch"
    some = settings._replace(hashes="platform", platforms=("linux/amd64",))
    assert "WHEELS_FROM" not in build.plan_images(some, found, Request())[0].arguments
    assert "WHEELS_FROM" not in build.plan_images(settings, FOUND, Request())[0].arguments


def test_the_version_is_given_to_a_dockerfile_that_asks(settings: Settings) -> None:
    """One build argument; without git its own default stands."""
    found = replace(FOUND, dockerfile=parse_dockerfile(f"{STAGES}ARG PROJECT_VERSION=0.0.0\n"))
    assert build.plan_images(settings, found, Request())[0].arguments["PROJECT_VERSION"] == "1.2.3"
    assert "PROJECT_VERSION" not in build.plan_images(settings, FOUND, Request())[0].arguments
    assert "PROJECT_VERSION" not in build.plan_images(settings, replace(found, git=None), Request())[0].arguments


def test_the_arguments_of_a_dockerfile(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a default, in any case, several on a line."""
    replace_everywhere(monkeypatch, "read_git", lambda _root: None)
    (settings.root / "Dockerfile").write_text("ARG A=1 B\nFROM x AS y\narg C\nENV ARG=D\n")
    assert build.read_world(settings).dockerfile.arguments == {"A", "B", "C"}


def test_an_engine_without_a_local_socket_is_asked_by_the_cli(settings: Settings, bench: Bench) -> None:
    """A remote engine tells the same of the image."""
    ((near,), _) = build.build_images(settings, Request(), engine=bench.engine)
    bench.api.clear()
    ((far,), _) = build.build_images(settings, Request(), engine=bench.engine)
    assert (far.size, far.layers) == (near.size, near.layers)
    assert [layer["size_bytes"] for layer in far.layers] == [70, 30]


def test_a_pushed_build_is_not_inspected(settings: Settings, bench: Bench) -> None:
    """The engine has no copy of what went straight to a registry."""
    bench.images.clear()
    ((image,), _) = build.build_images(settings, Request(push=True), engine=bench.engine)
    assert (image.size, image.layers, image.digest) == (0, (), "sha256:production-3_13")


ENDINGS = {
    "failed": (Completed(1, "x", "", 1.0), DockyardError, "failed"),
    "interrupted": (KeyboardInterrupt(), KeyboardInterrupt, "interrupted"),
}


@pytest.mark.parametrize(("ending", "raised", "outcome"), ENDINGS.values(), ids=ENDINGS)
def test_a_build_that_does_not_finish_is_recorded(
    settings: Settings, bench: Bench, ending: Completed | BaseException, raised: type[BaseException], outcome: str
) -> None:
    """One record tells of it, and no metadata file stays behind."""
    bench.endings = [ending]
    with pytest.raises(raised):
        build.build_images(settings, Request(), engine=bench.engine)
    (record,) = bench.records
    assert (record["outcome"], record["target"], record["python"]) == (outcome, "production", "3.13")
    assert record.get("error") == (None if outcome == "interrupted" else "the build failed: x")
    metadata = next(word for word in bench.builds[0].argv if word.startswith("--metadata-file=")).partition("=")[2]
    assert not Path(metadata).parent.exists()


RACE = Completed(1, "ERROR: parent snapshot sha256:1 does not exist: not found", "", 1.0)


def test_a_race_inside_the_engine_is_met_by_trying_again(settings: Settings, bench: Bench, said: list[str]) -> None:
    """Once, with the same command; it is said, and the build counts as one that passed."""
    bench.endings = [RACE]
    (built, _) = build.build_images(settings, Request(), engine=bench.engine)
    first, second = bench.builds
    assert first.input == second.input
    assert [image.digest for image in built] == ["sha256:production-3_13"]
    assert sum(line.endswith("at the same time: trying once more") for line in said) == 1
    assert [record["outcome"] for record in bench.records] == ["passed"]


@pytest.mark.parametrize(("endings", "tries"), [([RACE, RACE], 2), ([Completed(1, "x", "", 1.0)], 1)])
def test_nothing_is_tried_for_ever(settings: Settings, bench: Bench, endings: list[Completed], tries: int) -> None:
    """A second race is told, and a failure of the project's own is told at once."""
    bench.endings = [*endings]
    with pytest.raises(DockyardError, match="the build failed") as caught:
        build.build_images(settings, Request(), engine=bench.engine)
    assert len(bench.builds) == tries
    assert caught.value.hint
    assert [record["outcome"] for record in bench.records] == ["failed"]


def test_no_base_at_all(settings: Settings, bench: Bench) -> None:
    """Nothing is built, and the error says where to look."""
    with pytest.raises(DockyardError, match="no Python asked for has a base image here"):
        build.build_images(settings, Request(pythons=("3.12",)), engine=bench.engine)
    assert bench.builds == []


def test_a_wrong_target_is_told_before_an_engine_is_sought(settings: Settings, bench: Bench) -> None:
    """Nobody waits for an engine to start only to read of a slip of the finger."""
    with pytest.raises(UsageError):
        build.build_images(settings._replace(engine="host"), Request(("nonsense",)))


def test_retag(settings: Settings, bench: Bench) -> None:
    """The newest image of a target gets the tags from git."""
    (settings.root / "Dockerfile").write_text(STAGES)
    bench.images["shop:test-py3.12"] = {"Id": "sha256:2"}
    named = build.retag(settings, bench.engine, "test", "3.12")
    assert named == ("shop:1.2.3-test-py3.12", "shop:0123456789ab-test-py3.12")
    assert [bench.images[name]["Id"] for name in named] == ["sha256:2", "sha256:2"]


def test_retag_of_an_image_that_is_not_there(settings: Settings, bench: Bench) -> None:
    """The error says how to make it."""
    with pytest.raises(DockyardError) as caught:
        build.retag(settings, bench.engine, "production", "3.13", ("1",))
    assert caught.value.hint == "`invoke build --target production --python 3.13` makes it"


def test_retag_without_git(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit and no name given: a usage error."""
    replace_everywhere(monkeypatch, "read_git", lambda _root: None)
    (settings.root / "Dockerfile").write_text(STAGES)
    with pytest.raises(UsageError, match="no git commit"):
        build.retag(settings, Docker().engine, "production", "3.13")
