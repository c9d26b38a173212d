"""The files that are written: whole, short, in the shape that Dockyard and Compose read."""

import json
import re
import tomllib
from collections.abc import Callable

import pytest

from dockyard.adopt.compose_files import render_compose, render_environment, render_production
from dockyard.adopt.detection import detect
from dockyard.adopt.dockerfiles import render_dockerfile
from dockyard.adopt.files import (
    PRODUCTION,
    find_uncopied,
    render,
    render_example,
    render_gitignore,
    render_ignore,
    render_production_inputs,
    render_settings,
    render_test_inputs,
)
from dockyard.adopt.model import Overrides, Project
from dockyard.adopt.values import stack_values, without_value
from dockyard.image.dockerfile import parse_dockerfile
from tests.adopt.conftest import SAMPLES, detected, snapshot

NAMES = sorted(
    path.name if path.name != "monorepo" else "monorepo/services/prices" for path in SAMPLES.iterdir() if path.is_dir()
)
APP = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_dockerfile_is_short_and_has_the_targets(name: str, sample: Callable[[str], Project]) -> None:
    """At most 80 lines, each no longer than a person reads."""
    text = render_dockerfile(sample(name))
    assert {"production", "test", "development", "dockyard"} <= set(parse_dockerfile(text).targets)
    assert len(text.splitlines()) <= 80
    assert "\n\n\n" not in text


@pytest.mark.parametrize("name", NAMES)
def test_files_end_as_files_do(name: str, sample: Callable[[str], Project]) -> None:
    """No trailing spaces, one line end at the end."""
    for path, text in render(sample(name), snapshot({})).items():
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert not [line for line in text.splitlines() if line != line.rstrip()], path


def test_sources_lie_where_they_are_imported(sample: Callable[[str], Project]) -> None:
    """The folder src does not reach the image; files go in one line, each folder in its own."""
    assert "COPY src/notes notes\n" in render_dockerfile(sample("factory"))
    assert "COPY app.py ./\nCOPY templates templates\n" in render_dockerfile(sample("single"))


def test_odd_names_are_quoted() -> None:
    """A space in a name divides no word."""
    text = render_dockerfile(detected({"app.py": APP, "my views/x.py": "", "Grüße.py": ""}))
    assert 'COPY Grüße.py app.py ./\nCOPY ["my views", "my views"]\n' in text


def test_build_steps_have_their_packages(sample: Callable[[str], Project]) -> None:
    """What runs the application's code at build time has what it imports."""
    application = render_dockerfile(sample("django")).partition("AS application")[2].partition("FROM")[0]
    packages = application.index("COPY --from=packages /layers/1/opt/venv /opt/venv\n")
    assert packages < application.index("collectstatic") < application.index("ln -s")


def test_a_front_end_is_built_in_a_stage_of_its_own(sample: Callable[[str], Project]) -> None:
    """What npm makes is copied to where the sources are."""
    text = render_dockerfile(sample("npm"))
    assert "COPY package-lock.json package.json ./\nCOPY front front\n" in text
    assert "COPY --from=frontend /app/static/dist static/dist\n" in text


def test_the_stack_of_several_processes(sample: Callable[[str], Project]) -> None:
    """A worker has the same image, no port, no check; addresses are filled in, for there is no shell."""
    text = render_compose(sample("worker"))
    assert 'command: ["rq", "worker", "--url", "redis://valkey:6379/0", "letters"]' in text
    assert text.count("ports:") == 1
    assert "image: valkey/valkey:8" in text
    production = render_production(sample("worker"))
    assert production.count("<<: *app") == 2
    assert "read_only: true" in production


def test_migrations_come_first(sample: Callable[[str], Project]) -> None:
    """The service waits for the release step, and that for the database; it is not started again."""
    text = render_compose(sample("migrations"))
    assert "      release:\n        condition: service_completed_successfully\n" in text
    assert "MARIADB_PASSWORD_FILE: /run/secrets/database_password" in text
    assert render_production(sample("migrations")).count("restart: unless-stopped") == 1


def test_data_lies_in_volumes(sample: Callable[[str], Project]) -> None:
    """Each stack has its own; a file at the top of the application lies behind a link."""
    assert "- instance:/app/instance" in render_compose(sample("factory"))
    assert "- production-instance:/app/instance" in render_production(sample("factory"))
    assert "ln -s /data/db.sqlite3 /app/db.sqlite3" in render_dockerfile(sample("django"))
    assert "- production-data:/data" in render_production(sample("django"))


@pytest.mark.parametrize(
    ("packages", "name", "value"),
    [
        ("psycopg2", "DATABASE_URL", "postgresql://app:${DATABASE_PASSWORD}@database:5432/app"),
        ("psycopg[binary]", "DATABASE_URL", "postgresql://app:${DATABASE_PASSWORD}@database:5432/app"),
        ("psycopg\nsqlalchemy", "DB_URI", "postgresql+psycopg://app:${DATABASE_PASSWORD}@database:5432/app"),
        ("psycopg2-binary\nflask-sqlalchemy", "DATABASE_URL",
         "postgresql+psycopg2://app:${DATABASE_PASSWORD}@database:5432/app"),
        ("pymysql\nflask-sqlalchemy", "SQLALCHEMY_DATABASE_URI",
         "mysql+pymysql://app:${DATABASE_PASSWORD}@database:3306/app"),
        ("redis", "CELERY_BROKER_URL", "redis://valkey:6379/0"),
        ("redis", "REDIS_HOST", "valkey"),
        ("redis\npsycopg2", "REDIS_PORT", "6379"),
        ("redis\npsycopg2", "DB_PORT", "5432"),
        ("psycopg2", "DB_PASSWORD", "${DATABASE_PASSWORD}"),
        ("psycopg2", "POSTGRES_USER", "app"),
        ("", "SECRET_KEY", "${SECRET_KEY}"),
        ("", "ADDRESS", ""),
    ],
)  # fmt: skip
def test_values_of_the_stack(packages: str, name: str, value: str) -> None:
    """Addresses of services by the variable's name; secrets are named, never written."""
    files = {"app.py": APP + f"import os\nA = os.environ['{name}']\n", "requirements.txt": f"flask\n{packages}\n"}
    assert stack_values(detected(files)) == {name: value}


def test_what_a_person_must_still_say() -> None:
    """A variable that is required and has no value anywhere."""
    project = detected({"app.py": APP + "import os\nA = os.environ['ADDRESS'], os.environ['SECRET']\n"})
    assert [one.name for one in without_value(project)] == ["ADDRESS"]
    assert render_environment(project).splitlines()[2:] == ["ADDRESS=", "SECRET=${SECRET}"]
    assert "# app.py:4: the service does not start without it\nADDRESS=\n" in render_example(project, "")


def test_inputs_refer_to_the_users_file(sample: Callable[[str], Project]) -> None:
    """Nothing is typed twice, and a server is added only where there is none."""
    assert render_production_inputs(sample("procfile")).splitlines()[1:] == ["-r ../requirements.txt"]
    assert render_production_inputs(sample("single")).splitlines()[1:] == ["-r ../requirements.txt", "gunicorn"]
    assert render_test_inputs(sample("procfile")).splitlines()[1:] == [
        "-r production.in", "-r ../requirements-dev.txt",
    ]  # fmt: skip
    assert "-c constraints.txt" in render_production_inputs(sample("pipenv"))


@pytest.mark.parametrize(
    ("files", "changed", "missing"),
    [
        ({"pyproject.toml": "[project]\ndependencies = ['flask>=3']\n"},
         {"pyproject.toml": "[project]\ndependencies = ['flask>=3', 'redis']\n"}, ("redis",)),
        ({"pyproject.toml": "[project]\ndependencies = ['flask>=3']\n"},
         {"pyproject.toml": "[project]\ndependencies = ['flask>=4']\n"}, ("flask>=4",)),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nflask = '^3.0'\n"},
         {"pyproject.toml": "[tool.poetry.dependencies]\nflask = '^3.1'\n"}, ("flask>=3.1,<4",)),
        ({"Pipfile": "[packages]\nflask = '*'\n"}, {"Pipfile": "[packages]\nflask = '*'\nrq = '*'\n"}, ("rq",)),
        ({"setup.cfg": "[options]\ninstall_requires = flask\n"},
         {"setup.cfg": "[options]\ninstall_requires =\n  flask\n  rq\n"}, ("rq",)),
    ],
)  # fmt: skip
def test_a_copy_is_held_against_what_it_was_made_from(
    files: dict[str, str], changed: dict[str, str], missing: tuple[str, ...]
) -> None:
    """New and changed lines are named as they are to be copied, until a person takes the comment out."""
    project = detect(snapshot({"app.py": APP, **files}), Overrides())
    copy = render_production_inputs(project)
    assert copy.splitlines()[1].startswith("# Copied from ")
    assert find_uncopied(snapshot({**files, PRODUCTION: copy}))[0] == ()
    assert find_uncopied(snapshot({**changed, PRODUCTION: copy}))[0] == missing
    assert find_uncopied(snapshot({"app.py": APP, "requirements.in": "rq\n", PRODUCTION: copy})) == ((), "")
    own = "".join(line + "\n" for line in copy.splitlines() if not line.startswith("# Copied"))
    assert find_uncopied(snapshot({**changed, PRODUCTION: own})) == ((), "")


def test_what_is_referred_to_is_no_copy(sample: Callable[[str], Project]) -> None:
    """Nor is what no file says: there is nothing to hold it against."""
    assert "# Copied" not in render_production_inputs(sample("single"))
    assert "# Copied" not in render_production_inputs(detect(snapshot({"app.py": APP}), Overrides()))


def test_settings_come_behind_what_is_there(sample: Callable[[str], Project]) -> None:
    """Comments and order stay, and Dockyard's table is not made twice."""
    before = "[project]  # ours\nname = 'notes'\n"
    text = render_settings(sample("factory"), snapshot({"pyproject.toml": before}))
    assert text.startswith(before)
    table = tomllib.loads(text)["tool"]["dockyard"]
    assert table["app"] == "notes:create_app()"
    assert table["trial-tmpfs"] == ["/app/instance"]
    assert render_settings(sample("factory"), snapshot({"pyproject.toml": text})) == text


def test_what_is_compiled_is_not_compiled_to_be_locked(sample: Callable[[str], Project]) -> None:
    """There is no compiler where locks are made, and uv needs none."""
    assert 'resolver = "uv"' in render_settings(sample("compiled"), snapshot({}))
    assert "resolver" not in render_settings(sample("single"), snapshot({}))
    assert "python /dockyard packages --compilers libcairo2-dev pkg-config\n" in render_dockerfile(sample("compiled"))
    assert "python /dockyard packages libmagic1\n" in render_dockerfile(sample("library"))


def test_lists_of_what_stays_out() -> None:
    """Lines that are there already are not added."""
    assert render_gitignore("*.pyc\n.env") == "*.pyc\n.env\n/.dockyard/\n"
    assert render_gitignore("/.dockyard/\n/.env\n") == "/.dockyard/\n/.env\n"
    ignored = render_ignore(detected({"app.py": APP, "tests/test_app.py": ""}))
    assert ignored.splitlines()[1:] == ["*", "!app.py", "!tests", "!pyproject.toml", "!requirements", "**/__pycache__"]


def test_a_dockerfile_of_ones_own_stays(sample: Callable[[str], Project]) -> None:
    """Where Dockyard cannot build from it, another one comes beside it, with its own list of what goes in."""
    files = render(sample("own_dockerfile"), snapshot({}))
    assert {"Dockerfile.dockyard", "Dockerfile.dockyard.dockerignore"} <= files.keys()
    assert not {"Dockerfile", ".dockerignore"} & files.keys()
    assert tomllib.loads(files["pyproject.toml"])["tool"]["dockyard"]["dockerfile"] == "Dockerfile.dockyard"
    usable = detected({"app.py": APP, "Dockerfile": "FROM x AS production\nCMD app:app\n"})
    assert usable.dockerfile == "Dockerfile"


def test_build_steps_that_import_the_app_get_its_settings() -> None:
    """What the code asks for at import is given in the build alone, as values that parse and are nobody's secret."""
    files = {
        "manage.py": "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings.local')\n",
        "site/settings/base.py": "import os\nURL = os.environ['DATABASE_URL']\nSTATIC_ROOT = '/app/static'\n"
        "INSTALLED_APPS = ['django.contrib.staticfiles']\nKEY = os.environ['SECRET_KEY']\n",
        "site/settings/live.py": "from .base import *\n",
        "site/wsgi.py": "import os\nfrom django.core.wsgi import get_wsgi_application\n"
        "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings.live')\napplication = get_wsgi_application()\n",
        "requirements.txt": "django\npsycopg[c]\n",
    }
    text = render_dockerfile(detected(files))
    assert 'ARG DATABASE_URL="postgresql://app:build@database:5432/app"' in text
    assert 'ARG SECRET_KEY="build"' in text
    assert 'ARG DJANGO_SETTINGS_MODULE="site.settings.live"' in text
    production = text.partition("FROM interpreter AS production")[2]
    assert "ENV DJANGO_SETTINGS_MODULE=site.settings.live" in production
    assert "SECRET_KEY" not in production
    assert "packages --compilers libpq-dev" in text


def test_a_port_alone_must_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server listens before its workers have imported the application: only an answer shows that they have."""
    text = render_dockerfile(detected({"app.py": "from flask import Flask\napp = Flask(__name__)\n"}))
    programs = re.findall(r"^    CMD (\[\"python\", \"-c\".*)$", text, re.MULTILINE)
    assert len(programs) == len(set(programs)) + 1 == 2
    said: list[object] = []

    class Connection:
        def __init__(self, *where: object, timeout: float) -> None:
            said.extend((where, timeout))

        def request(self, *what: str) -> None:
            said.append(what)

        def getresponse(self) -> None:
            said.append("answered")

    monkeypatch.setattr("http.client.HTTPConnection", Connection)
    exec(json.loads(programs[0])[2], {})
    assert said == [("127.0.0.1", 8000), 2, ("HEAD", "/"), "answered"]
