"""How run records come onto pages: which ledger, with which packages, by which command; and what is said instead."""

import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from dockyard.errors import DockyardError
from dockyard.image import report
from dockyard.image.report import Program, ReportRequest
from dockyard.process import Command, Completed
from dockyard.settings import Settings
from dockyard.tasks import build as door
from tests.conftest import replace_everywhere
from tests.scripted_docker import Docker

LOCK = "flask==3.1 \\\n    --hash=sha256:00\n"


def ledger(root: Path, lock: str) -> Path:
    """Make a folder with the ledger and its lock for Python 3.13."""
    (root / "ledger").mkdir(parents=True)
    path = root / lock
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(LOCK)
    return root


def test_the_ledger_of_a_checkout(tmp_path: Path) -> None:
    """It lies beside Dockyard, its locks where the project has them."""
    source = ledger(tmp_path / "src", "../requirements/3.13/base.txt")
    lock = tmp_path / "requirements" / "3.13" / "base.txt"
    assert report.find_program(source, tmp_path / "none", "3.13") == Program(source, lock)


def test_the_ledger_of_an_installed_dockyard(tmp_path: Path) -> None:
    """It lies inside of Dockyard, with a lock for each Python; one without a lock is told."""
    shipped = ledger(tmp_path / "pages", "3.13.txt")
    assert report.find_program(tmp_path, shipped, "3.13") == Program(shipped, shipped / "3.13.txt")
    with pytest.raises(DockyardError, match=r"no lock for Python 3\.99"):
        report.find_program(tmp_path, shipped, "3.99")


@pytest.mark.parametrize(
    ("lock", "there"),
    [
        (f"pytest=={pytest.__version__}\n", True),
        ("pytest==0.1\n", False),
        ("no-such-package==1\n", False),
        (f"pytest=={pytest.__version__}\nno-such-package==1 ; python_version < '3'\n", True),
    ],
)
def test_what_is_installed(lock: str, there: bool) -> None:
    """The environment will do where it has each pin that counts here, in that very version."""
    assert report.is_installed(lock) is there


class Pip(Docker):
    """A pip that makes a folder."""

    def answer(self, command: Command) -> Completed:
        """Install."""
        target = next((word for word in command.argv if word.startswith("--target=")), "").partition("=")[2]
        if target:
            (Path(target) / "flask").mkdir(parents=True)
        return Completed(0, "", "", 0.1)


def test_packages_are_installed_once(tmp_path: Path, said: list[str]) -> None:
    """By hash, into the cache; a run that is interrupted leaves nothing that would pass for them."""
    lock = tmp_path / "3.13.txt"
    lock.write_text(LOCK)
    environment, pip = {"XDG_CACHE_HOME": str(tmp_path / "cache")}, Pip()
    made = report.install_packages(lock, environment, pip)
    assert report.install_packages(lock, environment, pip) == made
    assert (made / "flask").is_dir()
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    (command,) = pip.asked
    assert command.argv[:4] == (sys.executable, "-m", "pip", "install")
    assert {"--require-hashes", "--no-deps", f"--requirement={lock}"} <= set(command.argv)
    assert said == ["installing what the pages need, once"]


def test_an_index_that_is_out_of_reach(tmp_path: Path) -> None:
    """Pip's last line is told, and nothing is left."""
    lock = tmp_path / "3.13.txt"
    lock.write_text(LOCK)
    pip = Pip()
    pip.says["pip"] = Completed(1, "", "trying\nERROR: no matching distribution", 0.1)
    with pytest.raises(DockyardError, match="cannot be installed: ERROR: no matching distribution"):
        report.install_packages(lock, {"XDG_CACHE_HOME": str(tmp_path / "cache")}, pip)
    assert list((tmp_path / "cache" / "dockyard" / "report").iterdir()) == []


def test_the_command(tmp_path: Path) -> None:
    """It serves at a port, and opens a browser where there is one; or it writes, from wherever it is called."""
    served = report.make_command(tmp_path, ReportRequest(port=8123, browse=True), [Path("/a"), Path("/b")])
    assert served.argv == (sys.executable, "-m", "ledger.report", "--port=8123", "--browse", str(tmp_path))
    assert served.env == {"PYTHONPATH": "/a:/b"}
    written = report.make_command(tmp_path, ReportRequest(static="out", browse=True), [Path("/a")])
    assert written.argv[3:] == (f"--static={Path.cwd() / 'out'}", str(tmp_path))


def test_a_report_without_records(settings: Settings) -> None:
    """It is told what makes the first one."""
    with pytest.raises(DockyardError, match="there is no run record") as caught:
        report.show_report(settings, ReportRequest())
    assert caught.value.hint == "`invoke build` makes the first one"


def test_a_report_in_the_environment_at_hand(settings: Settings) -> None:
    """Nothing is installed where all is there."""
    (settings.root / ".dockyard" / "runs").mkdir(parents=True)
    (settings.root / ".dockyard" / "runs" / "a.json").write_text("{}")
    program, pip = Program(settings.root, settings.root / "3.13.txt"), Pip()
    paths = []
    for lock in ("", LOCK.replace("flask", "no-such-package")):
        program.lock.write_text(lock)
        report.show_report(settings, ReportRequest(), program, pip)
        paths.append(str(pip.asked[-1].env["PYTHONPATH"]).split(":")[1:])
    assert paths == [[], [str(report.install_packages(program.lock, runner=pip))]]


def test_stopping_is_no_failure(settings: Settings, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """Ctrl-C is how a report ends."""
    replace_everywhere(monkeypatch, "settings", lambda: settings)
    replace_everywhere(monkeypatch, "show_report", Mock(side_effect=KeyboardInterrupt))
    door.report(Context())
    assert said == ["\nstopped"]


def test_what_a_ledger_missed_is_sent(settings: Settings, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """When asked for; without a ledger that is a mistake."""
    replace_everywhere(monkeypatch, "settings", lambda: settings._replace(ledger_url="http://ledger"))
    door.report(Context(), send=True)
    assert said == ["0 run records are waiting to be sent"]
    replace_everywhere(monkeypatch, "settings", lambda: settings)
    with pytest.raises(Exit) as ended:
        door.report(Context(), send=True)
    assert ended.value.code == 2
