"""What a service needs around it: configuration, folders, libraries, processes, checks; and how a folder is read."""

from pathlib import Path

import pytest

from dockyard.adopt import code
from dockyard.adopt.checks import detect_health
from dockyard.adopt.detection import detect
from dockyard.adopt.dockerfiles import render_dockerfile
from dockyard.adopt.model import Overrides, Variable
from dockyard.adopt.needs import TABLE, detect_variables, is_secret
from dockyard.adopt.snapshot import read_snapshot
from dockyard.adopt.values import stack_values
from dockyard.errors import DockyardError
from tests.adopt.conftest import detected, snapshot

APP = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import os\nA = os.environ['KEY']\n", Variable("KEY", "app.py:2", required=True)),
        ("from os import environ\nA = environ['KEY']\n", Variable("KEY", "app.py:2", required=True)),
        ("import os\nA = os.environ.get('KEY')\n", Variable("KEY", "app.py:2", required=False)),
        ("import os\nA = os.getenv('KEY', 'x')\n", Variable("KEY", "app.py:2", required=False, default="x")),
        ("import os\ntry:\n    A = os.environ['KEY']\nexcept KeyError:\n    A = ''\n",
         Variable("KEY", "app.py:3", required=False)),
        ("from decouple import config\nA = config('KEY')\n", Variable("KEY", "app.py:2", required=True)),
        ("from decouple import config\nA = config('KEY', default='x')\n",
         Variable("KEY", "app.py:2", required=False, default="x")),
        ("from environs import Env\nenv = Env()\nA = env.str('KEY')\n", Variable("KEY", "app.py:3", required=True)),
        ("from pydantic_settings import BaseSettings\nclass S(BaseSettings):\n    key: str\n",
         Variable("KEY", "app.py:3", required=True)),
        ("import pydantic as p\nclass S(p.BaseSettings):\n    y: int = 3\n    class Config:\n        env_prefix='ke'\n",
         Variable("KEY", "app.py:3", required=False)),
    ],
)  # fmt: skip
def test_variables(code: str, expected: Variable) -> None:
    """Each way to read one is known, and whether the service starts without it."""
    assert detect_variables(snapshot({"app.py": code})).value == (expected,)


def test_an_example_gives_its_values() -> None:
    """What the project says in its own example is kept."""
    files = {"app.py": "import os\nA = os.environ['A']\n", ".env.example": "# a\nA=1\nexport B='two'\n"}
    assert detect_variables(snapshot(files)).value == (
        Variable("A", "app.py:2", required=True, default="1"),
        Variable("B", ".env.example", required=False, default="two"),
    )


def test_secrets_are_known_by_their_names() -> None:
    """A key is secret, a keyboard is not."""
    secret = ["SECRET_KEY", "DB_PASSWORD", "API_KEY", "JWT_TOKEN", "SESSION_KEY", "PASSWORD_SALT"]
    assert all(map(is_secret, secret))
    assert not any(map(is_secret, ["KEYBOARD", "PAGE_SIZE", "DATABASE_URL", "MONKEY"]))


@pytest.mark.parametrize(
    ("code", "folders", "files"),
    [
        ("import sqlite3\nsqlite3.connect('data/x.db')\n", ("/app/data",), ()),
        ("import sqlite3\nsqlite3.connect('x.db')\n", (), ("/app/x.db",)),
        ("URI = 'sqlite:////var/lib/shop/x.db'\n", ("/var/lib/shop",), ()),
        ("from flask_sqlalchemy import SQLAlchemy\nURI = 'sqlite:///x.db'\n", ("/app/instance",), ()),
        ("app.config['UPLOAD_FOLDER'] = os.path.join(app.root_path, 'uploads')\n", ("/app/uploads",), ()),
        ("UPLOAD_DIR = BASE / 'files'\n", ("/app/files",), ()),
        ("app = Flask(__name__, instance_relative_config=True)\n", ("/app/instance",), ()),
        ("handler = logging.FileHandler('logs/x.log')\n", ("/app/logs",), ()),
        ("URI = 'sqlite:///:memory:'\n", (), ()),
        ("CACHE_DIR = '/tmp/cache'\n", (), ()),
    ],
)
def test_writable(code: str, folders: tuple[str, ...], files: tuple[str, ...]) -> None:
    """What the code writes becomes a volume; a single file at the top is led into one."""
    found = detected({"app.py": APP + code}).writable.value
    assert (found.folders, found.files) == (folders, files)


def test_a_database_server_makes_its_local_stand_in_needless() -> None:
    """A SQLite path beside a real driver is for developers."""
    files = {"app.py": APP + "URI = 'sqlite:///data/x.db'\n", "requirements.txt": "flask\npsycopg2\n"}
    found = detected(files).writable.value
    assert (found.folders, found.local) == ((), ("/app/data",))


@pytest.mark.parametrize("package", TABLE)
def test_libraries(package: str) -> None:
    """Each row of the table is used when its package is asked for, and only then."""
    needs = TABLE[package]
    assert detected({"app.py": APP, "requirements.txt": f"flask\n{package}\n"}).libraries.value == needs
    assert needs.build or needs.run
    assert bool(needs.keep) == bool(needs.run), "what runs by name alone must be kept"


def test_packages_that_bring_their_library() -> None:
    """psycopg[binary] needs nothing of Debian's; an Aptfile says what else is needed."""
    files = {"app.py": APP, "requirements.txt": "flask\npsycopg[binary]\n", "Aptfile": "# tools\nffmpeg\n"}
    assert detected(files).libraries.value.run == ("ffmpeg",)


@pytest.mark.parametrize(
    ("code", "path"),
    [
        ("@app.route('/healthz')\ndef h(): ...\n", "/healthz"),
        ("@app.route('/')\ndef h(): ...\n@app.get('/ping')\ndef p(): ...\n", "/ping"),
        ("bp = Blueprint('x', __name__, url_prefix='/api')\n@bp.get('/health')\ndef h(): ...\n", "/api/health"),
        ("@app.post('/')\ndef h(): ...\n", ""),
        ("@app.route('/', methods=['POST'])\ndef h(): ...\n", ""),
        ("@app.route('/<name>')\ndef h(name): ...\n", ""),
        ("urlpatterns = [path('admin/', include(x)), path('status', v)]\n", "/status"),
        ("routes = [Route('/health', h)]\n", "/health"),
    ],
)
def test_health(code: str, path: str) -> None:
    """A route made for it comes before the first page; where there is neither, the port is asked."""
    assert detect_health(snapshot({"app.py": code}), Overrides()).value == path


@pytest.mark.parametrize(
    ("requirements", "overrides", "server"),
    [
        ("flask\n", "", "gunicorn --bind 0.0.0.0:8000 --worker-tmp-dir /dev/shm --no-control-socket app:app"),
        ("flask\ngunicorn==20.1\n", "", "gunicorn --bind 0.0.0.0:8000 --worker-tmp-dir /dev/shm app:app"),
        ("flask\nwaitress\n", "", "waitress-serve --listen=0.0.0.0:8000 app:app"),
        ("flask\ngranian\n", "", "granian --host 0.0.0.0 --port 8000 --interface wsgi app:app"),
        ("flask\ngunicorn\n", "waitress", "waitress-serve --listen=0.0.0.0:8000 app:app"),
    ],
)
def test_servers(requirements: str, overrides: str, server: str) -> None:
    """The project's own server is used, with flags that its version knows."""
    project = detected({"app.py": APP, "requirements.txt": requirements}, Overrides(server=overrides))
    assert " ".join(project.server.value) == server


def test_release_and_workers() -> None:
    """Migrations come before a start, and a queue has its worker."""
    files = {
        "requirements.txt": "flask\nalembic\ncelery[redis]\n",
        "alembic.ini": "[alembic]\n",
        "shop/__init__.py": APP,
        "shop/jobs.py": "from celery import Celery\nqueue = Celery(broker='redis://x')\n",
    }
    project = detected(files)
    assert project.release.value == ("alembic", "upgrade", "head")
    assert [one.command for one in project.processes.value] == [
        ("celery", "--app", "shop.jobs:queue", "worker", "--loglevel", "INFO")
    ]
    assert [one.kind for one in project.backends.value] == ["valkey"]


def test_names_become_image_names() -> None:
    """Spaces, capitals and letters that an image's name may not have are replaced."""
    assert detected({"app.py": APP}, name="Café de l'Été").image.value == "cafe-de-l-ete"
    assert detected({"app.py": APP}, name="店").image.value == "app"
    assert detected({"app.py": APP}, name="Postgres").image.value == "postgres-app"


def test_a_real_folder_of_odd_shapes(tmp_path: Path) -> None:
    """Windows' line ends, a symlinked requirements file, odd names, installed packages: all are read as they should."""
    root = tmp_path / "my Café"
    root.mkdir()
    (tmp_path / "shared.txt").write_text("flask\n")
    (root / "requirements.txt").symlink_to(tmp_path / "shared.txt")
    (root / "app.py").write_bytes(b"\xef\xbb\xbf" + APP.replace("\n", "\r\n").encode())
    (root / "Grüße.py").write_text("x = 1\n", encoding="utf-8")
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "mine" / "lib").mkdir(parents=True)
    (root / "mine" / "pyvenv.cfg").write_text("")
    (root / "mine" / "lib" / "other.py").write_text(APP)
    (root / "node_modules").mkdir()
    (root / "node_modules" / "app.py").write_text(APP)
    project = detect(read_snapshot(root), Overrides())
    assert project.app.value.reference == "app:app"
    assert project.app.others == ()
    assert project.sources.value == ("Grüße.py", "app.py")
    assert project.dependencies.value.names == {"flask"}


def test_an_empty_folder_and_a_file_are_told(tmp_path: Path) -> None:
    """Neither is a project."""
    with pytest.raises(DockyardError, match="holds no Python file"):
        detect(read_snapshot(tmp_path), Overrides())
    with pytest.raises(DockyardError, match="is not a folder"):
        read_snapshot(tmp_path / "absent")


def test_few_files_of_a_large_repository_are_parsed() -> None:
    """A search of the text comes first: what names no framework, no variable and no file is not worth a tree."""
    usual = "import os\nclass A:\n    def f(self, things):\n        return things.get('size') or os.getcwd()\n"
    files = {f"package{number}/module.py": f"{usual}# {number}\n" for number in range(2_000)}
    taken = snapshot({**files, "app.py": APP, "requirements.txt": "flask\n"})
    before = code.parse.cache_info().misses
    assert detect(taken, Overrides()).app.value.reference == "app:app"
    assert code.parse.cache_info().misses - before <= 5


@pytest.mark.parametrize(
    ("path", "text", "file"),
    [
        ("config.py", "import os\nbasedir = os.path.abspath(os.path.dirname(__file__))\n"
         "URI = os.environ.get('DATABASE_URL') or 'sqlite:///' + os.path.join(basedir, 'app.db')\n", "/app/app.db"),
        ("shop/config.py", "import os\nhere = os.path.dirname(__file__)\n"
         "URI = 'sqlite:///' + os.path.join(here, 'a.db')\n",
         "/app/shop/a.db"),
        ("shop/config.py", "from pathlib import Path\nROOT = Path(__file__).resolve().parent.parent\n"
         "URI = f'sqlite:///{ROOT / \"a.sqlite3\"}'\n", "/app/a.sqlite3"),
    ],
)  # fmt: skip
def test_sqlite_beside_the_code(path: str, text: str, file: str) -> None:
    """A file whose path is computed from the module's is where the module is, and a link leads it to a volume."""
    project = detected({path: text, "app.py": "from flask import Flask\napp = Flask(__name__)\n"})
    assert project.writable.value.files == (file,)


def test_variables_of_settings_in_parts() -> None:
    """An object that reads variables is shared: by a star, or by its name."""
    project = detected(
        {
            "config/settings/base.py": "import environ\nenv = environ.Env()\nURL = env.db('DATABASE_URL')\n",
            "config/settings/production.py": "from .base import *\nA = env.list('HOSTS', default=1)\nB = env('KEY')\n",
            "config/settings/local.py": "from .base import env\nOTHER = env('OTHER')\n",
            "config/wsgi.py": "import os\nfrom django.core.wsgi import get_wsgi_application\n"
            "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings.production')\n"
            "application = get_wsgi_application()\n",
            "manage.py": "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings.local')\n",
            "requirements.txt": "django\ndjango-environ\n",
        }
    )
    found = {one.name: one.required for one in project.variables.value}
    assert found == {"DATABASE_URL": True, "HOSTS": False, "KEY": True, "OTHER": False}, (
        "settings for development ask for nothing in production"
    )
    assert (project.django_settings, project.django_production) == (
        "config.settings.local",
        "config.settings.production",
    )


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("os.environ.get('ALLOWED_HOSTS', '').split(',')", "localhost,127.0.0.1"),
        ("os.environ['ALLOWED_HOSTS'].split(' ')", "localhost 127.0.0.1"),
        ("os.getenv('ALLOWED_HOSTS').split()", "localhost 127.0.0.1"),
        ("env.list('ALLOWED_HOSTS', default=['shop.example', 'x.shop.example'])",
         "shop.example,x.shop.example,localhost,127.0.0.1"),
        ("config('ALLOWED_HOSTS', cast=Csv())", "localhost,127.0.0.1"),
        ("os.environ.get('ALLOWED_HOSTS', 'localhost,shop.example').split(',')", None),
        ("os.environ.get('ALLOWED_HOSTS', '*').split(',')", None),
    ],
)  # fmt: skip
def test_hosts_that_are_a_variable(line: str, given: str | None) -> None:
    """A stack answers under this machine's names, beside those of the code; the example's value is for elsewhere."""
    settings = (
        f"import os\nimport environ\nfrom decouple import Csv, config\nenv = environ.Env()\nALLOWED_HOSTS = {line}\n"
    )
    files = {"app.py": APP, "settings.py": settings, ".env.example": "ALLOWED_HOSTS=shop.test\n"}
    assert stack_values(detected(files)).get("ALLOWED_HOSTS") == given


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("BASE / 'shop' / 'media'", "/app/shop/media"),
        ("str(BASE / 'media')", "/app/media"),
        ("os.path.join(BASE, 'shop', 'media')", "/app/shop/media"),
        ("os.path.join(BASE, '..', 'media')", "/app/media"),
    ],
)
def test_a_folder_below_others(path: str, folder: str) -> None:
    """Every part of a path that is joined counts, where the volume lies."""
    assert detected({"app.py": APP + f"MEDIA_ROOT = {path}\n"}).writable.value.folders == (folder,)


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"app.py": "from notes import bp\napp.register_blueprint(bp, url_prefix='/notes')\n"}, ""),
        ({"app.py": "import notes\napp.register_blueprint(notes.bp, url_prefix=PREFIX)\n"}, ""),
        ({"app.py": "from notes import bp\napp.register_blueprint(bp)\n"}, "/"),
        ({"app.py": "from notes import bp\napp.register_blueprint(bp)\n",
          "other.py": "from pages import bp\napp.register_blueprint(bp, url_prefix='/pages')\n"}, "/"),
        ({"notes.py": "def make():\n    bp = Blueprint('x', 'y')\n    @bp.route('/')\n    def first(): ...\n",
          "app.py": "import notes\napp.register_blueprint(notes.make(), url_prefix='/notes')\n"}, ""),
        ({"notes.py": "bp = APIRouter()\n@bp.get('/health')\ndef h(): ...\n",
          "api.py": "import notes\nrouter = APIRouter()\nrouter.include_router(notes.bp, prefix='/v2')\n",
          "app.py": "import api\napp.include_router(api.router, prefix='/api')\n"}, ""),
        ({"notes.py": "bp = APIRouter()\n@bp.get('/health')\ndef h(): ...\n",
          "api.py": "import notes\nrouter = APIRouter()\nrouter.include_router(notes.bp, prefix='/v1')\n",
          "app.py": "import api\napp.include_router(api.router, prefix='/api')\n"}, "/api/v1/health"),
        ({"notes.py": "", "site/urls.py": "urlpatterns = [path('shop/', include('tea.urls'))]\n",
          "tea/urls.py": "urlpatterns = [path('', first), path('up', up)]\n"}, ""),
        ({"notes.py": "", "site/urls.py": "urlpatterns = [path('', include('tea.urls'))]\n",
          "tea/urls.py": "urlpatterns = [path('up', up)]\n"}, "/up"),
    ],
)  # fmt: skip
def test_routes_of_groups_lie_where_these_are_hung(files: dict[str, str], path: str) -> None:
    """A blueprint, a router or Django's patterns know nothing of the prefix that they get elsewhere."""
    group = "bp = Blueprint('x', 'y')\n@bp.route('/')\ndef first(): ...\n"
    assert detect_health(snapshot({"notes.py": group, **files}), Overrides()).value == path


def test_routes_of_another_framework_do_not_count() -> None:
    """Patterns of Django say nothing of a Flask app beside them."""
    files = {"urls.py": "urlpatterns = [path('', first)]\n"}
    assert detect_health(snapshot(files), Overrides(), framework="flask").value == ""


@pytest.mark.parametrize(
    "code",
    [
        "def first(environ, start_response):\n    return environ['PATH_INFO']\n",
        "import os, sys\nif sys.platform == 'win32':\n    A = os.environ['DRIVE']\n",
        "import os\nif os.name == 'nt':\n    A = os.environ['DRIVE']\n",
        "import os\nif 'KEY' in os.environ:\n    A = os.environ['KEY']\n",
        "import os\nA = os.environ['KEY'] if 'KEY' in os.environ else ''\n",
    ],
)
def test_variables_that_nothing_has_to_set(code: str) -> None:
    """A request's own variables are none, and what is asked for first may be absent."""
    assert not any(one.required for one in detect_variables(snapshot({"app.py": code})).value)


def test_what_was_said_to_be_written() -> None:
    """An answer becomes a volume, and is found in the settings later; what every image has is no volume."""
    files = {"app.py": APP, "pyproject.toml": "[tool.dockyard]\nwritable = ['/tmp', '/app/one']\n"}
    found = detected(files, Overrides(writable=("/srv/two",))).writable
    assert (found.value.folders, found.source) == (
        ("/app/one", "/srv/two"),
        "one in [tool.dockyard], /srv/two in --writable",
    )


def test_what_lies_in_the_temporary_folder_is_no_volume() -> None:
    """It may go with the container."""
    code = (
        "class C:\n    place = join(tempfile.gettempdir(), 'x')\n    uri = 'sqlite:///' + os.path.join(place, 'x.db')\n"
    )
    assert detected({"app.py": APP + code}).writable.value.files == ()


def test_migrations_inside_of_a_package() -> None:
    """Flask-Migrate is told where they are."""
    files = {"shop/__init__.py": APP, "shop/migrations/env.py": "", "requirements.txt": "flask\nflask-migrate\n"}
    assert detected(files).release.value[-2:] == ("--directory", "shop/migrations")


def test_django_without_manage_py() -> None:
    """A package starts Django's commands as a module, with the settings that its wsgi.py names."""
    wsgi = (
        "import os\nfrom django.core.wsgi import get_wsgi_application\nos.environ.setdefault('DJANGO_SETTINGS_MODULE',"
    )
    files = {"shop/__init__.py": "", "shop/wsgi.py": f"{wsgi} 'shop.live')\napplication = get_wsgi_application()\n"}
    project = detected({"requirements.txt": "django\n", **files})
    assert project.release.value == ("python", "-m", "django", "migrate", "--no-input")
    assert "ENV DJANGO_SETTINGS_MODULE=shop.live" in render_dockerfile(project)


def test_sources_are_what_is_imported() -> None:
    """What describes or packages the project stays out, whatever setup.py reads."""
    files = {"app.py": APP, "setup.py": "open('README.md'), open('tools/x')\n", "README.md": "", "tools/x.py": "",
             "api-ref/conf.py": "", "hatch_build.py": "", "shop.egg-info/x.py": ""}  # fmt: skip
    assert detected(files).sources.value == ("app.py",)


def test_a_first_page_that_needs_tables_is_no_health_check() -> None:
    """Where a release step makes them, the image alone has none."""
    page = "@app.route('/')\ndef first(): ...\n"
    files = {"app.py": APP + page, "alembic.ini": "", "requirements.txt": "flask\nalembic\n"}
    assert detected(files).health.value == ""
    assert detected({"app.py": APP + page}).health.value == "/"


@pytest.mark.parametrize(("settings", "steps"), [("shop.live", 1), ("settings", 0)])
def test_settings_of_django_that_lie_elsewhere(settings: str, steps: int) -> None:
    """What would read them while the image is built is left out, and told."""
    wsgi = (
        "import os\nfrom django.core.wsgi import get_wsgi_application\nos.environ.setdefault('DJANGO_SETTINGS_MODULE',"
    )
    live = "STATIC_ROOT = 'x'\nINSTALLED_APPS = ['django.contrib.staticfiles']\n"
    files = {"shop/__init__.py": "", "shop/live.py": live, "requirements.txt": "django\n"}
    files["shop/wsgi.py"] = f"{wsgi} '{settings}')\napplication = get_wsgi_application()\n"
    build = detected(files).build
    assert len(build.value) == steps
    assert ("but settings, Django's settings, are not in the project" in build.source) is not bool(steps)
