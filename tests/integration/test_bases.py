"""Base images made from Debian packages, on a real engine: what is in them, and that they are always the same."""

import importlib.resources
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard import files
from dockyard.bases import cache, debian, resolve
from dockyard.bases.resolve import Base
from dockyard.engine.client import Engine
from dockyard.process import Completed, capture
from dockyard.settings import Settings
from tests.conftest import keep_temporary_files

PYTHON = "3.13"
BYTECODE = """
import collections, glob, importlib.util, json
found = collections.Counter()
tops = ("/usr/lib/python3*/**/*.py", "/usr/local/lib/**/*.py")
for source in (path for top in tops for path in glob.glob(top, recursive=True)):
    try:
        head = open(importlib.util.cache_from_source(source), "rb").read(16)
    except OSError:
        found["none"] += 1
        continue
    same = head[8:16] == importlib.util.source_hash(open(source, "rb").read())
    valid = head[:4] == importlib.util.MAGIC_NUMBER and same
    found["unchecked" if valid and head[4] == 1 else "other"] += 1
print(json.dumps(found))
"""
WHEEL = """
import sys, zipfile
with zipfile.ZipFile("/tmp/demo-1-py3-none-any.whl", "w") as wheel:
    info = "demo-1.dist-info/"
    wheel.writestr("demo.py", "x = 1")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: demo\\nVersion: 1\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "".join(f"{name},,\\n" for name in wheel.namelist()))
"""


@pytest.fixture(scope="module")
def base(engine: Engine, project: Settings) -> Base:
    """Return the base of the default Python, made from packages if the cache has none."""
    found, missing = resolve.ensure_bases(project._replace(base="debian"), engine, [PYTHON])
    assert missing == ()
    return found[0]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Use a cache of this test's own, which has the tool already, and temporary files in a folder of its own."""
    tool = files.folder() / "mmdebstrap"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    keep_temporary_files(monkeypatch, None)
    (tmp_path / "tmp").mkdir()
    files.folder().mkdir(parents=True)
    if tool.is_dir():
        shutil.copytree(tool, files.folder() / "mmdebstrap", symlinks=True)
    yield tmp_path
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def run(engine: Engine, base: Base, *command: str) -> Completed:
    """Run a command in a container of the base that has no network."""
    return capture(engine.command("run", "--rm", "--network", "none", base.image, *command))


def test_python_as_in_the_official_image(engine: Engine, base: Base) -> None:
    """python, python3, pythonX.Y and pip are found in /usr/local/bin, and sys.prefix is /usr/local."""
    script = (
        "import sys, os; print(sys.prefix, '%d.%d' % sys.version_info[:2], *map(os.getenv, ('LANG', 'PYTHON_VERSION')))"
    )
    for name in ("python", "python3", f"python{PYTHON}"):
        prefix, version, language, full = run(engine, base, name, "-c", script).stdout.split()
        assert (prefix, version, language) == ("/usr/local", PYTHON, "C.UTF-8")
        assert full.startswith(f"{PYTHON}.")
        assert run(engine, base, "sh", "-c", f"command -v {name}").stdout.strip() == f"/usr/local/bin/{name}"
    assert "/usr/local/lib" in run(engine, base, "python", "-m", "pip", "--version").stdout
    assert "/usr/local/lib" in run(engine, base, "pip", "--version").stdout


def test_pip_installs_where_the_official_image_does(engine: Engine, base: Base) -> None:
    """Site-packages, a prefix and a virtual environment are where a user's Dockerfile expects them."""
    script = f"""set -e
    python -c '{WHEEL}'
    install() {{ pip "$@" install -q --no-index --root-user-action=ignore $prefix /tmp/*.whl; }}
    prefix="--prefix /x" install && ls /x/lib/python*/site-packages/demo.py
    install && python -c 'import demo; print(demo.__file__)'
    python -m venv --without-pip /v && install --python /v/bin/python
    /v/bin/python -c 'import demo; print(demo.__file__)'
    python -m venv /w && /w/bin/pip --version >/dev/null
    """
    assert run(engine, base, "sh", "-c", script).stdout.split() == [
        f"/x/lib/python{PYTHON}/site-packages/demo.py",
        f"/usr/local/lib/python{PYTHON}/site-packages/demo.py",
        f"/v/lib/python{PYTHON}/site-packages/demo.py",
    ]


def test_certificates_zones_and_types(engine: Engine, base: Base) -> None:
    """What programs take for granted is there."""
    script = (
        "import ssl, socket, zoneinfo, mimetypes, sqlite3; "
        "assert len(ssl.create_default_context().get_ca_certs()) > 50; "
        "assert zoneinfo.ZoneInfo('Europe/Madrid'); assert socket.getservbyname('https') == 443; "
        "assert mimetypes.guess_type('a.webp')[0] == 'image/webp'; print('all')"
    )
    assert run(engine, base, "python", "-c", script).stdout.strip() == "all"


def test_every_module_has_valid_bytecode(engine: Engine, base: Base) -> None:
    """Bytecode of the standard library and pip is there, made for this source, and needs no file time."""
    found = json.loads(run(engine, base, "python", "-c", BYTECODE).stdout)
    assert found.pop("unchecked") > 500
    assert found == {}


def test_nothing_of_host_and_time(engine: Engine, base: Base) -> None:
    """No documentation, package lists, logs, or names of the machine that made it; apt and dpkg are sound."""
    script = """find /var/lib/apt/lists /var/cache/apt /var/log /usr/share/man /usr/share/locale -type f
    find /usr/share/doc -type f ! -name copyright; dpkg --audit
    find / -xdev -type f -newermt 2026-01-02 ! -path '/proc/*' ! -path '/sys/*' ! -path '/etc/*' ! -name .dockerenv
    apt-get check >/dev/null && echo sound"""
    assert run(engine, base, "sh", "-c", script + "; true").stdout.split() == ["sound"]


def test_a_build_uses_it_and_no_registry(engine: Engine, base: Base, tmp_path: Path) -> None:
    """FROM python:X-slim is replaced by the base, although the reference could not be resolved anywhere."""
    text = "ARG PYTHON_VERSION\nFROM python:${PYTHON_VERSION}-slim\nRUN --network=none python -V >/version\n"
    (tmp_path / "Dockerfile").write_text(text)
    context = f"{base.reference}={base.context}"
    arguments = ("--progress=plain", "--build-arg", f"PYTHON_VERSION={PYTHON}", "--build-context", context)
    done = capture(engine.command("buildx", "build", *arguments, "--output", str(tmp_path / "out"), str(tmp_path)))
    assert (tmp_path / "out/version").read_text().startswith(f"Python {PYTHON}.")
    if base.layout:
        assert "OCI load from client" in done.stderr


def test_a_second_time_costs_one_question(engine: Engine, project: Settings, base: Base, said: list[str]) -> None:
    """With all at hand, the same base comes back without a program other than one `docker image inspect`."""
    said.clear()
    started = time.monotonic()
    again, _ = resolve.ensure_bases(project._replace(base="debian"), engine, [PYTHON])
    assert again == (base,)
    assert said == [f"base images: Python {PYTHON} from Debian packages"]
    assert time.monotonic() - started < 5


def test_an_engine_without_it_gets_it_from_the_cache(engine: Engine, project: Settings, base: Base) -> None:
    """Somebody removes the image: the next command brings it back, without making it again."""
    record = cache.read_record(PYTHON, debian.architecture())
    assert record is not None
    capture(engine.command("rmi", "--force", base.image))
    assert engine.inspect_image(base.image) is None
    resolve.ensure_bases(project._replace(base="debian"), engine, [PYTHON])
    held = engine.inspect_image(base.image)
    assert held
    assert held["RootFS"]["Layers"] == [record.image.diff_id]


def test_made_again_it_is_the_same(base: Base, empty_cache: Path) -> None:
    """In another folder, under another umask, the same packages give the same digests."""
    umask = os.umask(0o077)
    try:
        record = debian.ensure_base(PYTHON, allow_expired=True)
    finally:
        os.umask(umask)
    assert record.image.config == base.digest
    if base.layout:
        assert base.layout.endswith(record.image.manifest)
    assert list((empty_cache / "tmp").iterdir()) == []
    assert [path.name for path in files.folder().glob(".making*")] == []


def test_a_python_that_no_release_ships(engine: Engine, project: Settings) -> None:
    """It is named with the reason, and nothing is made."""
    found, missing = resolve.ensure_bases(project._replace(base="debian"), engine, ["3.12"])
    assert found == ()
    assert [absent.python for absent in missing] == ["3.12"]
    assert "no Debian release ships Python 3.12" in missing[0].reason


def test_an_interrupt_leaves_nothing(empty_cache: Path) -> None:
    """Ctrl-C while it is made: no process, no mount, no temporary folder, no half base."""
    program = "from dockyard import console; from dockyard.bases import debian, parallel; console.show_progress(); "
    program += f"parallel.run_each(lambda one: debian.ensure_base(one, allow_expired=True), ['{PYTHON}'])"
    source = str(Path(str(importlib.resources.files("dockyard"))).parent)
    environment = {**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}
    words = (sys.executable, "-c", program)
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "essentials" in line:
                time.sleep(1)
                child.send_signal(signal.SIGINT)
                break
        else:
            pytest.fail("it ended before it was interrupted")
        assert child.wait(60) != 0
    assert list((empty_cache / "tmp").iterdir()) == []
    assert str(empty_cache) not in Path("/proc/self/mountinfo").read_text()
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(empty_cache).encode() in _content(path)]
    assert left == []
    assert cache.read_record(PYTHON, debian.architecture()) is None
    assert {path.name for path in files.folder().iterdir()} <= {
        "mmdebstrap",
        ".mmdebstrap.lock",
        f".python-{PYTHON}.lock",
    }


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
