"""Databases from Debian packages: which image they stand in for, when, and what Compose is told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dockyard.bases import lookup, services
from dockyard.bases.lookup import Answer
from dockyard.engine.client import Engine
from dockyard.settings import Settings
from dockyard.stack import prepare as substitutes
from dockyard.stack.compose import Model, Service
from dockyard.stack.stack import Stack
from tests.scripted_docker import Docker

ENGINE = Engine("host", "28.5.1", True)
SILENT = Answer(reason="no such host")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres", "postgres"),
        ("postgres:17.2-alpine", "postgres"),
        ("mirror.example:5000/library/postgres:17", "postgres"),
        ("library/redis", "redis"),
        ("postgres:17@sha256:" + "a" * 64, "postgres"),
        ("mysql:8.4", "mariadb"),
        ("mariadb:11", "mariadb"),
        ("valkey/valkey:8-alpine", "valkey"),
        ("redis:8", "redis"),
        ("registry.example:5000/postgres:17", None),
        ("bitnami/postgresql:17", None),
        ("postgres-exporter:1", None),
        ("shop:production", None),
    ],
)
def test_only_official_images_are_replaced(image: str, name: str | None) -> None:
    """Of whatever tag; an image of the same name from elsewhere may be anything."""
    found = services.find_service(image)
    assert (found and found.name) == name


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ("mariadb:11.4", "MariaDB 11.8.9 from Debian packages stands in for mariadb:11.4"),
        ("mariadb", "MariaDB 11.8.9 from Debian packages stands in for mariadb"),
        ("mariadb:10", "MariaDB 11.8.9 from Debian packages stands in for mariadb:10: another major version"),
        ("mysql:8.4", "MariaDB 11.8.9 from Debian packages stands in for mysql:8.4"),
    ],
)
def test_another_major_version_is_said(image: str, line: str) -> None:
    """Data of one is no data of another; MySQL's numbers are not MariaDB's."""
    mariadb = services.find_service("mariadb")
    assert mariadb is not None
    assert services.describe_substitute(image, mariadb, "11.8.9") == line


@pytest.mark.parametrize(
    ("packaged", "version"),
    [("1:11.8.9+ds-0+deb13u1", "11.8.9"), ("17.12-0+deb13u1", "17.12"), ("5:8.0.2-3", "8.0.2"), ("odd", "odd")],
)
def test_versions_are_told_as_upstream_counts(packaged: str, version: str) -> None:
    """Debian's epoch and revision say nothing to a person who looks for a database."""
    assert services.upstream_version(packaged) == version


@pytest.mark.parametrize("service", services.SERVICES, ids=lambda service: service.name)
def test_an_image_says_how_it_is_looked_after(service: services.Service) -> None:
    """Its user, data, port, health and signal are in its configuration, and its scripts are in the package."""
    said: dict[str, Any] = services.configure(service)
    assert said["User"] == service.user != "root"
    assert said["Volumes"] == {service.folder: {}}
    assert said["Healthcheck"]["Test"] == ["CMD-SHELL", service.health]
    plans = map(services.plan_service, (service, replace(service), replace(service, port=1)))
    now, again, other = (plan.fingerprint for plan in plans)
    assert now == again != other


class Shelf:
    """An engine's images, and what was asked of whom; the registry gives one answer to all."""

    def __init__(self, *present: str, answer: Answer = SILENT) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.made: list[str] = []
        docker = Docker()
        docker.images = {name: {"Id": name} for name in present}
        self.engine = docker.engine

    def ask(self, _engine: Engine, images: list[str]) -> dict[str, Answer]:
        """Answer as the registry would."""
        self.asked += images
        return dict.fromkeys(images, self.answer)

    def ensure(self, _engine: Engine, service: services.Service, **_options: object) -> tuple[str, str]:
        """Make an image."""
        self.made.append(service.name)
        return f"dockyard-service/{service.name}:9.1", "9.1"


MODEL = Model((Service("web", "shop:production"), Service("db", "postgres:9"), Service("cache", "redis")))


def test_compose_is_told_by_one_more_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Any
) -> None:
    """It names the images of those services alone, which stand in the model too; the user's files stay as they are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shelf = Shelf("redis")
    before = Stack(settings, shelf.engine, ("compose.yaml",))
    after, model = substitutes.substitute_services(before, MODEL, ask=shelf.ask, ensure=shelf.ensure)
    assert (shelf.asked, shelf.made) == (["postgres:9"], ["postgres"])
    assert after.files == ("compose.yaml", ".dockyard/services.json")
    written = json.loads((settings.root / ".dockyard/services.json").read_text())
    assert written == {"services": {"db": {"image": "dockyard-service/postgres:9.1"}}}
    assert [service.image for service in model.services] == [
        "shop:production",
        "dockyard-service/postgres:9.1",
        "redis",
    ]
    assert said == ["db: PostgreSQL 9.1 from Debian packages stands in for postgres:9"]


@pytest.mark.parametrize(("base", "present"), [("registry", ()), ("auto", ("postgres:9", "redis"))])
def test_nothing_is_replaced_without_need(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, base: str, present: tuple[str, ...]
) -> None:
    """With a registry as the only source, or all images at hand, nobody is asked and no file is written."""
    shelf = Shelf(*present)
    before = Stack(settings._replace(base=base), shelf.engine, ("compose.yaml",))
    after = substitutes.substitute_services(before, MODEL, ask=shelf.ask, ensure=shelf.ensure)
    assert after == (before, MODEL)
    assert shelf.asked == shelf.made == []
    assert not (settings.root / ".dockyard").exists()


ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
THERE, ABSENT = Answer(digest=ONE), Answer(reason="not found", absent=True)
MADE = "dockyard-service/postgres:9.1"


@pytest.mark.parametrize(
    "case",
    [
        ("auto", "", SILENT, MADE, ["postgres:9"]),
        ("auto", "", ABSENT, MADE, ["postgres:9"]),
        ("auto", "", THERE, "postgres:9", ["postgres:9"]),
        ("auto", ONE, THERE, f"postgres:9@{ONE}", [f"postgres:9@{ONE}"]),
        ("auto", ONE, SILENT, MADE, [f"postgres:9@{ONE}"]),
        ("debian", "", THERE, MADE, []),
        ("debian", ONE, THERE, MADE, []),
        ("registry", "", SILENT, "postgres:9", []),
        ("registry", ONE, SILENT, f"postgres:9@{ONE}", []),
    ],
)
def test_the_setting_for_bases_and_its_pins_decide(
    case: tuple[str, str, Answer, str, list[str]], settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for Pythons: a pin where a registry has it, packages where none answers or they are asked for."""
    base, pin, answer, image, asked = case
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if pin:
        lookup.write_bases_lock(settings.root, {"postgres:9": pin})
    shelf = Shelf("redis", answer=answer)
    before = Stack(settings._replace(base=base), shelf.engine, ("compose.yaml",))
    after, model = substitutes.substitute_services(before, MODEL, ask=shelf.ask, ensure=shelf.ensure)
    assert [service.image for service in model.services] == ["shop:production", image, "redis"]
    assert shelf.asked == asked
    changed = image != "postgres:9"
    assert after.files == ("compose.yaml", *([".dockyard/services.json"] if changed else []))
    if changed:
        written = json.loads((settings.root / ".dockyard/services.json").read_text())
        assert written == {"services": {"db": {"image": image}}}


@pytest.mark.parametrize(("held", "image"), [(ONE, f"postgres:9@{ONE}"), (OTHER, MADE)])
def test_a_pinned_image_that_is_here_is_used(
    held: str, image: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its digest: one of the same tag is another image, and a registry out of reach does not matter."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lookup.write_bases_lock(settings.root, {"postgres:9": ONE})
    shelf = Shelf("redis", "postgres:9", f"postgres:9@{held}")
    before = Stack(settings, shelf.engine, ("compose.yaml",))
    _, model = substitutes.substitute_services(before, MODEL, ask=shelf.ask, ensure=shelf.ensure)
    assert model.services[1].image == image


def test_what_can_be_pinned() -> None:
    """The official images of a stack, once each, but for those that its files pin themselves."""
    more = (Service("db2", "postgres:9"), Service("queue", f"valkey/valkey:8@{ONE}"), Service("bus", "nats:2"))
    assert substitutes.list_official_images(Model((*MODEL.services, *more))) == ("postgres:9", "redis")
