"""What is detected in each of the sample projects."""

from collections.abc import Callable

import pytest

from dockyard.adopt.model import Project, findings
from dockyard.errors import DockyardError

GUNICORN = "gunicorn --bind 0.0.0.0:8000 --worker-tmp-dir /dev/shm"
NEWER = f"{GUNICORN} --no-control-socket"
FLASK = {"framework": "flask", "python": "3.13", "services": "none", "writable": "none"}
EXPECTED: dict[str, dict[str, str]] = {
    "single": {**FLASK, "app": "app:app", "sources": "app.py, templates", "server": f"{NEWER} app:app", "health": "/",
               "dependencies": "-r ../requirements.txt", "image": "single"},
    "factory": {**FLASK, "app": "notes:create_app()", "sources": "src/notes", "writable": "/app/instance",
                "dependencies": "flask>=3", "health": "/healthz", "image": "notes", "tests": "tests"},
    "procfile": {**FLASK, "app": "wsgi:application", "sources": "shop, wsgi.py", "health": "/health",
                 "server": f"{GUNICORN} --workers 2 --timeout 60 --log-file - wsgi:application"},
    "migrations": {**FLASK, "app": "app:create_app()", "sources": "app, migrations", "services": "mariadb",
                   "dependencies": "-r ../requirements/base.txt", "configuration": "SECRET_KEY, DATABASE_URL",
                   "build steps": "pybabel compile --directory app/translations",
                   "release step": "flask --app app:create_app() db upgrade"},
    "postgres": {**FLASK, "app": "guestbook.web:app", "services": "postgres", "configuration": "GUESTBOOK_STORE",
                 "system libraries": "none", "health": "the port"},
    "fastapi_poetry": {"app": "thermo.main:app", "framework": "fastapi", "image": "thermometer-service",
                       "dependencies": "fastapi>=0.115,<0.116, pydantic-settings>=2", "health": "/health",
                       "server": "uvicorn --host 0.0.0.0 --port 8000 thermo.main:app",
                       "configuration": "THERMO_UNIT"},
    "pipenv": {**FLASK, "app": "server:application",
               "server": "waitress-serve --listen=0.0.0.0:8000 server:application",
               "writable": "/app/logs", "health": "/ping", "dependencies": "flask, waitress"},
    "uv_groups": {"app": "clock.app:create_app()", "framework": "starlette", "health": "/",
                  "server": "uvicorn --host 0.0.0.0 --port 8000 --factory clock.app:create_app"},
    "django": {"app": "library.wsgi:application", "framework": "django", "sources": "books, library, manage.py",
               "release step": "python manage.py migrate --no-input", "writable": "/app/db.sqlite3",
               "build steps": "python manage.py collectstatic --no-input", "health": "/healthz"},
    "worker": {**FLASK, "app": "mailer.web:app", "services": "valkey", "health": "/health",
               "processes": "worker: rq worker --url $REDIS_URL letters"},
    "variables": {**FLASK, "app": "main:app", "server": f"{GUNICORN} main:app",
                  "configuration": "SESSION_KEY, SUPPORT_ADDRESS, PAGE_SIZE", "dependencies": "flask, gunicorn<24"},
    "library": {**FLASK, "app": "sniffer:app", "system libraries": "libmagic1", "health": "/healthz"},
    "compiled": {**FLASK, "app": "chart.app:create_app()", "dependencies": "flask, pycairo",
                 "system libraries": "gcc, libc6-dev, libcairo2-dev, pkg-config"},
    "monorepo/services/prices": {**FLASK, "app": "prices:make_app()", "sources": "prices"},
    "own_dockerfile": {**FLASK, "app": "poll:app", "server": f"{NEWER} --threads 4 poll:app"},
    "own_compose": {**FLASK, "app": "ferry.site:app", "services": "postgres, valkey",
                    "processes": "clerk: python -m ferry.clerk",
                    "server": f"{NEWER} ferry.site:app".replace("8000", "5000")},
    "npm": {**FLASK, "app": "app:app", "sources": "app.py, static"},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_the_samples(name: str, sample: Callable[[str], Project]) -> None:
    """Each is understood as its author would explain it."""
    found = {finding.what: finding.value for finding in findings(sample(name))}
    expected = EXPECTED[name]
    assert {what: found[what] for what in expected} == expected


def test_every_finding_has_a_source_and_a_way_to_overrule_it(sample: Callable[[str], Project]) -> None:
    """Nothing is said without saying why."""
    for name in EXPECTED:
        for finding in findings(sample(name)):
            assert finding.source, (name, finding.what)
            assert finding.option, (name, finding.what)


def test_a_repository_of_several_projects_says_where_to_go(sample: Callable[[str], Project]) -> None:
    """The service of a larger repository is adopted in its own folder."""
    with pytest.raises(DockyardError, match="services/prices") as told:
        sample("monorepo")
    assert told.value.hint == "run it there: cd services/prices && dockyard init"
