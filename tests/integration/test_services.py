"""Databases from Debian packages on a real engine: set up by the official variables, kept, stopped, refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockyard.bases import debian, lookup, resolve, services
from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.stack import stack
from dockyard.stack.stack import Stack, StartRequest

from .registry_process import Programs, Shape, running

HARD = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "tmpfs": ["/tmp", "/run"]}
SQL = "CREATE TABLE t (a int); INSERT INTO t VALUES (42);"
# image, environment, the container's data folder, a command that writes, one that reads 42
SHAPES: dict[str, tuple[str, dict[str, str], str, tuple[str, ...], tuple[str, ...]]] = {
    "PostgreSQL": (
        "postgres:17",
        {"POSTGRES_PASSWORD_FILE": "/run/secrets/password", "POSTGRES_USER": "shop", "POSTGRES_DB": "my-shop"},
        "/var/lib/postgresql/data",
        ("psql", "--host=127.0.0.1", "--username=shop", "my-shop", f"--command={SQL}"),
        ("psql", "--host=127.0.0.1", "--username=shop", "my-shop", "--command=SELECT a FROM t"),
    ),
    "MariaDB": (
        "mariadb:11",
        {
            "MARIADB_RANDOM_ROOT_PASSWORD": "1",
            "MYSQL_DATABASE": "my_shop",
            "MARIADB_USER": "sh'op",
            "MARIADB_PASSWORD_FILE": "/run/secrets/password",
        },
        "/var/lib/mysql",
        ("sh", "-c", f'mariadb -h127.0.0.1 -u"sh\'op" -p"$(cat /run/secrets/password)" my_shop -e "{SQL}"'),
        ("sh", "-c", 'mariadb -h127.0.0.1 -u"sh\'op" -p"$(cat /run/secrets/password)" my_shop -e "SELECT a FROM t"'),
    ),
    "Valkey": (
        "valkey/valkey:8",
        {},
        "/data",
        ("valkey-cli", "set", "a", "42"),
        ("valkey-cli", "get", "a"),
    ),
}


Project = Callable[..., Settings]


@pytest.fixture
def project_with(tmp_path: Path, unique: str) -> Project:
    """Return a function that writes a project whose stack is one database, for an engine without a registry."""

    def write(body: dict[str, Any]) -> Settings:
        (tmp_path / "password").write_text('it\'s \\ "secret"\n')
        document = {
            "services": {"db": {"secrets": ["password"], **body}},
            "secrets": {"password": {"file": "password"}},
            "volumes": {"data": {}},
        }
        (tmp_path / "compose.yaml").write_text(json.dumps(document))
        return Settings(root=tmp_path, app="shop:app", image="shop", stack=unique, python="3.13", base="debian")

    return write


@pytest.mark.parametrize("shape", SHAPES)
def test_a_database_keeps_its_data(engine: Engine, project_with: Project, said: list[str], shape: str) -> None:
    """Hardened, set up by the official image's variables, and still there after the stack was taken down."""
    image, environment, folder, write, read = SHAPES[shape]
    settings = project_with({"image": image, "environment": environment, "volumes": [f"data:{folder}"], **HARD})
    (container,) = stack.up(settings, engine, StartRequest()).containers
    assert container.health == "healthy"
    assert any(line.startswith(f"db: {shape}") for line in said)
    capture(engine.command("exec", container.id, *write))
    stack.down(Stack(settings, engine), volumes=False)
    (again,) = stack.up(settings, engine, StartRequest()).containers
    assert again.id != container.id
    assert "42" in capture(engine.command("exec", again.id, *read)).stdout
    capture(engine.command("stop", again.id))
    assert capture(engine.command("inspect", "--format={{.State.ExitCode}}", again.id)).stdout.strip() == "0"


def test_nobody_comes_in_without_the_password(engine: Engine, project_with: Project) -> None:
    """The installation's own accounts are gone: root has a password from everywhere but its own socket."""
    settings = project_with(
        {"image": "mysql:8.4", "environment": {"MYSQL_ROOT_PASSWORD_FILE": "/run/secrets/password"}}
    )
    (container,) = stack.up(settings, engine, StartRequest()).containers
    for host in ("127.0.0.1", "localhost"):
        asked = engine.command("exec", container.id, "mariadb", f"--host={host}", "--user=root", "--execute=SELECT 1")
        assert "Access denied" in capture(asked, check=False).stderr
    asked = engine.command("exec", container.id, "mariadb", "--host=127.0.0.1", "--user=", "--execute=SELECT 1")
    assert "Access denied" in capture(asked, check=False).stderr


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"image": "postgres:17"}, "set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE"),
        ({"image": "mariadb:11"}, "set MARIADB_ROOT_PASSWORD or MARIADB_ROOT_PASSWORD_FILE"),
        (
            {"image": "postgres:17", "environment": {"POSTGRES_PASSWORD": "a", "POSTGRES_PASSWORD_FILE": "/b"}},
            "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set",
        ),
        (
            {"image": "postgres:17", "environment": {"POSTGRES_PASSWORD_FILE": "/run/secrets/absent"}},
            "/run/secrets/absent, which cannot be read",
        ),
    ],
    ids=["no password", "no root password", "two passwords", "no file"],
)
def test_what_is_missing_is_said(
    engine: Engine, project_with: Project, said: list[str], body: dict[str, Any], words: str
) -> None:
    """The database does not start half set up, and its last lines say which variable to set."""
    with pytest.raises(DockyardError, match="db"):
        stack.up(project_with(body), engine, StartRequest())
    assert any(words in line for line in said)


def test_a_script_that_fails_leaves_no_half_made_database(engine: Engine, project_with: Project) -> None:
    """The next start begins anew instead of serving what the first one left."""
    body = {
        "image": "postgres:17",
        "environment": {"POSTGRES_PASSWORD": "a"},
        "volumes": ["data:/var/lib/postgresql/data", "./scripts:/docker-entrypoint-initdb.d:ro"],
    }
    settings = project_with(body)
    scripts = settings.root / "scripts"
    scripts.mkdir()
    (scripts / "1.sql").write_text("CREATE TABLE t (a int); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(DockyardError):
        stack.up(settings, engine, StartRequest())
    (scripts / "1.sql").write_text("CREATE TABLE t (a int); INSERT INTO t VALUES (42);")
    (container,) = stack.up(settings, engine, StartRequest()).containers
    read = ("psql", "--username=postgres", "--command=SELECT a FROM t")
    assert "42" in capture(engine.command("exec", container.id, *read)).stdout


def test_an_image_is_made_of_its_packages_alone(engine: Engine) -> None:
    """Made twice it is the same, to the last byte of its layer and its configuration."""
    valkey = services.find_service("valkey/valkey")
    assert valkey is not None
    name, _ = services.ensure_service(engine, valkey)
    first = capture(engine.command("image", "inspect", "--format={{.RootFS.Layers}}", name)).stdout
    anew = debian.make_image(services.plan_service(valkey), allow_expired=False)
    assert anew.image.diff_id in first


def test_a_registry_that_answers_is_pinned(
    engine: Engine, project_with: Project, programs: Programs, tmp_path: Path
) -> None:
    """The stack keeps to the digest that was pinned, whatever the tag names by now; packages stand in where asked."""
    with running(programs, tmp_path / "registry", Shape(password=False)) as registry:
        image = f"{registry.host}/library/postgres:17"
        settings = project_with({"image": image, "environment": {"POSTGRES_PASSWORD": "a"}})._replace(base="auto")
        push(engine, "postgres", image)
        changes, missing = resolve.plan_updates(settings, engine, [image])
        resolve.apply_updates(settings, engine, changes)
        ((name, digest),) = lookup.read_bases_lock(settings.root).items()
        assert (name, missing) == (image, ())
        push(engine, "valkey/valkey", image)
        pinned = f"{image}@{digest}"
        for base, expected in (("auto", pinned), ("debian", "dockyard-service/postgres:17")):
            (container,) = stack.up(settings._replace(base=base), engine, StartRequest()).containers
            assert container.health == "healthy"
            assert container.image.startswith(expected)
        (change,), _ = resolve.plan_updates(settings, engine, [image])
        assert (change.before, change.pending) == (digest, True)
        stack.down(Stack(settings, engine), volumes=True)
        capture(engine.command("rmi", pinned))


def push(engine: Engine, official: str, image: str) -> None:
    """Push what Debian packages make of an official image under a name, which only the registry has then."""
    service = services.find_service(official)
    assert service is not None
    capture(engine.command("tag", services.ensure_service(engine, service)[0], image))
    capture(engine.command("push", "--quiet", image))
    capture(engine.command("rmi", image))
