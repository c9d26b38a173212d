"""A package without a wheel: built in the stage with compilers, and installed in images that have none."""

import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.image import build, names
from dockyard.image.build import Request
from dockyard.image.names import Variant
from dockyard.locks.check import lock_path
from dockyard.locks.compile import make_locks, write_outcome
from dockyard.locks.plan import Wish
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.verify import verify
from dockyard.verify.model import ImageQuery

from .package_index import Index, serving

SETUP = """\
from setuptools import Extension, setup
setup(name="knot", version="1.2", ext_modules=[Extension("knot", ["knot.c"])])
"""
KNOT = """\
#include <Python.h>
static PyObject *tie(PyObject *self, PyObject *ends) {
    long one, other;
    if (!PyArg_ParseTuple(ends, "ll", &one, &other)) return NULL;
    return PyLong_FromLong(one + other);
}
static PyMethodDef methods[] = {{"tie", tie, METH_VARARGS, __FILE__}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "knot", NULL, -1, methods};
PyMODINIT_FUNC PyInit_knot(void) { return PyModule_Create(&module); }
"""
BUILDS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


@pytest.fixture(scope="module")
def index(engine: Engine) -> Iterator[Index]:
    """Serve, where builds reach this machine, a package that is C and a package that is Python, both from source."""
    gateway = ("network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Gateway}}")
    index = Index()
    index.add_source("knot", "1.2", {"setup.py": SETUP, "knot.c": KNOT, "pyproject.toml": BUILDS})
    project = '[project]\nname = "splice"\nversion = "3"\n'
    index.add_source("splice", "3", {"splice.py": "strands = 3\n", "pyproject.toml": BUILDS + project})
    try:
        with serving(index, host=capture(engine.command(*gateway)).stdout.strip()) as running:
            yield running
    except OSError:
        pytest.skip("this machine is not where the engine's containers are")


@pytest.fixture(scope="module")
def yard(
    project: Settings, engine: Engine, index: Index, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Yield a copy of this project that needs both packages, locked for the engine's own platform."""
    root = tmp_path_factory.mktemp("project")
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "bootstrap", "tasks.py", "noxfile.py"):
        shutil.copy(project.root / name, root)
    for folder in ("tests", "docs/reference"):
        (root / folder).mkdir(parents=True)
    for folder in ("src", "requirements"):
        shutil.copytree(project.root / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    host = index.address.partition("//")[2].partition(":")[0]
    with (root / "requirements" / "base.in").open("a") as base:
        base.write(f"knot\nsplice\n--extra-index-url {index.address}\n--trusted-host {host}\n")
    (root / "requirements" / "build.in").write_text("setuptools\n")
    with (root / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("FROM base AS shown\nCOPY --from=wheels /built/wheels /wheels\n")
    platform = capture(engine.command("version", "--format={{.Server.Os}}/{{.Server.Arch}}")).stdout.strip()
    name = f"dockyard-wheels-{secrets.token_hex(4)}"
    made = project._replace(
        root=root,
        image=name,
        pythons=(project.python,),
        hashes="platform",
        platforms=(platform,),
        resolver="uv",
    )
    outcome = make_locks(made, Wish(), engine)
    write_outcome(made, outcome)
    assert [each.package for each in outcome.built] == ["knot", "splice"]
    yield made
    listing = ("images", "--filter", f"reference={name}", "--format", "{{.Repository}}:{{.Tag}}")
    capture(engine.command("rmi", "--force", *capture(engine.command(*listing)).stdout.split()))


def run(yard: Settings, engine: Engine, target: str, *command: str, no_cache: bool = False) -> str:
    """Build a target, and return what a command prints in it."""
    build.build_images(yard, Request(targets=(target,), no_cache=no_cache), engine=engine)
    image = names.local_name(yard, Variant(target, yard.python))
    return capture(
        engine.command("run", "--rm", "--network=none", "--entrypoint", command[0], image, *command[1:])
    ).stdout


def test_what_was_built_runs_where_no_compiler_is(yard: Settings, engine: Engine) -> None:
    """In the production image, which breaks no rule: what is installed is what the lock says."""
    said = run(
        yard, engine, "production", "python", "-c", "import knot, splice; print(knot.tie(20, 22), splice.strands)"
    )
    assert said == "42 3\n"
    found = verify.verify_image(yard, ImageQuery(), engine=engine)
    assert found.verdict.findings == ()
    assert found.ok


def test_other_images_get_the_same_wheel(yard: Settings, engine: Engine) -> None:
    """A lock with all hashes is installed from the wheel that was built, too."""
    lock = (yard.root / lock_path(yard.python, "test")).read_text()
    assert "built from source" not in lock
    said = run(yard, engine, "test", "/opt/venv/bin/python", "-c", "import knot; print(knot.tie(1, 1))")
    assert said == "2\n"
    here = "import shutil; print([name for name in ('gcc', 'cc', 'make') if shutil.which(name)])"
    assert run(yard, engine, "test", "python", "-c", here) == "[]\n"


def test_a_wheel_that_is_built_again_is_the_same(yard: Settings, engine: Engine) -> None:
    """Without any cache: compilers installed again, another temporary folder, the same bytes."""
    command = ("sh", "-c", "cd /wheels && sha256sum *")
    first = run(yard, engine, "shown", *command)
    assert [line.split()[1].partition("-")[0] for line in first.splitlines()] == ["knot", "splice"]
    assert run(yard, engine, "shown", *command, no_cache=True) == first


def test_a_change_of_another_package_compiles_nothing(
    yard: Settings, engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """BuildKit takes the wheels from its cache, though the lock is another one."""
    run(yard, engine, "shown", "true")
    capfd.readouterr()
    lock = yard.root / lock_path(yard.python, "production")
    text = lock.read_text()
    lock.write_text(f"{text}zipp==4.1 \\\n    --hash=sha256:{'0' * 64}\n")
    try:
        run(yard, engine, "shown", "true")
    finally:
        lock.write_text(text)
    said = "".join(capfd.readouterr())
    steps = {stage: number for number, stage in re.findall(r"^#(\d+) \[(sources|wheels) 1/1\]", said, re.MULTILINE)}
    assert f"#{steps['sources']} CACHED" not in said
    assert f"#{steps['wheels']} CACHED" in said


def test_no_builder_without_a_lock_for_it(
    yard: Settings, engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing unhashed ever builds a wheel: the build ends, and says what is missing."""
    root = tmp_path / "copy"
    shutil.copytree(yard.root, root)
    (root / lock_path(yard.python, "build")).unlink()
    with pytest.raises(DockyardError, match="the build failed"):
        run(yard._replace(root=root), engine, "production", "true")
    assert "knot, splice: built from source, and no lock says what builds that" in "".join(capfd.readouterr())


def test_no_production_on_another_platform_than_those_of_the_lock(
    yard: Settings, engine: Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason is told, and not only that hashes do not match; tests are built on any machine."""
    (own,) = yard.platforms
    lock = yard.root / lock_path(yard.python, "production")
    text = lock.read_text()
    changed = re.sub(r"(flask==\S+ \\\n    --hash=sha256:)[0-9a-f]{64}", rf"\g<1>{'0' * 64}", text)
    lock.write_text(changed.replace(f", {own}, platform hashes", ", linux/s390x, platform hashes"))
    try:
        with pytest.raises(DockyardError, match="hash"):
            run(yard, engine, "production", "true")
    finally:
        lock.write_text(text)
    assert f"the production lock is for linux/s390x, and this build for {own}" in "".join(capfd.readouterr())
