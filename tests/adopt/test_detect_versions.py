"""What code asks about its own version, and what says it in the image."""

import pytest

from dockyard.adopt.dockerfiles import render_dockerfile
from dockyard.adopt.files import render_ignore
from dockyard.adopt.model import Version
from tests.adopt.conftest import detected

APP = "from flask import Flask\napp = Flask(__name__)\n"
SCM = "[project]\nname = 'corner-shop'\ndynamic = ['version']\n"


@pytest.mark.parametrize(
    "asks",
    [
        "from importlib.metadata import version\nV = version('corner_shop')\n",
        "import importlib.metadata as md\nV = md.version('Corner.Shop')\n",
        "from importlib import metadata\nV = metadata.metadata('corner-shop')['Version']\n",
        "import importlib.metadata\nNAME = 'corner-shop'\nV = importlib.metadata.version(NAME)\n",
        "from importlib import metadata\ndef f(name):\n    return metadata.version(name)\nV = f('Corner-Shop')\n",
        "from pbr.version import VersionInfo\nV = VersionInfo('corner-shop')\n",
        "import pkg_resources\ndef f():\n    return pkg_resources.get_distribution('corner-shop').version\n",
    ],
)
def test_its_own_metadata(asks: str) -> None:
    """Each way to read it, under each spelling of the name; git's tags say the version."""
    project = detected({"app.py": APP + asks, "pyproject.toml": SCM})
    assert project.version.value == Version("corner-shop")
    text = render_dockerfile(project)
    assert "ARG PROJECT_VERSION=0.0.0\n" in text.partition("FROM")[0]
    assert text.count('python /dockyard metadata corner-shop --version "${PROJECT_VERSION}"\n') == 2


@pytest.mark.parametrize(
    ("asks", "name"),
    [
        ("from importlib.metadata import version\nV = version('flask')\n", ""),
        ("from importlib.metadata import version\nV = version('werkzeug')\n", ""),
        ("from importlib.metadata import entry_points\nV = entry_points()\n", ""),
        ("from importlib.metadata import version\nV = version(__package__)\n", "shop"),
        ("from importlib.metadata import version\nV = version(__name__.split('.')[0])\n", "shop"),
        ("from importlib.metadata import version\nV = version('shop')\n", "shop"),
    ],
)
def test_other_packages_keep_theirs(asks: str, name: str) -> None:
    """Metadata that is made for another package's name would hide that one's own."""
    project = detected({"shop/__init__.py": APP + asks}, name="folder")
    assert project.version.value.name == name


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("pyproject.toml", SCM + "[tool.setuptools_scm]\nversion_file = 'src/shop/_v.py'\n"),
        ("pyproject.toml", SCM + "[tool.setuptools_scm]\nwrite_to = 'src/shop/_v.py'\n"),
        ("pyproject.toml", SCM + "[tool.hatch.version]\nsource='vcs'\n[tool.hatch.build.hooks.vcs]\n"
                                 "version-file = 'src/shop/_v.py'\n"),
        ("pyproject.toml", SCM + "[tool.pdm.version]\nsource = 'scm'\nwrite_to = 'src/shop/_v.py'\n"),
        ("pyproject.toml", SCM + "[tool.versioneer]\nVCS = 'git'\nversionfile_source = 'src/shop/_v.py'\n"),
        ("setup.cfg", "[metadata]\nname = corner-shop\n[versioneer]\nversionfile_source = src/shop/_v.py\n"),
        ("setup.py", "import setuptools\nsetuptools.setup(name='corner-shop',\n"
                     "    use_scm_version={'write_to': 'src/shop/_v.py'})\n"),
    ],
)  # fmt: skip
def test_files_that_a_build_writes(path: str, text: str) -> None:
    """Each tool has its own key for them; they are written where the sources lie in the image."""
    project = detected({"src/shop/__init__.py": APP, path: text})
    assert project.version.value == Version("corner-shop", files=("src/shop/_v.py",))
    assert "--file shop/_v.py\n" in render_dockerfile(project)


@pytest.mark.parametrize(
    ("files", "said_in"),
    [
        ({"pyproject.toml": "[project]\nname='shop'\nversion='1.2'\n"}, "pyproject.toml"),
        ({"pyproject.toml": "[tool.poetry]\nname='shop'\nversion='1.2'\n"}, "pyproject.toml"),
        ({"setup.cfg": "[metadata]\nname = shop\nversion = 1.2\n"}, "setup.cfg"),
        ({"setup.cfg": "[metadata]\nname = shop\nversion = attr: shop.about.V_VERSION\n",
          "shop/about.py": "V_VERSION = '1.2'\n"}, "shop/about.py"),
        ({"pyproject.toml": "[project]\nname='shop'\ndynamic=['version']\n[tool.hatch.version]\npath='shop/v.py'\n",
          "shop/v.py": "__version__ = '1.2'\n"}, "shop/v.py"),
        ({"pyproject.toml": "[project]\nname='shop'\n[tool.setuptools.dynamic]\nversion={attr='shop.v.version'}\n",
          "shop/v.py": "version: str = '1.2'\n"}, "shop/v.py"),
        ({"pyproject.toml": "[tool.poetry]\nname='shop'\nversion='0.0.0'\n[tool.poetry-dynamic-versioning]\n"}, ""),
        ({"setup.py": "from setuptools import setup\nsetup(name='shop', version=find())\n"}, ""),
    ],
)  # fmt: skip
def test_files_that_say_the_version(files: dict[str, str], said_in: str) -> None:
    """What is written down is read in each build, so that nothing is typed twice."""
    asks = "from importlib.metadata import version\nV = version('shop')\n"
    project = detected({"shop/__init__.py": APP + asks, **files})
    assert project.version.value == Version("shop", said_in)
    text = render_dockerfile(project)
    if said_in:
        name = said_in.rpartition("/")[2]
        assert f"--mount=source={said_in},target=/tmp/{name} \\\n" in text
        assert f"    python /dockyard metadata shop --project /tmp/{name}\n" in text
        assert "PROJECT_VERSION" not in text
        assert f"!{said_in}" in render_ignore(project)


def test_tools_that_would_ask_git_are_told() -> None:
    """They run where the service starts, so the variable is in each image."""
    project = detected({"app.py": APP + "import setuptools_scm\nV = setuptools_scm.get_version()\n"})
    assert project.version.value == Version(environment=("SETUPTOOLS_SCM_PRETEND_VERSION",))
    text = render_dockerfile(project)
    assert text.count("ENV SETUPTOOLS_SCM_PRETEND_VERSION=${PROJECT_VERSION}\n") == 3
    assert "ARG PROJECT_VERSION\nENV" in text.partition("AS production")[2]
    assert "/dockyard metadata" not in text


@pytest.mark.parametrize(
    ("asks", "where"),
    [
        ("V = subprocess.check_output(['git', 'describe', '--tags'])\n", "app.py:4"),
        ("V = subprocess.run('git rev-parse HEAD', shell=True)\n", "app.py:4"),
        ("try:\n    V = subprocess.check_output(['git', 'describe'])\nexcept OSError:\n    V = ''\n", ""),
    ],
)
def test_git_itself(asks: str, where: str) -> None:
    """No image has it: a variable has the version, and code that does not go on without git is told."""
    found = detected({"app.py": APP + "import subprocess\n" + asks}).version.value
    assert found == Version(environment=("PROJECT_VERSION",), asks_git=where)


def test_a_service_that_does_not_ask() -> None:
    """Nothing of it is in its Dockerfile; other uses of the same words are none."""
    said = "import subprocess\nsubprocess.run(['ls'])\nURL = 'git log'\n"
    project = detected({"app.py": APP + said, "pyproject.toml": SCM})
    assert project.version.value == Version()
    assert "PROJECT_VERSION" not in render_dockerfile(project)
    fixed = {"app.py": APP, "pyproject.toml": "[project]\nname = 'shop'\nversion = '1.2'\n"}
    assert detected(fixed).version.value == Version()
