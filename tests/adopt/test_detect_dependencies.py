"""What a project asks for, in every form that it may say so, and on which Python."""

from pathlib import Path

import pytest

from dockyard.adopt.dependencies import detect_dependencies, poetry_versions
from dockyard.adopt.detection import detect
from dockyard.adopt.model import Dependencies, Overrides
from dockyard.adopt.pythons import detect_python
from dockyard.adopt.snapshot import read_snapshot
from dockyard.errors import DockyardError, SettingsError, UsageError
from tests.adopt.conftest import snapshot


def _locked(key: str, entry: str, *files: str) -> str:
    """Return a lock of one package with some wheels, in uv's or Poetry's words."""
    said = ", ".join(f'{{{entry} = "{file}"}}' for file in (*files, "fast_thing-1.tar.gz"))
    return f'[[package]]\nname = "Fast_Thing"\nversion = "1"\n{key} = [{said}]\n'


@pytest.mark.parametrize(
    ("files", "runtime", "test"),
    [
        ({"requirements.txt": "flask\n"}, ("-r ../requirements.txt",), ()),
        ({"requirements.txt": "flask\n", "requirements-dev.txt": "pytest\n"}, ("-r ../requirements.txt",),
         ("-r ../requirements-dev.txt",)),
        ({"requirements/prod.txt": "-r base.txt\n", "requirements/base.txt": "flask\n"},
         ("-r ../requirements/prod.txt",), ()),
        ({"requirements.in": "flask\n", "requirements.txt": "flask==3.0\n"}, ("-r ../requirements.in",), ()),
        ({"requirements.txt": "-e .\nflask==3.0 # web\n"}, ("flask==3.0",), ()),
        ({"requirements.txt": "flask==3.0 \\\n    --hash=sha256:00\n"}, ("flask==3.0",), ()),
        ({"pyproject.toml": "[project]\nname='x'\ndependencies=['flask']\n[project.optional-dependencies]\n"
          "test=['pytest','x[db]']\nprod=['gunicorn']\n"}, ("flask", "gunicorn"), ("pytest",)),
        ({"pyproject.toml": "[project]\nname='x'\ndependencies=['flask']\n[dependency-groups]\n"
          "dev=['ruff',{include-group='t'}]\nt=['pytest']\n"}, ("flask",), ("ruff", "pytest")),
        ({"pyproject.toml": "[tool.poetry.dependencies]\npython='^3.11'\nflask='^3.0'\n"
          "redis={version='*',extras=['hiredis']}\nown={path='../own'}\n"},
         ("flask>=3.0,<4", "redis[hiredis]"), ()),
        ({"pyproject.toml": "[project]\nname='x'\ndependencies=['flask']\n[tool.pdm.dev-dependencies]\n"
          "test=['pytest']\n"}, ("flask",), ("pytest",)),
        ({"Pipfile": "[packages]\nflask='*'\ngunicorn='==23.0'\n[dev-packages]\npytest='*'\n"},
         ("flask", "gunicorn==23.0"), ("pytest",)),
        ({"setup.cfg": "[options]\ninstall_requires =\n    flask\n    click>8\n"}, ("flask", "click>8"), ()),
        ({"setup.py": "from setuptools import setup\nsetup(install_requires=['flask'])\n"}, ("flask",), ()),
        ({"app.py": "from flask import Flask\nimport os\n"}, ("flask",), ()),
    ],
)  # fmt: skip
def test_forms(files: dict[str, str], runtime: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Where there is a requirements file, the inputs refer to it; nothing is typed twice."""
    found = detect_dependencies(snapshot(files)).value
    assert (found.runtime, found.test) == (runtime, test)


def test_a_setup_cfg_that_cannot_be_read() -> None:
    """What it asks for would be missing without a word; beside other files it may say the name or the version."""
    for others in ({}, {"requirements.txt": "flask\n", "app.py": "import flask\napp = flask.Flask('shop')\n"}):
        with pytest.raises(SettingsError, match=r"setup\.cfg: cannot be read"):
            detect(snapshot({**others, "setup.cfg": "install_requires = flask\n"}), Overrides())


def test_names_come_from_included_files() -> None:
    """What another file asks for counts too."""
    files = {
        "requirements/prod.txt": "-r common.txt\n",
        "requirements/common.txt": "Flask_SQLAlchemy[x]>=3 ; a\nredis\n",
    }
    assert detect_dependencies(snapshot(files)).value.names == {"redis"}


@pytest.mark.parametrize(
    ("lock", "text"),
    [
        ("uv.lock", "[[package]]\nname='Flask'\nversion='3.0.1'\n[[package]]\nname='x'\nversion='1'\n"
         "source={virtual='.'}\n"),
        ("poetry.lock", "[[package]]\nname='flask'\nversion='3.0.1'\n"),
        ("pdm.lock", "[[package]]\nname='flask'\nversion='3.0.1'\n"),
        ("Pipfile.lock", '{"default": {"flask": {"version": "==3.0.1"}}}'),
    ],
)  # fmt: skip
def test_an_existing_lock_moves_no_version(lock: str, text: str) -> None:
    """Its versions are kept; the project itself is none of them."""
    files = {"pyproject.toml": "[project]\nname='x'\ndependencies=['flask']\n", lock: text}
    found = detect_dependencies(snapshot(files))
    assert found.value.constraints == ("flask==3.0.1",)
    assert found.value.specifiers == {"flask": "==3.0.1"}
    assert lock in found.source


def test_broken_files_are_named() -> None:
    """A file that cannot be read is told, not passed over."""
    with pytest.raises(SettingsError, match=r"pyproject\.toml: not valid TOML"):
        detect_dependencies(snapshot({"pyproject.toml": "[project\n"}))
    with pytest.raises(SettingsError, match=r"Pipfile\.lock: not valid JSON"):
        detect_dependencies(snapshot({"Pipfile": "", "Pipfile.lock": "{"}))


@pytest.mark.parametrize(
    ("said", "means"),
    [("^1.2.3", ">=1.2.3,<2"), ("^0.115", ">=0.115,<0.116"), ("^0.0.3", ">=0.0.3,<0.0.4"), ("~1.2", ">=1.2,<1.3"),
     ("~1", ">=1,<2"), ("*", ""), ("1.2", "==1.2"), ("2.*", "==2.*"), (">=1,<3", ">=1,<3"), ("~=1.4", "~=1.4"),
     ("^0", ">=0,<1")],
)  # fmt: skip
def test_versions_of_poetry(said: str, means: str) -> None:
    """Its own signs mean ranges of PEP 440."""
    assert poetry_versions(said) == means


@pytest.mark.parametrize(
    ("files", "python", "source"),
    [
        ({}, "3.13", "the newest that most packages have wheels for"),
        ({".python-version": "3.12.4\n"}, "3.12", ".python-version"),
        ({"runtime.txt": "python-3.11.9"}, "3.11", "runtime.txt"),
        ({".tool-versions": "nodejs 22\npython 3.14.0\n"}, "3.14", ".tool-versions"),
        ({"Dockerfile": "FROM --platform=linux/amd64 python:3.12-slim AS x\n"}, "3.12", "Dockerfile"),
        ({"Pipfile": '[requires]\npython_version = "3.11"\n'}, "3.11", "Pipfile"),
        ({"pyproject.toml": "[tool.dockyard]\npythons=['3.11','3.12']\npython='3.11'\n", ".python-version": "3.13"},
         "3.11", "pythons in [tool.dockyard] of pyproject.toml"),
        ({"pyproject.toml": "[tool.dockyard]\npythons=['3.11','3.12']\n"}, "3.12",
         "pythons in [tool.dockyard] of pyproject.toml"),
        ({"pyproject.toml": "[project]\nrequires-python='>=3.14'\n"}, "3.14",
         "requires-python in pyproject.toml: >=3.14"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\npython='~3.12'\n"}, "3.12",
         "python in [tool.poetry.dependencies]: >=3.12,<3.13"),
        ({"setup.cfg": "[options]\npython_requires = >=3.10, <3.13\n"}, "3.12",
         "python_requires of the setup file: >=3.10, <3.13"),
    ],
)  # fmt: skip
def test_pythons(files: dict[str, str], python: str, source: str) -> None:
    """A version that is named comes first, then the best of those that are allowed."""
    found = detect_python(snapshot(files), Overrides(), Dependencies(()))
    assert (found.value, found.source) == (python, source)


@pytest.mark.parametrize(
    ("files", "python", "said"),
    [
        ({"requirements.txt": "flask==2.0.3\nnumpy==1.26.4\n"}, "3.12", "numpy ==1.26.4 is not made for 3.13"),
        ({"requirements.txt": "numpy==1.24.4\n"}, "3.11", "numpy ==1.24.4 is not made for 3.12"),
        ({"requirements.txt": "pandas<2.2\n"}, "3.12", "pandas <2.2 is not made for 3.13"),
        ({"requirements.txt": "NumPy>=2.2,<3\nGreenlet~=3.1\nlxml==5.*\n"}, "3.13", ""),
        ({"requirements.txt": "numpy>=1.20\nlxml\n"}, "3.13", ""),
        ({"uv.lock": _locked("wheels", "url", "http://x/Fast_Thing-1-cp312-cp312-manylinux_2_17_x86_64.whl",
                             "http://x/Fast_Thing-1-cp313-cp313-win_amd64.whl")}, "3.12", "is not made for 3.13"),
        ({"poetry.lock": _locked("files", "file", "fast_thing-1-cp311-cp311-manylinux1_x86_64.whl",
                                 "fast_thing-1-cp313-cp313t-manylinux_2_17_x86_64.whl")}, "3.11",
         "fast-thing is not made for 3.13"),
        ({"uv.lock": _locked("wheels", "url", "fast_thing-1-cp38-abi3-manylinux_2_17_x86_64.whl")}, "3.13", ""),
        ({"uv.lock": _locked("wheels", "url", "fast_thing-1-py2.py3-none-any.whl")}, "3.13", ""),
        ({"uv.lock": _locked("wheels", "url", "fast_thing-1-cp312-cp312-win_amd64.whl")}, "3.13", ""),
        ({"uv.lock": _locked("wheels", "url")}, "3.13", ""),
        ({"requirements.txt": "numpy==1.24.4\n", ".python-version": "3.13"}, "3.13", ""),
        ({"pyproject.toml": "[project]\nrequires-python='>=3.13'\ndependencies=['numpy<2']\n"}, "3.13",
         "numpy <2 is not made for 3.13"),
    ],
)  # fmt: skip
def test_the_newest_python_that_the_pins_are_made_for(files: dict[str, str], python: str, said: str) -> None:
    """A lock names its wheels, a table the first versions that have some; what is named by the project comes first."""
    texts = snapshot(files)
    found = detect_python(texts, Overrides(), detect_dependencies(texts).value)
    assert (found.value, said in found.source, "not made" in found.source) == (python, True, bool(said))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("Pipfile", "[packages]\nflask='*'\nthing={git='https://git.example/thing', ref='v1'}\n"),
        ("pyproject.toml", "[tool.poetry.dependencies]\nflask='*'\nthing={path='../thing'}\n"),
    ],
)
def test_what_comes_from_no_index_is_told(path: str, text: str) -> None:
    """A lock holds hashes of what an index has: what is left out is said where the dependencies are."""
    found = detect_dependencies(snapshot({path: text}))
    assert found.value.runtime == ("flask",)
    assert "without thing, which no index has" in found.source


def test_a_python_too_old_is_replaced_and_told() -> None:
    """What is no longer supported is said."""
    found = detect_python(snapshot({"runtime.txt": "python-3.8.1"}), Overrides(), Dependencies(()))
    assert found.value == "3.13"
    assert "3.8 in runtime.txt is not supported" in found.source


def test_no_python_fits() -> None:
    """A range without any supported version is an error, and so is such an option."""
    with pytest.raises(DockyardError, match="no supported Python fits"):
        detect_python(
            snapshot({"pyproject.toml": "[project]\nrequires-python='<3.9'\n"}), Overrides(), Dependencies(())
        )
    with pytest.raises(UsageError, match=r"--python 2\.7"):
        detect_python(snapshot({}), Overrides(python="2.7"), Dependencies(()))


PYPROJECT = "[project]\nname = 'tea'\ndynamic = ['dependencies']\n"
HASHED = "itsdangerous==2.2.0 \\\n    --hash=sha256:00\n"


@pytest.mark.parametrize(
    ("files", "runtime", "tests"),
    [
        ({"pyproject.toml": PYPROJECT + "[tool.setuptools.dynamic]\ndependencies = {file = ['needs.txt']}\n",
          "needs.txt": "flask\n"}, ("-r ../needs.txt",), ()),
        ({"pyproject.toml": PYPROJECT + "[tool.hatch.metadata.hooks.requirements_txt]\nfiles = ['deps/base.txt']\n"},
         ("-r ../deps/base.txt",), ()),
        ({"pyproject.toml": "[tool.flit.metadata]\nrequires = ['flask']\n[tool.flit.metadata.requires-extra]\n"
                            "test = ['pytest']\n"}, ("flask",), ("pytest",)),
        ({"pyproject.toml": "[project]\nname = 'tea'\ndependencies = ['flask (>=3)']\n"
                            "[tool.poetry.group.dev.dependencies]\npytest = '^8'\n"},
         ("flask (>=3)",), ("pytest>=8,<9",)),
        ({"pyproject.toml": "[project]\nname = 'tea'\ndependencies = ['flask']\n"
                            "[tool.poetry.dependencies]\nflask = {version = '^1', source = 'here'}\n"}, ("flask",), ()),
        ({"setup.py": "A = ['flask']\nsetup(install_requires=A + ['redis'], tests_require=['pytest'])\n"},
         ("flask", "redis"), ("pytest",)),
        ({"setup.py": "setup(install_requires=read('needs.txt'))\n", "needs.txt": ""}, ("-r ../needs.txt",), ()),
        ({"requirements.txt": f"-c limits.txt\n--index-url https://here/simple\nflask\n{HASHED}"},
         ("-c ../limits.txt", "--index-url https://here/simple", "flask", "itsdangerous==2.2.0"), ()),
        ({"requirements/prod.txt": f"-c limits.txt\n{HASHED}"},
         ("-c ../requirements/limits.txt", "itsdangerous==2.2.0"), ()),
    ],
)  # fmt: skip
def test_where_a_build_of_the_package_reads_them(
    files: dict[str, str], runtime: tuple[str, ...], tests: tuple[str, ...]
) -> None:
    """Files that only a build reads are referred to; how the others are resolved is kept."""
    found = detect_dependencies(snapshot(files)).value
    assert (found.runtime, found.test) == (runtime, tests)


def test_what_no_index_has_is_told() -> None:
    """A checkout, a folder and a wheel are left out, and named; the project itself is its sources."""
    lines = "-e .\nflask\npot @ git+https://here/tea.git\n./vendored/pot\nwheels/cup-1-py3-none-any.whl\n-e ./spoon\n"
    found = detect_dependencies(snapshot({"requirements.txt": lines}))
    assert found.value.runtime == ("flask",)
    left = "pot @ git+https://here/tea.git, ./vendored/pot, wheels/cup-1-py3-none-any.whl, -e ./spoon"
    assert found.source == f"requirements.txt, without {left}, which no index has: put its wheel onto one"


def test_what_no_index_has_may_stand_in_an_included_file() -> None:
    """The line that includes it would bring it back."""
    files = {"requirements.txt": "-e .\nflask\n", "requirements-dev.txt": "-rrequirements.txt\npytest\n"}
    assert detect_dependencies(snapshot(files)).value.test == ("flask", "pytest")


def test_packages_of_conda_are_told() -> None:
    """They are no index's, so the imports are all that is left."""
    files = {"app.py": "import flask\n", "environment.yml": "dependencies: [flask]\n"}
    found = detect_dependencies(snapshot(files))
    assert "environment.yml, whose packages are conda's" in found.source
    assert found.value.runtime == ("flask",)


def test_texts_of_powershell_are_read(tmp_path: Path) -> None:
    """What `pip freeze > requirements.txt` writes there has two bytes for each letter."""
    (tmp_path / "requirements.txt").write_text("flask==3.0\r\n", "utf-16")
    assert read_snapshot(tmp_path).text("requirements.txt") == "flask==3.0\n"
