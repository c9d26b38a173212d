"""Tests of bootstrap that make real environments: from wheels of their own, without network and engine."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bootstrap"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PATIENCE = 60.0
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "shop"
version = "1"
"""
BACKEND = '''\
"""Builds the test project; with a file called slow beside it, it says so and takes its time."""
import os, time, zipfile
from pathlib import Path

def build_editable(folder, config_settings=None, metadata_directory=None):
    if Path("slow").exists():
        Path("building").write_text(str(os.getpid()))
        time.sleep(float(Path("slow").read_text()))
    name = "shop-1-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        wheel.writestr("shop.pth", os.getcwd())
        wheel.writestr("shop-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: shop\\nVersion: 1\\n")
        wheel.writestr("shop-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("shop-1.dist-info/RECORD", "")
    return name
'''

ABSENT = """\
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Absent())
"""
"""What makes Python say that it has no such module, as sitecustomize.py."""


class Checkout:
    """A project with a bootstrap, a lock and a folder of wheels that stands for the package index."""

    def __init__(self, root: Path, index: Path) -> None:
        self.root = root
        self.index = index
        self.venv = root / ".venv"
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(index),
            "PIP_NO_CACHE_DIR": "1",
            "TMPDIR": str(index.parent / "temporary"),
        }

    def lock(self, version: str, promise: str = "") -> None:
        """Pin one version of the only dependency, at its own hash or another one."""
        wheel = self.index / f"tinytool-{version}-py3-none-any.whl"
        if not wheel.exists():
            pack(wheel, version)
        found = promise or hashlib.sha256(wheel.read_bytes()).hexdigest()
        file = self.root / "requirements" / VERSION / "development.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"tinytool=={version} \\\n    --hash=sha256:{found}\n")

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start bootstrap."""
        return subprocess.Popen(
            [sys.executable, self.root / "bootstrap", *arguments],
            cwd=self.root.parent,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Run bootstrap to its end; return its exit status and what it printed."""
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def slow(self, seconds: float) -> None:
        """Make the last step of the next set-up take its time."""
        (self.root / "slow").write_text(str(seconds))

    def left(self) -> list[str]:
        """Return every environment folder, whole or not."""
        return sorted(path.name for path in self.root.glob(".venv*"))

    def until_building(self) -> int:
        """Wait until the slow step runs; return its process id."""
        file = self.root / "building"
        wait_until(lambda: file.exists() and bool(file.read_text()))
        return int(file.read_text())


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """Return a project that was never set up."""
    root = tmp_path / "my shop"
    index = tmp_path / "index"
    root.mkdir()
    index.mkdir()
    (tmp_path / "temporary").mkdir()
    shutil.copy(SCRIPT, root)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    made = Checkout(root, index)
    made.lock("1.0")
    yield made
    assert not {".venv.new", ".venv.old", ".venv.tmp"} & set(made.left())
    assert not list((tmp_path / "temporary").iterdir())


def pack(wheel: Path, version: str) -> None:
    """Write a wheel with one command, which prints its version."""
    info = f"tinytool-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinytool.py", f"def main():\n    print('tinytool {version}')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinytool\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntinytool = tinytool:main\n")
        archive.writestr(f"{info}/RECORD", "")


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that must come soon."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def alive(process: int) -> bool:
    """Whether a process exists."""
    return Path(f"/proc/{process}").exists()


def test_a_fresh_checkout_runs_its_command(checkout: Checkout) -> None:
    """The first run makes the environment and becomes the command; its scripts name their final place."""
    code, out, err = checkout.run("tinytool")
    assert (code, out) == (0, "tinytool 1.0\n"), err
    assert err.splitlines()[0].startswith(f"bootstrap: making .venv with Python {VERSION}.")
    assert checkout.left() == [".venv"]
    assert ".venv.new" not in (checkout.venv / "bin" / "tinytool").read_text()


def test_the_project_itself_is_installed(checkout: Checkout) -> None:
    """The environment's Python imports the project from its own folder."""
    code, out, err = checkout.run("python", "-c", "import backend, sys; print(backend.__file__, sys.prefix)")
    assert (code, out.strip()) == (0, f"{checkout.root}/backend.py {checkout.venv}"), err


def test_a_second_run_leaves_pip_alone(checkout: Checkout) -> None:
    """With nothing changed the environment is the same one, no index is asked and nothing is said."""
    checkout.run("true")
    before = checkout.venv.stat().st_ino
    shutil.rmtree(checkout.index)
    assert checkout.run("tinytool") == (0, "tinytool 1.0\n", "")
    assert checkout.venv.stat().st_ino == before


def test_its_own_python_can_run_it(checkout: Checkout) -> None:
    """Inside an activated environment bootstrap runs on that Python, and can make it anew."""
    checkout.run("true")
    checkout.lock("2.0")
    command = [str(checkout.venv / "bin" / "python"), str(checkout.root / "bootstrap"), "tinytool"]
    done = subprocess.run(command, env=checkout.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "tinytool 2.0\n"), done.stderr
    assert not (checkout.venv / "bin" / "python").resolve().is_relative_to(checkout.root)


def test_another_lock_makes_another_environment(checkout: Checkout) -> None:
    """After the lock changed, what only the old one had is gone."""
    checkout.run("true")
    (checkout.venv / "leftover").touch()
    checkout.lock("2.0")
    assert checkout.run("tinytool")[:2] == (0, "tinytool 2.0\n")
    assert not (checkout.venv / "leftover").exists()


def test_another_pyproject_installs_the_project_only(checkout: Checkout) -> None:
    """When only the project's own tables changed, the environment stays and needs no index."""
    checkout.run("true")
    before = checkout.venv.stat().st_ino
    shutil.rmtree(checkout.index)
    (checkout.root / "pyproject.toml").write_text(PYPROJECT + 'description = "more"\n')
    code, out, err = checkout.run("tinytool")
    assert (code, out) == (0, "tinytool 1.0\n"), err
    assert "installing the project again" in err
    assert checkout.venv.stat().st_ino == before
    assert checkout.run("true") == (0, "", "")


def test_a_moved_checkout_is_set_up_again(checkout: Checkout, tmp_path: Path) -> None:
    """Scripts name their folder, so an environment that was moved with its project is made anew."""
    checkout.run("true")
    moved = Checkout(tmp_path / "elsewhere", checkout.index)
    checkout.root.rename(moved.root)
    assert moved.run("tinytool")[:2] == (0, "tinytool 1.0\n")


def test_the_commands_exit_status_is_passed_on(checkout: Checkout) -> None:
    """Bootstrap becomes its command, so its exit status is the command's."""
    assert checkout.run("sh", "-c", "exit 7")[0] == 7


def test_a_wrong_hash_installs_nothing(checkout: Checkout) -> None:
    """A file that is not the promised one is refused by name, and the old environment still works."""
    checkout.run("true")
    checkout.lock("2.0", promise="0" * 64)
    code, _, err = checkout.run("tinytool")
    assert code == 1
    assert "DO NOT MATCH THE HASHES" in err
    assert "tinytool==2.0" in err
    assert "Traceback" not in err
    checkout.lock("1.0")
    shutil.rmtree(checkout.index)
    assert checkout.run("tinytool") == (0, "tinytool 1.0\n", "")


def test_a_lock_without_hashes_is_refused(checkout: Checkout) -> None:
    """Nothing is installed whose file the lock does not name."""
    (checkout.root / "requirements" / VERSION / "development.txt").write_text("tinytool==1.0\n")
    code, _, err = checkout.run("true")
    assert code == 1
    assert "TIP   locks are made, not edited" in err
    assert checkout.left() == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"},
            "TIP   check the network",
        ),
        ({}, "TIP   is the package index"),
    ],
    ids=["unreachable", "empty"],
)
def test_an_index_that_does_not_help(checkout: Checkout, environment: dict[str, str], said: str) -> None:
    """An index that does not answer, or lacks the package, is told as such; nothing is left."""
    code, _, err = checkout.run("true", **{**environment, "PIP_FIND_LINKS": str(checkout.root)})
    assert code == 1
    assert said in err
    assert checkout.left() == []


def test_a_project_that_cannot_be_built(checkout: Checkout) -> None:
    """A project whose own build fails shows pip's last lines, and no environment without it is left."""
    (checkout.root / "backend.py").write_text("raise RuntimeError('no hammer')\n")
    code, _, err = checkout.run("true")
    assert code == 1
    assert "no hammer" in err
    assert checkout.left() == []


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_an_incomplete_python(checkout: Checkout, tmp_path: Path, module: str) -> None:
    """A Python whose distribution ships a part apart cannot do it: the hint names the package that brings it."""
    (tmp_path / "sitecustomize.py").write_text(ABSENT.format(module=module))
    code, _, err = checkout.run("tinytool", PYTHONPATH=str(tmp_path))
    assert code == 1
    assert "apt install python3-venv" in err
    assert checkout.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing(checkout: Checkout, number: signal.Signals) -> None:
    """Ctrl-C, a polite end and a closed terminal end pip and all that it started, and leave no folder."""
    checkout.slow(3 * PATIENCE)
    with checkout.start("true") as process:
        builder = checkout.until_building()
        process.send_signal(number)
        err = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130
    assert "ERROR interrupted" in err
    assert checkout.left() == []
    wait_until(lambda: not alive(builder))


def test_an_interrupt_keeps_the_old_environment(checkout: Checkout) -> None:
    """Until the new environment is whole, the old one stays in its place."""
    checkout.run("true")
    before = checkout.venv.stat().st_ino
    checkout.lock("2.0")
    checkout.slow(3 * PATIENCE)
    with checkout.start("true") as process:
        checkout.until_building()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert checkout.venv.stat().st_ino == before


def test_a_killed_run_is_cleared_away(checkout: Checkout) -> None:
    """What a run left that was killed without notice is cleared away by the next one."""
    checkout.slow(2)
    with checkout.start("true") as process:
        checkout.until_building()
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert ".venv.new" in checkout.left()
    (checkout.root / ".venv.new" / "stale").touch()
    (checkout.root / "slow").unlink()
    assert checkout.run("tinytool")[:2] == (0, "tinytool 1.0\n")
    assert not (checkout.venv / "stale").exists()


def test_two_at_once(checkout: Checkout) -> None:
    """The second of two bootstraps says that it waits, and uses what the first one made."""
    checkout.slow(1)
    with checkout.start("tinytool") as first:
        checkout.until_building()
        with checkout.start("tinytool") as second:
            answers = [process.communicate(timeout=PATIENCE) for process in (first, second)]
    assert [out for out, _ in answers] == ["tinytool 1.0\n"] * 2
    assert "making .venv" in answers[0][1]
    assert answers[1][1] == "bootstrap: another bootstrap is at work in this folder: waiting for it\n"


def test_a_full_disk(checkout: Checkout, tmp_path: Path) -> None:
    """On a full disk the message says so, and the half-made environment is gone."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k,nr_inodes=400", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        crowded = Checkout(small / "shop", checkout.index)
        shutil.copytree(checkout.root, crowded.root)
        crowded.lock("1.0")
        (small / "ballast").write_bytes(b"x" * (shutil.disk_usage(small).free - 12 * 1024))
        code, _, err = crowded.run("true")
        assert code == 1
        assert "TIP   make room" in err
        assert crowded.left() == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
