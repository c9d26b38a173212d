"""Every block of the pages is run, built or written, in order, in a fresh project with the wheel installed."""

import os
import platform
import re
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.process import Command, Completed, capture
from tests.advisory_service import Advisories, advisory
from tests.markdown_blocks import PAGES, ROOT, Block, read_blocks, read_console
from tests.toml_tables import merge_tables, write_tables

from .checkout import committed, free_port
from .registry_process import Programs, Shape, running
from .sample_projects import Installation, write_app, write_checkout
from .test_audit import serving

GUIDE = ROOT / "docs" / "how-to" / "use-in-your-project.md"
REGISTRY = "registry.example:5000"
ANY = re.compile(r"(?<![a-z])[0-9a-f]*\d[0-9a-f]*(?:\.\d+)*|…")
MINUTES = 60.0
PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


def assert_printed(shown: str, printed: str, where: str) -> None:
    """Hold what a page shows against what was printed: the same words in this order, whatever the numbers."""
    rest = " ".join(printed.split())
    for word in shown.split():
        pattern = r"\S+?".join(re.escape(part) for part in ANY.split(word))
        found = re.search(pattern, rest)
        assert found, f"{where}: {word!r} of\n{shown}\nis not in what was printed:\n{printed}"
        rest = rest[found.end() :]


def replace_stages(dockerfile: str, stages: str) -> str:
    """Put stages into a Dockerfile where its stage of the last one's name stands, in the place of that."""
    name = re.findall(r"^FROM \S+ AS (\S+)$", stages, re.M)[-1]
    before, after = re.split(rf"^FROM \S+ AS {name}\n", dockerfile, flags=re.M)
    return before + stages + "\n" + after[after.index("FROM ") :]


def add_test_stage(minimal: str, short: str) -> str:
    """Put the stage for tests of one Dockerfile into another, with its base under another name, as the guide says."""
    stages = {stage.split()[3]: stage for stage in re.split(r"^(?=FROM )", short, flags=re.M)[1:]}
    own = [re.sub(r"^(FROM \S+ AS) base$", r"\1 plain", stages["base"], flags=re.M)]
    own.append(stages["test"].replace("FROM base AS", "FROM plain AS", 1))
    before, mark, production = minimal.rpartition("FROM interpreter AS production")
    return "".join((before, *own, "\n", mark, production))


@dataclass
class Reader:
    """Somebody who follows a page step by step in a project folder; `name` is what their images are called."""

    folder: Path
    home: Path
    installation: Installation
    engine: Engine
    name: str
    environment: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    shown: str = "shop"
    printed: str = ""

    def run(self, script: str, *, fails: bool = False, where: str = "") -> Completed:
        """Run a script of a page in the project."""
        for there, here in self.addresses.items():
            script = script.replace(there, here)
        script = re.sub(r"\b(shop|ledger):(?=[a-z0-9])", f"{self.name}:", script)
        path = os.pathsep.join((str(self.folder / ".venv/bin"), str(self.installation.programs), os.environ["PATH"]))
        own = {
            "DOCKYARD_IMAGE": self.name,
            "DOCKYARD_STACK": self.name,
            "DOCKYARD_PYTHONS": "3.13",
            "COLUMNS": "200",
            "PYTHONUNBUFFERED": "1",
        }
        who = {f"GIT_{role}_{what}": "t@t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        git = {"GIT_CONFIG_GLOBAL": os.devnull, **who, "PIP_CONSTRAINT": str(self.installation.constraints)}
        environment = {"PATH": path, "VIRTUAL_ENV": "", "PYTHONPATH": "", **own, **git, **self.environment}
        script = f"exec 2>&1\n{script}"  # in the order of a terminal
        shell = ("bash", "-euo", "pipefail", "-c", f'{script}\npwd > "{self.home / "where"}"')
        done = capture(Command(shell, cwd=self.folder, env=environment, timeout=15 * MINUTES), check=False)
        said = done.stdout + done.stderr
        if done.ok:
            self.folder = Path((self.home / "where").read_text().strip())
        self.printed += said.replace(self.name, self.shown)
        assert done.ok is not fails, f"{where}: {script}ended with {done.returncode}:\n{said}"
        return done

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.file == "pyproject.toml":
            path = self.folder / block.file
            there = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
            text = block.text
            for address, here in self.addresses.items():
                text = text.replace(address, here)
            path.write_text(write_tables(merge_tables(there, tomllib.loads(text))))
        elif block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            self.use(block)
        elif block.reason:
            return
        elif block.language == "dockerfile":
            path = self.folder / "Dockerfile"
            path.write_text(replace_stages(path.read_text("utf-8"), block.text))
            self.build(("production",), str(block))
        elif block.language == "sh":
            self.run(block.text, where=str(block))
        elif block.language == "console":
            for script, shown in read_console(block.text):
                before = len(self.printed)
                self.run(script, fails="\nERROR " in f"\n{shown}", where=str(block))
                assert_printed(self.localize(shown), self.printed[before:], str(block))
        elif block.language == "text":
            assert_printed(self.localize(block.text), self.printed, str(block))

    def localize(self, shown: str) -> str:
        """Return shown output with our addresses in it."""
        for there, here in self.addresses.items():
            shown = shown.replace(there, here)
        return shown

    def use(self, block: Block) -> None:
        """Let a file's own program read it."""
        if block.file == "compose.yaml":
            capture(self.engine.command("compose", "config", "--quiet", cwd=self.folder))
        elif block.file == "Dockerfile" and list(self.folder.glob("requirements/*/production.txt")):
            self.build(re.findall(r"^FROM \S+ AS (production|test|development)$", block.text, re.M), str(block))

    def build(self, targets: Iterable[str], where: str) -> None:
        """Build targets of the Dockerfile for this machine, whatever platforms the page has named."""
        options = " ".join(f"--target {target}" for target in targets)
        self.run(f"invoke build --platform {PLATFORMS[platform.machine()]} {options}\n", where=where)


@pytest.fixture(scope="module")
def locked(installation: Installation, engine: Engine, module_folder: Path) -> Path:
    """Return the folder of the project that the guide makes, locked and committed."""
    folder, home = module_folder / "shop", module_folder / "home"
    write_app(folder)
    home.mkdir()
    reader = Reader(folder, home, installation, engine, "dockyard-test-guide")
    for block in read_blocks(GUIDE):
        if block.file and block.file != "Dockerfile":
            reader.follow(block)
    reader.run("invoke lock\n")
    short, minimal = (block.text for block in read_blocks(GUIDE) if block.file == "Dockerfile")
    (folder / "Dockerfile").write_text(add_test_stage(minimal, short))
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [1.4.0] - 2026-11-21\n\n### Added\n\n- All of it.\n")
    committed(folder)
    return folder


@pytest.fixture(scope="module")
def checkout(module_folder: Path) -> Path:
    """Return a copy of this repository; its .venv, made by the first page that needs one, serves them all."""
    folder = module_folder / "checkout"
    write_checkout(folder)
    return folder


@pytest.fixture
def begin(
    request: pytest.FixtureRequest, installation: Installation, engine: Engine, unique: str, tmp_path: Path
) -> Iterator[Callable[[str, str], Reader]]:
    """Return a function that puts a reader into a fresh project, with the services that a page needs around it."""
    with ExitStack() as stack:

        def start(project: str, page: str) -> Reader:
            folder = tmp_path / project
            if project == "checkout":
                folder = request.getfixturevalue("checkout")
                if "invoke up" in page:
                    request.getfixturevalue("ledger_image")
            elif project == "shop":
                shutil.copytree(request.getfixturevalue("locked"), folder)
            elif project == "empty":
                folder.mkdir()
            else:
                write_app(folder)
            port = free_port()
            reader = Reader(folder, tmp_path / "home", installation, engine, unique, {"PORT": str(port)})
            reader.home.mkdir(exist_ok=True)
            reader.shown = "ledger" if project == "checkout" else "shop"
            reader.addresses |= {"127.0.0.1:8000": f"127.0.0.1:{port}", "/tmp/notes": str(tmp_path / "notes")}
            reader.environment["HOME"] = str(reader.home)
            cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
            config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
            reader.environment |= {"XDG_CACHE_HOME": cache, "XDG_CONFIG_HOME": config}
            if REGISTRY in page:
                found: Programs = request.getfixturevalue("programs")
                registry = stack.enter_context(running(found, tmp_path / "registry", Shape(password=False)))
                reader.addresses[REGISTRY] = registry.host
            if "invoke audit" in page:
                known = advisory(
                    "GHSA-aaaa-bbbb-cccc", "flask", "999.1.1", "CVE-2026-1234", "PYSEC-2026-7", severity=HIGH
                )
                reader.environment["DOCKYARD_AUDIT_URL"] = stack.enter_context(serving(Advisories([known])))
            stack.callback(reader.run, "[ ! -e compose.yaml ] || invoke down --volumes\n")
            return reader

        yield start


HIGH = [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}]
RUN = [page for page in PAGES if any(block.project for block in read_blocks(page))]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in RUN])
def test_page_can_be_followed(page: Path, begin: Callable[[str, str], Reader]) -> None:
    """Each step works after those before it, and prints what the page says."""
    reader, project = None, ""
    for block in read_blocks(page):
        if not block.project:
            continue
        if block.project != project or reader is None:
            project = block.project
            reader = begin(project, page.read_text("utf-8"))
        reader.follow(block)


def test_words_must_stand_in_order() -> None:
    """Numbers and digests may be others; a word that is missing, or comes too early, is found."""
    for printed in ("is ready after 12.25 s: a bcd", "is ready after 45 s: a bcd"):
        assert_printed("ready after 3.1 s\n a  b…", printed, "here")
    for shown in ("ready soon", "after ready", "ready after s 3"):
        with pytest.raises(AssertionError, match="is not in what was printed"):
            assert_printed(shown, "ready after 3 s", "here")


def test_pages_are_found() -> None:
    """The guide and the tutorial are among the pages that are followed."""
    assert {"use-in-your-project", "first-container", "README"} <= {page.stem for page in RUN}
