"""The pipeline as a product: its wheel holds what it needs and nothing else, and works in an empty environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from .conftest import ROOT

SAMPLE = ROOT / "tests" / "samples" / "single"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a source archive, as the release does."""
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "hatchling", "build", "--directory", str(folder))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    assert [path.suffixes[-2:] for path in folder.glob("*.tar.gz")] == [[".tar", ".gz"]]
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, module_folder: Path) -> Path:
    """Return the folder of programs of an environment that has the wheel alone."""
    environment = module_folder / "environment"
    subprocess.run((sys.executable, "-m", "venv", str(environment)), check=True)
    pip = (str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, str(wheel)), check=True)
    return environment / "bin"


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    """Every file that is tracked below src/dockyard, the ledger and its locks inside of it, and no tests or caches."""
    command = ("git", "ls-files", "src/dockyard", "src/ledger", "requirements/*/base.txt")
    tracked = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    shipped = (path.removeprefix("src/") for path in tracked)
    shipped = (re.sub(r"^ledger/", "dockyard/pages/ledger/", path) for path in shipped)
    assert sorted(names) == sorted(re.sub(r"^requirements/(.*)/base", r"dockyard/pages/\1", path) for path in shipped)


def test_records_are_shown_in_an_empty_environment(installed: Path, tmp_path: Path) -> None:
    """Pages without anything set up: what they need is installed for them alone, and dockyard's own stays as it was."""
    project = tmp_path / "shop"
    shutil.copytree(SAMPLE, project)
    (project / "pyproject.toml").write_text('[tool.dockyard]\napp = "app:app"\nimage = "shop"\n')
    (project / ".dockyard" / "runs").mkdir(parents=True)
    record = json.loads((ROOT / "tests" / "data" / "run.json").read_text("utf-8"))
    (project / ".dockyard" / "runs" / "20261121T010203-build-5f0c6a1e.json").write_text(json.dumps(record), "utf-8")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for _ in range(2):
        subprocess.run((str(installed / "dockyard"), "report", "--static", "pages"), cwd=project, check=True,
                       env=environment)  # fmt: skip
        assert record["project"] in (project / "pages" / "index.html").read_text("utf-8")
    listed = subprocess.run((str(installed / "python"), "-c", "import flask"), check=False, capture_output=True)
    assert listed.returncode != 0


def test_its_metadata_is_what_an_index_takes(wheel: Path) -> None:
    """Every field is valid; the README is its description."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        raw = archive.read(name)
    metadata = Metadata.from_email(raw, validate=True)
    assert metadata.name == "dockyard"
    assert metadata.description_content_type == "text/markdown"
    assert str(BytesParser().parsebytes(raw).get_payload()).lstrip().startswith("# Dockyard")
    assert {classifier.rpartition(" :: ")[0] for classifier in metadata.classifiers or ()} >= {
        "Programming Language :: Python :: 3",
        "Framework",
    }


def test_it_works_where_nothing_else_is(installed: Path, tmp_path: Path) -> None:
    """It lists its tasks, and says what it finds in a project that has no file of ours; it writes nothing."""
    for file in SAMPLE.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            target = tmp_path / file.relative_to(SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    before = sorted(tmp_path.rglob("*"))
    dockyard = str(installed / "dockyard")
    listed = subprocess.run((dockyard, "--list"), cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert {"build", "init", "lock", "up", "verify"} <= {
        line.split()[0] for line in listed.splitlines() if line.split()
    }
    found = subprocess.run((dockyard, "init", "--dry-run"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode in {0, 1}, found.stderr
    assert "app:app" in found.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_a_users_locks_stay_free_of_it(installed: Path) -> None:
    """Its dependencies live in its own environment: nothing of them is asked for by a project that it builds."""
    frozen = subprocess.run(
        (str(installed / "python"), "-m", "pip", "list", "--format=freeze"), check=True, capture_output=True, text=True
    ).stdout
    assert "dockyard==" in frozen
    assert "flask==" not in frozen.lower()
