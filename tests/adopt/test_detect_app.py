"""Which application is found, from which of the places that may name it."""

import pytest

from dockyard.adopt.model import Overrides
from dockyard.errors import DockyardError, UsageError
from tests.adopt.conftest import detected

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "import flask\ndef create_app(settings=None):\n    app = flask.Flask(__name__)\n    return app\n"


@pytest.mark.parametrize(
    ("files", "app", "source"),
    [
        ({"app.py": FLASK}, "app:app", "the object app in app.py"),
        ({"blog/__init__.py": FACTORY}, "blog:create_app()", "the factory create_app in blog/__init__.py"),
        ({"src/blog/__init__.py": "", "src/blog/web.py": FLASK}, "blog.web:app", "the object app in src/blog/web.py"),
        ({"blog.py": FACTORY, "Procfile": "web: gunicorn 'blog:create_app()'\n"}, "blog:create_app()",
         "`web` in Procfile"),
        ({"blog.py": FLASK, "Procfile": "web: cd . && exec gunicorn -w 4 blog:app\n"}, "blog:app", "`web` in Procfile"),
        ({"blog.py": FLASK, "Procfile": "web: python blog.py\n"}, "blog:app", "`web` in Procfile"),
        ({"blog.py": FLASK, "Procfile": "web: flask --app blog run -p $PORT\n"}, "blog:app", "`web` in Procfile"),
        ({"a.py": FLASK, "b.py": FLASK, ".flaskenv": "FLASK_APP=b\n"}, "b:app", "FLASK_APP in .flaskenv"),
        ({"a.py": FLASK, "b.py": FLASK, ".flaskenv": "export FLASK_APP='b.py'\n"}, "b:app", "FLASK_APP in .flaskenv"),
        ({"a.py": FLASK, "b.py": FLASK, "gunicorn.conf.py": "wsgi_app = 'b:app'\n"}, "b:app",
         "wsgi_app in gunicorn.conf.py"),
        ({"a.py": FLASK, "b.py": FLASK, "Dockerfile": "FROM x\nCMD [\"gunicorn\", \"b:app\"]\n"}, "b:app",
         "CMD in Dockerfile"),
        ({"a.py": FLASK, "b.py": FLASK, "Dockerfile": "FROM x\nCMD gunicorn -b :80 \\\n  b:app\n"}, "b:app",
         "CMD in Dockerfile"),
        ({"a.py": FLASK, "b.py": FLASK, "pyproject.toml": "[tool.dockyard]\napp = 'b:app'\n"}, "b:app",
         "app in [tool.dockyard] of pyproject.toml"),
        ({"blog/__init__.py": FACTORY, "wsgi.py": "from blog import create_app\napp = create_app()\n"}, "wsgi:app",
         "the object app in wsgi.py"),
        ({"blog/__init__.py": FLASK, "wsgi.py": "from blog import app as application\n"}, "wsgi:application",
         "the object application in wsgi.py"),
        ({"backend/main.py": FLASK}, "main:app", "the object app in backend/main.py"),
        ({"web/main.py": FLASK, "web/other.py": "from web import main\n"}, "web.main:app",
         "the object app in web/main.py"),
        ({"app.py": "import flask as f\nif True:\n    server = f.Flask('x')\n"}, "app:server",
         "the object server in app.py"),
    ],
)  # fmt: skip
def test_where_the_application_is_said(files: dict[str, str], app: str, source: str) -> None:
    """What a project names itself comes before what its code shows."""
    found = detected(files).app
    assert (found.value.reference, found.source) == (app, source)


def test_an_option_says_otherwise() -> None:
    """A person's word comes first, and the others are told."""
    found = detected({"a.py": FLASK, "b.py": FLASK}, Overrides(app="b:app")).app
    assert (found.value.reference, found.others) == ("b:app", ("a:app",))


def test_an_option_that_names_nothing_is_refused() -> None:
    """A misspelt module is told at once."""
    with pytest.raises(UsageError, match="--app c:app"):
        detected({"a.py": FLASK}, Overrides(app="c:app"))


def test_two_applications_are_told() -> None:
    """Nothing is guessed between two that are as likely."""
    with pytest.raises(UsageError, match="more than one application: app:app and main:app") as told:
        detected({"app.py": FLASK, "main.py": FLASK})
    assert "--app" in told.value.hint


def test_what_a_factory_must_be_given() -> None:
    """A stage called production is given; anything else is asked for."""
    factory = FACTORY.replace("settings=None", "stage")
    stages = "from flask import Flask\nSTAGES = {'production': 1}\n"
    assert detected({"shop.py": stages + factory}).app.value.reference == "shop:create_app('production')"
    with pytest.raises(UsageError, match="create_app must be given stage"):
        detected({"shop.py": factory})


@pytest.mark.parametrize(
    ("code", "framework", "interface"),
    [
        ("from fastapi import FastAPI\napp = FastAPI()\n", "fastapi", "asgi"),
        ("from quart import Quart\napp = Quart(__name__)\n", "quart", "asgi"),
        ("import falcon.asgi\napp = falcon.asgi.App()\n", "falcon", "asgi"),
        ("import falcon\napp = falcon.App()\n", "falcon", "wsgi"),
        ("from starlette.applications import Starlette\napp: Starlette = Starlette()\n", "starlette", "asgi"),
        ("from flask import Flask\nfrom x import Wrap\napp = Wrap(Flask(__name__))\n", "flask", "wsgi"),
    ],
)
def test_frameworks(code: str, framework: str, interface: str) -> None:
    """The class says which framework it is, whatever way it was imported."""
    app = detected({"app.py": code}).app.value
    assert (app.framework, app.interface) == (framework, interface)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no application"),
        ({"README.md": "hello"}, "holds no application"),
        ({"tool.py": "print('hello')\n"}, "holds no application"),
        ({"app.py": "class Flask: ...\napp = Flask()\n"}, "holds no application"),
        ({"tests/test_app.py": FLASK}, "holds no application"),
        ({"app.py": "from flask import Flask\nthis is no Python\n"}, "holds no application"),
    ],
)
def test_no_application(files: dict[str, str], said: str) -> None:
    """A tool, a test or a class of the same name is no web service."""
    with pytest.raises(DockyardError, match=f"{said}|holds no Python file"):
        detected(files)


@pytest.mark.parametrize(
    ("files", "app", "framework"),
    [
        ({"app.py": "import bottle\napp = bottle.default_app()\n"}, "app:app", "bottle"),
        ({"app.py": "from dash import Dash\napp = Dash(__name__)\nserver = app.server\n"}, "app:server", "dash"),
        ({"site.py": "from pyramid.config import Configurator\nc = Configurator()\napp = c.make_wsgi_app()\n"},
         "site:app", "pyramid"),
        ({"tut/__init__.py": "from pyramid.config import Configurator\ndef main(global_config, **settings):\n"
          "    with Configurator(settings=settings) as config:\n        return config.make_wsgi_app()\n"},
         "tut:main({})", "pyramid"),
        ({"app.py": "import connexion\napp = connexion.AsyncApp(__name__)\n"}, "app:app", "connexion"),
    ],
)  # fmt: skip
def test_frameworks_that_hold_their_application_elsewhere(files: dict[str, str], app: str, framework: str) -> None:
    """An attribute, a call of the framework's, and a factory of Paste's are applications too."""
    found = detected({**files, "requirements.txt": f"{framework}\n"}).app.value
    assert (found.reference, found.framework) == (app, framework)


def test_a_factory_with_an_argument_needs_a_server_that_gives_it() -> None:
    """Waitress calls a factory with nothing: gunicorn takes its place, and the source says why."""
    factory = (
        "from pyramid.config import Configurator\ndef main(global_config):\n    return Configurator().make_wsgi_app()\n"
    )
    project = detected({"tut.py": factory, "requirements.txt": "pyramid\nwaitress\n"})
    assert project.program == "gunicorn"
    assert "waitress cannot give" in project.server.source.replace("waitress-serve", "waitress")
    assert project.server_package == "gunicorn"
