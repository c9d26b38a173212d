"""Which application is found, from which of the places that may name it."""

import shlex

import pytest

from dockyard.adopt.dockerfiles import render_dockerfile
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
        ({"app.py": "from flask import Flask\nthis is no Python\n"}, r"app\.py, line 2: .* cannot read"),
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


PLAIN = "def application(environ, start_response):\n    return []\n"


@pytest.mark.parametrize(
    ("files", "app", "framework", "interface"),
    [
        ({"tea/__init__.py": PLAIN}, "tea:application", "python", "wsgi"),
        ({"tea.py": "async def app(scope, receive, send): ...\n"}, "tea:app", "python", "asgi"),
        ({"tea.py": "from flask import Flask\nclass Shop(Flask): ...\napp = Shop('x')\n"}, "tea:app", "flask", "wsgi"),
        ({"tea.py": "import falcon\napp = falcon.API()\n"}, "tea:app", "falcon", "wsgi"),
        ({"tea.py": "from sanic import Sanic\napp = Sanic('x')\n"}, "tea:app", "sanic", "asgi"),
        ({"tea.py": "import web\nsite = web.application((), {})\napplication = site.wsgifunc()\n"},
         "tea:application", "web.py", "wsgi"),
        ({"tea.py": "import cherrypy\napp = cherrypy.tree.mount(object())\n"}, "tea:app", "cherrypy", "wsgi"),
        ({"tea/__init__.py": "", "tea/wsgi.py": "from tea.core import ready\napplication = ready()\n"},
         "tea.wsgi:application", "python", "wsgi"),
        ({"tea/__init__.py": "", "tea/wsgi/__init__.py": "", "tea/wsgi/api.py":
          "import threading\nfrom tea import core\nwith threading.Lock():\n    application = core.start()\n"},
         "tea.wsgi.api:application", "python", "wsgi"),
        ({"shop/__init__.py": FACTORY, "wsgi.py": "from shop import create_app\nshop = create_app()\n"},
         "wsgi:shop", "flask", "wsgi"),
        ({"tea.py": "from tea_core import start\napplication = start()\n",
          "Dockerfile": 'FROM x\nENTRYPOINT ["/venv/bin/gunicorn", "-w", "2"]\nCMD ["tea"]\n'},
         "tea:application", "python", "wsgi"),
    ],
)  # fmt: skip
def test_applications_that_no_class_shows(files: dict[str, str], app: str, framework: str, interface: str) -> None:
    """A function of the right arguments, a class of the project's own, and what a module for servers holds."""
    found = detected({"requirements.txt": "", **files}).app.value
    assert (found.reference, found.framework, found.interface) == (app, framework, interface)


def test_aiohttp_is_served_by_its_own_worker() -> None:
    """It speaks neither WSGI nor ASGI; gunicorn's worker for it calls a coroutine function itself."""
    made = "from aiohttp import web\nasync def make_app():\n    app = web.Application()\n    return app\n"
    project = detected({"tea.py": made, "requirements.txt": "aiohttp\nuvicorn\n"})
    assert project.server.value[-3:] == ("--worker-class", "aiohttp.GunicornWebWorker", "tea:make_app")
    assert project.server_package == "gunicorn"


@pytest.mark.parametrize(
    ("files", "app"),
    [
        ({"shop.py": FLASK, "examples/one/app.py": FLASK, "docs/app.py": FLASK}, "shop:app"),
        ({"shop/core.py": FLASK + "@app.route('/')\ndef first(): ...\n", "shop/checks.py": FLASK}, "shop.core:app"),
        ({"shop/flask_app.py": FLASK, "shop/wsgi.py":
          "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"},
         "shop.flask_app:app"),
    ],
)  # fmt: skip
def test_which_of_several_is_shipped(files: dict[str, str], app: str) -> None:
    """Examples are not, nor what nothing is done with, nor what the project's own dependencies cannot serve."""
    packages = {f"{path.rpartition('/')[0]}/__init__.py": "" for path in files if path.startswith("shop/")}
    assert detected({**packages, **files}).app.value.reference == app


SCRIPTS = "[project]\nname = 'tea'\n[project.scripts]\ntea = 'tea.cli:main'\n"
LOOP = "import tornado.web\n"


@pytest.mark.parametrize(
    ("files", "command", "port"),
    [
        ({"tea.py": LOOP, "Procfile": "web: python tea.py --port=$PORT\n"}, ("python", "tea.py", "--port=8000"), 8000),
        ({"tea.py": LOOP, "Procfile": "web: python -m tea --listen 0.0.0.0:8765 -v\n"},
         ("python", "-m", "tea", "--listen", "0.0.0.0:8765", "-v"), 8765),
        ({"tea/__init__.py": "", "tea/__main__.py": LOOP, "tea/cli.py": "", "pyproject.toml": SCRIPTS,
          "Procfile": "web: tea serve\n"},
         ("python", "-c", "from tea.cli import main; raise SystemExit(main())", "serve"), 8000),
        ({"tea/__init__.py": "", "tea/__main__.py": LOOP, "Procfile": "web: tea serve\n",
          "setup.cfg": "[options.entry_points]\nconsole_scripts =\n    tea = tea.__main__:run\n"},
         ("python", "-m", "tea", "serve"), 8000),
        ({"tea/__init__.py": "", "tea/__main__.py": LOOP, "Procfile": "web: tea serve\n",
          "setup.py": "setup(entry_points='''\n  [console_scripts]\n  tea=tea.__main__:run\n''')\n"},
         ("python", "-m", "tea", "serve"), 8000),
        ({"tea.py": LOOP, "Dockerfile": "FROM x\nCMD python tea.py --bind=:9000\n"},
         ("python", "tea.py", "--bind=:9000"), 9000),
    ],
)  # fmt: skip
def test_a_program_that_serves_by_itself(files: dict[str, str], command: tuple[str, ...], port: int) -> None:
    """Its own command is what the image starts; a script that only an installation would have is written out."""
    project = detected({"requirements.txt": "tornado\n", **files})
    told = shlex.join(project.app.value.command)
    again = detected({"requirements.txt": "tornado\n", **files, "Procfile": "", "Dockerfile": ""}, Overrides(app=told))
    assert again.server.value == command
    assert "\nSTOPSIGNAL SIGINT\n" in render_dockerfile(project)
    assert (project.server.value, project.port, project.server_package) == (command, port, "")
    assert project.app.value.framework == "tornado"


@pytest.mark.parametrize(
    ("files", "said", "hint"),
    [
        ({"tea.py": LOOP}, "tea.py imports tornado, which serves by itself", "--app 'python tea.py …'"),
        ({"tea.py": "from bottle import run\nrun()\n"}, "but tea.py imports bottle", "app = bottle.default_app()"),
        ({"tea.py": "from dash import Dash\napp = Dash()\n"}, "but tea.py imports dash", "server = app.server"),
        ({"tea.py": "from flask import Flask\ndef main():\n    Flask('x').run()\n"}, "imports flask",
         "at the top of tea.py"),
        ({"tea.py": "from flask import Flask\nprint 'x'\n"}, "tea.py, line 2: .* cannot read",
         "Python 2"),
        ({"tea.py": LOOP, "pyproject.toml": SCRIPTS}, "imports tornado", "--app 'tea …'"),
        ({"tea.py": "print(1)\n", "Dockerfile": 'FROM x\nCMD ["./start.sh"]\n'}, "no application", "Procfile"),
        ({"tea.py": "print(1)\n", "examples/shop/app.py": FLASK}, "no application", "the folder of one: examples/shop"),
        ({"tea/__init__.py": "", "tea/app.py": "print(1)\n"}, "no application", "at 0.0.0.0 and $PORT"),
    ],
)  # fmt: skip
def test_no_application_says_what_there_is(files: dict[str, str], said: str, hint: str) -> None:
    """What serves by itself is named with the file that says how; a package is no project of its own."""
    with pytest.raises(DockyardError, match=said) as told:
        detected(files)
    assert hint in told.value.hint
    assert "of one: tea" not in told.value.hint


@pytest.mark.parametrize("name", ["streamlit", "panel", "bokeh"])
def test_what_its_framework_serves_by_a_program(name: str) -> None:
    """It needs no line of a Procfile: there is one way to start it."""
    command = detected({"Home.py": f"import {name} as it\n", "requirements.txt": f"{name}\n"}).server.value
    assert command[0] == name
    assert {"Home.py", "8000"} <= {word.rpartition("=")[2] for word in command}


def test_a_function_of_any_name_that_returns_what_it_makes() -> None:
    """Its name says nothing; one that only makes an application gives none."""
    made = "from flask import Flask\ndef init():\n    thing = Flask('x')\n    return thing\n"
    assert detected({"tea.py": made}).app.value.reference == "tea:init()"
    with pytest.raises(DockyardError, match=r"but tea\.py imports flask"):
        detected({"tea.py": made.replace("return thing", "return 1")})


def test_two_of_one_name_are_told_by_their_files() -> None:
    """A module's name alone would be said twice; the file's is an answer too."""
    files = {"shop/app.py": FLASK, "till/app.py": FLASK}
    with pytest.raises(UsageError, match=r"shop/app.py:app and till/app.py:app"):
        detected(files)
    assert detected(files, Overrides(app="till/app.py:app")).app.value.root == "till"


@pytest.mark.parametrize(("asked", "server"), [("connexion", "uvicorn"), ("connexion<3", "gunicorn")])
def test_connexion_changed_its_interface(asked: str, server: str) -> None:
    """Its apps speak ASGI since version 3."""
    code = "import connexion\napp = connexion.FlaskApp(__name__)\n"
    assert detected({"tea.py": code, "requirements.txt": f"{asked}\n"}).program == server


def test_clients_of_socketio_each_hold_a_thread() -> None:
    """One of gunicorn's plain workers would serve one of them at a time."""
    command = detected({"tea.py": FLASK, "requirements.txt": "flask\nflask-socketio\n"}).server.value
    assert command[-3:] == ("--threads", "100", "tea:app")


def test_manage_py_of_a_folder() -> None:
    """It is one of the sources, wherever these lie."""
    wsgi = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
    files = {
        "back/manage.py": "",
        "back/site1/__init__.py": "",
        "back/site1/wsgi.py": wsgi,
        "requirements.txt": "django\n",
    }
    assert detected(files).release.value[:2] == ("python", "manage.py")


@pytest.mark.parametrize(("folder", "root"), [("till", ""), ("back/till", "back")])
def test_a_package_of_django_without_init(folder: str, root: str) -> None:
    """What its wsgi.py names the settings by says where imports begin."""
    wsgi = (
        "import os\nfrom django.core.wsgi import get_wsgi_application\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', "
    )
    files = {f"{folder}/wsgi.py": f"{wsgi}'till.settings')\napplication = get_wsgi_application()\n"}
    app = detected({**files, f"{folder}/settings.py": "", "requirements.txt": "django\n"}).app.value
    assert (app.reference, app.root) == ("till.wsgi:application", root)
