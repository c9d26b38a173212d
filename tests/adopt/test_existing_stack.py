"""A Compose file that the project has: what is read from it, and what production changes of it."""

import pytest
import yaml

from dockyard.adopt.existing_stack import Loader, read_stack, render_adapted
from dockyard.adopt.files import render
from dockyard.adopt.values import stack_values
from dockyard.errors import SettingsError

from .conftest import detected, snapshot

APP = "from flask import Flask\napp = Flask(__name__)\n"
STACK = """
services:
  front:
    build: ./front
    ports: ["3000:3000"]
  api:
    build: {context: ., target: dev}
    image: shop/api
    entrypoint: [./entry.sh]
    user: root
    command: bash -c "flask db upgrade && exec gunicorn --workers 3 --bind 0.0.0.0:9000 app:app"
    ports:
      - target: 9000
        published: 80
    environment:
      LEVEL: ${LEVEL:-info}
      TOKEN: ${TOKEN}
      DEBUG: false
      MONGO: mongodb://mongo/shop
    volumes: [".:/src", "uploads:/app/uploads", "cache:/cache"]
  worker:
    image: shop/api
    command: celery --app app worker
  mongo:
    image: mongo:7
  db:
    image: registry.example/library/mariadb:11@sha256:0000
    healthcheck: {test: [CMD, own-check]}
"""


def adapt(stack: str, more: dict[str, str] | None = None, file: str = "compose.yaml") -> dict[str, dict[str, object]]:
    """Return the services of what production changes, as YAML has them."""
    files = {file: stack, "app.py": APP, **(more or {})}
    project, found = detected(files), read_stack(snapshot(files))
    assert found
    document = yaml.load(render_adapted(project, found), Loader)
    services: dict[str, dict[str, object]] = document["services"]
    return services


def test_what_is_read() -> None:
    """The service that is built here and publishes a port answers; one that runs its image works beside it."""
    found = read_stack(snapshot({"compose.yaml": STACK}))
    assert found
    assert (found.web, found.others, found.port) == ("api", ("worker",), 9000)
    assert found.backends == {"db": "mariadb"}
    assert found.environment == {"LEVEL": "info", "DEBUG": "false", "MONGO": "mongodb://mongo/shop"}
    assert found.command("api").words == ("gunicorn", "--workers", "3", "--bind", "0.0.0.0:9000", "app:app")


def test_what_is_detected_with_it() -> None:
    """Port, server, backends and processes are those of the file."""
    project = detected({"compose.yaml": STACK, "app.py": APP, "requirements.txt": "flask\ngunicorn\ncelery\npymysql\n"})
    assert project.port == 9000
    assert project.app.source == "`command` of api in compose.yaml"
    assert "--workers" in project.server.value
    assert [backend.kind for backend in project.backends.value] == ["mariadb"]
    assert [(one.name, one.command[0]) for one in project.processes.value] == [("worker", "celery")]
    assert stack_values(project)["LEVEL"] == "info"


def test_what_production_changes() -> None:
    """The image's own command, user and files count; named volumes and other services stay as they are."""
    services = adapt(STACK)
    assert set(services) == {"api", "worker"}
    api, worker = services["api"], services["worker"]
    assert api["image"] == worker["image"] == "${DOCKYARD_IMAGE:-shop}:production"
    assert api["read_only"] is True
    for key in ("build", "command", "entrypoint", "user"):
        assert api[key] in (None, "null")
    assert api["volumes"] == ["uploads:/app/uploads", "cache:/cache"]
    assert worker["command"] == ["celery", "--app", "app", "worker"]
    assert worker["healthcheck"] == {"disable": True}
    assert "build" not in worker
    assert api["depends_on"] == {"db": {"condition": "service_healthy"}}


def test_a_release_step_comes_before_the_server() -> None:
    """Migrations that init finds run once, with the same variables; the server waits for them."""
    more = {"migrations/env.py": "", "requirements.txt": "flask\nflask-migrate\n"}
    services = adapt(STACK, more)
    assert services["release"]["command"] == ["flask", "--app", "app:app", "db", "upgrade"]
    assert services["release"]["environment"]["TOKEN"] == "${TOKEN}"  # type: ignore[index]
    assert services["api"]["depends_on"]["release"] == {"condition": "service_completed_successfully"}  # type: ignore[index]


def test_a_release_step_of_the_file_is_used() -> None:
    """A service that migrates already is not doubled, and is no server that is kept running."""
    stack = STACK.replace("  mongo:", "  migrate:\n    image: shop/api\n    command: flask db upgrade\n  mongo:")
    services = adapt(stack, {"migrations/env.py": "", "requirements.txt": "flask\nflask-migrate\n"})
    assert "release" not in services
    assert "restart" not in services["migrate"]
    assert services["api"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}  # type: ignore[index]


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("compose.yml", "compose.production.yml"),
        ("docker-compose.yml", "docker-compose.production.yml"),
        ("docker-compose.yaml", "docker-compose.production.yaml"),
    ],
)
def test_the_file_beside_it_has_its_name(file: str, written: str) -> None:
    """Compose files come in pairs; theirs stays, and ours is named after it."""
    files = {file: STACK, "app.py": APP, "requirements.txt": "flask\n"}
    found = render(detected(files), snapshot(files))
    assert {path for path in found if "compose" in path} == {written}


@pytest.mark.parametrize("env_file", [".env", "[.env, web.env]", "[{path: .env, required: true}]"])
def test_files_of_variables_need_not_be_there(env_file: str) -> None:
    """A fresh clone has no .env: the stack starts without, or says which variable is missing."""
    stack = f"services:\n  web:\n    build: .\n    ports: ['5000:5000']\n    env_file: {env_file}\n"
    files = adapt(stack)["web"]["env_file"]
    assert isinstance(files, list)
    assert all(one["required"] is False for one in files)


def test_backends_without_a_check_get_one() -> None:
    """The server waits for a database that answers, not for one whose process lives."""
    web = "web: {build: ., depends_on: [cache]}"
    stack = f"services:\n  {web}\n  cache: {{image: 'redis:7'}}\n  db: {{image: postgis/postgis}}\n"
    services = adapt(stack)
    assert services["web"]["depends_on"] == {"cache": {"condition": "service_healthy"}}
    assert "redis-cli ping" in str(services["cache"]["healthcheck"])
    assert "pg_isready" in str(services["db"]["healthcheck"])


@pytest.mark.parametrize("stack", ["services: {}", "services:\n  db: {image: postgres}\n", "[]", "version: '3'\n", ""])
def test_a_file_that_builds_nothing_here(stack: str) -> None:
    """It stays alone: what production would change of it is not ours to say."""
    files = {"docker-compose.yml": stack, "app.py": APP, "requirements.txt": "flask\n"}
    assert read_stack(snapshot(files)) is None
    assert not any("compose" in path for path in render(detected(files), snapshot(files)))


@pytest.mark.parametrize("text", ["a: \x00", "services: !!timestamp x", "{" * 5000, "!!python/name:os.system", "a: *b"])
def test_a_file_that_is_hostile(text: str) -> None:
    """Whatever stands in it, it is a text: it ends in one clear error."""
    with pytest.raises(SettingsError, match="not valid YAML"):
        read_stack(snapshot({"compose.yaml": text}))


@pytest.mark.parametrize("value", ["7", "text", "[1, [2]]", "{a: {b: c}}", "null", "true"])
@pytest.mark.parametrize("key", ["ports", "volumes", "environment", "env_file", "depends_on", "command", "networks"])
def test_a_file_with_values_of_another_kind(key: str, value: str) -> None:
    """Compose will complain of them; init reads what it can."""
    services = adapt(f"services:\n  web:\n    build: .\n    {key}: {value}\n  db: {{image: 'postgres:17'}}\n")
    assert services["web"]["read_only"] is True


def test_a_file_that_is_broken() -> None:
    """Its line is named, and nothing is guessed."""
    with pytest.raises(SettingsError, match=r"docker-compose.yml, line 3: not valid YAML: expected the node content"):
        read_stack(snapshot({"docker-compose.yml": "services:\n  web: [\n"}))


def test_tags_of_compose_are_read() -> None:
    """`!reset` and `!override` are Compose's, and no mistake."""
    stack = "services:\n  web:\n    build: .\n    ports: !override ['8080:80/tcp']\n    command: !reset null\n"
    found = read_stack(snapshot({"compose.yaml": stack}))
    assert found
    assert (found.port, found.command("web").words) == (80, ())


def test_a_service_of_another_dockerfile_is_no_process_of_the_app() -> None:
    """It has an image of its own, whatever folder it is built from."""
    services = "services:\n  web: {build: ., ports: ['8000']}\n  mail: {build: ., command: celery worker}\n"
    other = "  browser: {build: {context: ., dockerfile: docker/browser}}\n"
    stack = read_stack(snapshot({"compose.yaml": services + other}))
    assert stack
    assert stack.others == ("mail",)
