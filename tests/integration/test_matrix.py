"""The test matrix on a real engine, with a test runner of a few lines: results, skips, failures, interrupts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import records
from dockyard.process import capture
from dockyard.settings import Settings, load
from dockyard.verify import matrix

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.13")
"""Those that both a registry and Debian's stable releases have."""
DOCKERFILE = """\
ARG PYTHON_VERSION=3.13
FROM python:${PYTHON_VERSION}-slim AS test
WORKDIR /app
COPY runner.py shop_test.py ./
RUN mkdir -m 1777 /results
USER 65532:65532
ENTRYPOINT ["python", "runner.py"]
"""
RUNNER = """\
import sys, unittest

file = next(word for word in sys.argv if word.startswith("--junitxml=")).partition("=")[2]
names = [word for word in sys.argv[1:] if word.startswith("-k") or "=" not in word]
done = unittest.main("shop_test", argv=["runner", "-v", *names], exit=False).result
counts = done.testsRun, len(done.errors), len(done.failures), len(done.skipped)
with open(file, "w") as out:
    out.write('<testsuites><testsuite tests="%d" errors="%d" failures="%d" skipped="%d"/></testsuites>' % counts)
sys.exit(not done.wasSuccessful())
"""
TESTS = """\
import getpass, os, pwd, sys, time, unittest

class Shop(unittest.TestCase):
    def test_hardened(self):
        self.assertEqual((os.getuid(), os.getgid()), (65532, 65532))
        self.assertEqual((pwd.getpwuid(os.getuid()).pw_name, getpass.getuser()), ("nonroot", "nonroot"))
        with self.assertRaises(OSError):
            open("/app/written", "w")
        with open("/tmp/written", "w") as file:
            file.write("x")
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        self.assertEqual((int(status["CapBnd"], 16), int(status["NoNewPrivs"])), (0, 1))

    def test_failing(self):
        self.fail("broken on purpose")

    @unittest.skip("not today")
    def test_skipped(self):
        pass

    def test_slow(self):
        print("slow begins", flush=True)
        time.sleep(600)
"""


@pytest.fixture
def shop(tmp_path: Path, unique: str) -> Settings:
    """Return a project whose test image takes a second to build: its runner needs only the standard library."""
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.dockyard]\napp = "shop:app"\nimage = "{unique}"\nstack = "{unique}"\n'
        f'pythons = {json.dumps(PYTHONS)}\npython = "3.13"\n'
    )
    (tmp_path / "noxfile.py").write_text("from dockyard.sessions import tests\n")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "runner.py").write_text(RUNNER)
    (tmp_path / "shop_test.py").write_text(TESTS)
    return load(tmp_path, os.environ)


@pytest.fixture
def traces(shop: Settings, engine: Engine) -> Callable[[], list[str]]:
    """Return a function that lists what there is of this project's test containers and of their volumes."""
    started = int(time.time()) - 1

    def look() -> list[str]:
        """Follow each container that there ever was to its volumes, since other tests of this machine have some too."""
        span = (f"--since={started}", f"--until={int(time.time()) + 1}")
        told = capture(engine.command("events", *span, "--format={{json .}}")).stdout
        events = [json.loads(line) for line in told.splitlines()]
        actors = [(one["Type"], one["Action"], one["Actor"]["ID"], one["Actor"]["Attributes"]) for one in events]
        containers = {
            name
            for kind, action, name, more in actors
            if (kind, action) == ("container", "create") and more["name"].startswith(shop.stack)
        }
        volumes = {name for kind, _, name, more in actors if kind == "volume" and more.get("container") in containers}
        assert len(volumes) >= len(containers) > 0
        left = capture(engine.command("ps", "--all", "--quiet", "--no-trunc")).stdout.split()
        left += capture(engine.command("volume", "ls", "--quiet")).stdout.split()
        return sorted((containers | volumes) & set(left))

    return look


def runs(settings: Settings) -> list[dict[str, Any]]:
    """Return the records of test runs, each checked against the documented schema."""
    schema = json.loads((ROOT / "docs" / "reference" / "run-record.schema.json").read_text(encoding="utf-8"))
    valid = fastjsonschema.compile(schema)
    kept = [valid(json.loads(file.read_text())) for file in sorted((settings.root / records.FOLDER).glob("*.json"))]
    return [record for record in kept if record["kind"] == "test"]


def test_every_python_is_tested(shop: Settings, traces: Callable[[], list[str]], said: list[str]) -> None:
    """What is chosen by -k passes in hardened containers, a Python that nobody ships is named, nothing is left."""
    settings = shop._replace(pythons=(*PYTHONS, "3.99"), untested_pythons=("3.99",))
    outcomes, missing = matrix.run_matrix(settings, ("-k", "hardened", "-k", "skipped"))
    assert [(one.python, one.passed, one.failed, one.skipped, one.trouble) for one in outcomes] == [
        (python, 1, 0, 1, "") for python in PYTHONS
    ]
    assert {f"{python} | OK (skipped=1)" for python in PYTHONS} <= set(said)
    shown = {row[0]: row[1] for row in matrix.format_rows(outcomes, missing)}
    assert shown == {"3.11": "passed", "3.13": "passed", "3.99": f"not tested, as allowed: {missing[0].reason}"}
    matrix.require_success(outcomes, forbid_skips=False)
    with pytest.raises(DockyardError, match=r"tests were skipped on Python 3\.11, 3\.13"):
        matrix.require_success(outcomes, forbid_skips=True)
    assert sorted((run["python"], run["outcome"], run["tests"]["passed"]) for run in runs(shop)) == [
        (python, "passed", 1) for python in PYTHONS
    ]
    assert traces() == []


def test_a_failing_test(shop: Settings, traces: Callable[[], list[str]]) -> None:
    """It fails its Python with the counts from the container, is recorded, and leaves nothing either."""
    new = TESTS.replace("self.fail", "sys.version_info < (3, 12) or self.fail")
    (shop.root / "shop_test.py").write_text(new)
    outcomes, _ = matrix.run_matrix(shop, ("-k", "hardened", "-k", "failing"))
    assert [(one.python, one.passed, one.failed, one.trouble) for one in outcomes] == [
        ("3.11", 2, 0, ""),
        ("3.13", 1, 1, "failed"),
    ]
    with pytest.raises(DockyardError, match=r"the tests failed on Python 3\.13$"):
        matrix.require_success(outcomes)
    assert sorted((run["python"], run["outcome"]) for run in runs(shop)) == [("3.11", "passed"), ("3.13", "failed")]
    assert traces() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupt(shop: Settings, engine: Engine, traces: Callable[[], list[str]], number: signal.Signals) -> None:
    """`nox -s tests` that is interrupted ends within seconds, not with its tests, and takes its containers along."""
    process = subprocess.Popen(
        (sys.executable, "-m", "nox", "--session", "tests", "--", "-k", "slow"),
        cwd=shop.root,
        env={**os.environ, **engine.environment, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        assert process.stdout
        said = ""
        while "slow begins" not in said and (line := process.stdout.readline()):
            said += line
        assert traces(), said
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
        assert process.returncode not in (0, None), rest
        assert "Traceback" not in rest
        assert traces() == []
        assert {run["outcome"] for run in runs(shop)} == {"interrupted"}
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
