"""Manifests of this repository and of the samples, held against schemas, kustomize and the restricted standard."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from dockyard.adopt.detection import detect
from dockyard.adopt.files import render
from dockyard.adopt.model import Overrides
from dockyard.adopt.snapshot import read_snapshot
from dockyard.deploy.destination import Destination
from dockyard.deploy.docker import Docker, open_engine, read_document
from dockyard.deploy.goal import Goal
from dockyard.deploy.hostfile import make_host
from dockyard.deploy.kustomize import lay_out, write_files
from dockyard.process import Command, capture
from dockyard.settings import Settings, load
from tests.compose_documents import DIGEST
from tests.pod_security import list_violations

from .checkout import ROOT
from .debian_packages import provide_kubectl

REFUSED = {"monorepo", "own_compose"}
"""Samples that have no Compose files of one project after init: each is told what to do instead."""
SAMPLES = sorted({one.name for one in (ROOT / "tests/samples").iterdir() if one.is_dir()} - REFUSED)
VERSIONS = ("1.30", "1.32", "1.34", "1.37")
PLACE = Destination(
    "cluster",
    "kubernetes",
    domain="shop.example",
    release=(),
    external={name: f"{name}.db.example" for name in ("database", "valkey")},
)
KINDS = {
    "django": {"Job"},
    "migrations": {"Job"},
    "worker": {"PodDisruptionBudget"},
}


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """Return Debian's kubectl."""
    return provide_kubectl()


def adopt(name: str, folder: Path) -> Settings:
    """Return the settings of a sample, adopted in a folder of its own."""
    found = read_snapshot(ROOT / "tests/samples" / name)
    project = detect(found, Overrides())
    for path, text in render(project, found).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return load(folder, os.environ)


def build(kubectl: Path, folder: Path) -> list[dict[str, Any]]:
    """Return the objects that kustomize makes of a folder."""
    return list(yaml.safe_load_all(capture(Command((str(kubectl), "kustomize", str(folder)))).stdout))


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the pods of objects."""
    for one in objects:
        if one["kind"] in {"Deployment", "Job", "StatefulSet"}:
            yield one["spec"]["template"]["spec"]


def check(objects: list[dict[str, Any]]) -> None:
    """Hold objects against the schema of each version, the restricted standard, and what names what."""
    for one in objects:
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)
    for pod in pods(objects):
        assert list_violations(pod) == []
    made = {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert len(made) == len(objects)
    for pod in pods(objects):
        assert ("ServiceAccount", pod["serviceAccountName"]) in made
        for volume in pod.get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made
        for one in pod["containers"]:
            assert "@sha256:" in one["image"] or not one["image"].startswith("registry.example/")
            for source in one.get("envFrom", ()):
                assert ("ConfigMap", source["configMapRef"]["name"]) in made


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample(name: str, tmp_path: Path, kubectl: Path) -> None:
    """Adopted as it is, it becomes objects that every version takes; its database is a name that leads elsewhere.

    A Swarm's stack file of it is one that Docker reads. What is mounted for development is in neither.
    """
    settings = adopt(name, tmp_path)._replace(registry="registry.example/team")
    layout = lay_out(settings, PLACE, f"{settings.repository}@{DIGEST}")
    write_files(tmp_path / "out", layout.files, layout.once)
    objects = build(kubectl, tmp_path / "out/base")
    check(objects)
    kinds = {one["kind"] for one in objects}
    assert {"Deployment", "Service", "Ingress", "NetworkPolicy", "ServiceAccount"} | KINDS.get(name, set()) <= kinds
    external = {one["metadata"]["name"] for one in objects if one.get("spec", {}).get("type") == "ExternalName"}
    assert external == {"migrations": {"database"}, "postgres": {"database"}, "worker": {"valkey"}}.get(name, set())
    images = [one["image"] for pod in pods(objects) for one in pod["containers"]]
    assert set(images) == {f"{settings.repository}@{DIGEST}"}
    assert not [note for note in layout.notes if "left out" in note]
    check_stack(settings, tmp_path / "stack")


def check_stack(settings: Settings, folder: Path, *, hardened: bool = True) -> dict[str, Any]:
    """Hold a project's stack file against Docker's own reading of it, and return what that says of its services."""
    place = Destination("far", "swarm", drain=0)  # an image that nobody has needs no late end signal
    layout = lay_out(settings, place, f"{settings.repository}@{DIGEST}")
    write_files(folder, layout.files, layout.once)
    read = open_engine(settings, place).command("stack", "config", "--compose-file", "stack.yaml", cwd=folder)
    services: dict[str, Any] = yaml.safe_load(capture(read).stdout)["services"]
    own = [body for body in services.values() if body["image"] == f"{settings.repository}@{DIGEST}"]
    assert own
    if hardened:
        assert all(body["read_only"] and body["cap_drop"] == ["ALL"] for body in own)
        mounts = [mount for body in services.values() for mount in body.get("volumes", ())]
        assert not [mount for mount in mounts if mount["type"] == "bind"]
    assert "front" in services
    return services


def test_this_repository(project: Settings, tmp_path: Path, kubectl: Path) -> None:
    """Its release step, secrets and data; an overlay changes what is the cluster's, and stays."""
    settings = project._replace(registry="registry.example/team")
    layout = lay_out(settings, replace(PLACE, health="/healthz"), f"{settings.repository}@{DIGEST}")
    write_files(tmp_path, layout.files, layout.once)
    overlay = tmp_path / "overlay/kustomization.yaml"
    patch = {
        "target": {"kind": "PersistentVolumeClaim"},
        "patch": '[{"op": "replace", "path": "/spec/resources/requests/storage", "value": "20Gi"}]',
    }
    overlay.write_text(overlay.read_text() + yaml.safe_dump({"patches": [patch]}))
    write_files(tmp_path, layout.files, layout.once)
    objects = build(kubectl, tmp_path / "overlay")
    check(objects)
    by_kind = {one["kind"]: one for one in objects}
    assert by_kind["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert by_kind["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert set(check_stack(settings, tmp_path / "stack")) == {"ledger", "front"}
    assert by_kind["Job"]["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "migrate"
    assert {one["metadata"].get("namespace") for one in objects if one["kind"] != "Namespace"} == {"ledger"}


WORDS = """\
services:
  Web_1:
    image: ${DOCKYARD_IMAGE:-shop}:development
    ports: ["127.0.0.1:8000:8000", "9100:9100/udp"]
    env_file: [some.env]
    environment: {B: "x$$y", EMPTY: }
    secrets: [envsecret, {source: filesecret, target: other, mode: 0400, uid: "5"}]
    configs: [settings]
    labels: {a.b: c}
    expose: ["7000"]
    stop_signal: SIGINT
    ulimits: {nofile: {soft: 10, hard: 20}}
    sysctls: {net.core.somaxconn: 1024}
    extra_hosts: ["far:10.0.0.1"]
    depends_on:
      queue: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    healthcheck: {test: "python x", interval: 5s, start_interval: 1s, start_period: 3s}
    deploy:
      resources: {limits: {cpus: "0.5", memory: 100M, pids: 5}, reservations: {memory: 50M}}
      placement: {constraints: ["node.role==manager"]}
  migrate:
    image: ${DOCKYARD_IMAGE:-shop}:development
    command: [migrate]
  worker:
    image: ${DOCKYARD_IMAGE:-shop}:development
    command: celery worker
    profiles: [jobs]
    networks: [back]
    volumes:
      - shelves:/data
      - /etc/localtime:/etc/localtime:ro
      - {type: tmpfs, target: /scratch, tmpfs: {size: 1048576}}
  queue:
    image: redis:7
    volumes: [queue:/data]
    networks: {back: {aliases: [q]}, default: {}}
    shm_size: 64m
    dns: [1.1.1.1]
    hostname: q
    init: true
    tty: true
    logging: {driver: json-file, options: {max-size: 1m}}
  debug:
    image: busybox
    profiles: [debug]
networks: {back: {internal: true}, default: {driver_opts: {x: y}}}
volumes:
  queue: {driver: local, driver_opts: {type: nfs, o: "addr=1.2.3.4", device: ":/x"}}
  shelves: {external: true, name: real-shelves}
secrets: {envsecret: {environment: HOME}, filesecret: {file: ./some.env}}
configs: {settings: {file: ./some.env}}
"""
SHIPPED = "services: {Web_1: &own {image: '${DOCKYARD_IMAGE:-shop}:production'}, worker: *own, migrate: *own}\n"


def test_every_word_that_compose_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker takes the stack file, Compose the document of a single host; nothing goes without a word."""
    (tmp_path / "compose.yaml").write_text(WORDS)
    (tmp_path / "compose.production.yaml").write_text(SHIPPED)
    (tmp_path / "some.env").write_text("A=1\n")
    monkeypatch.setenv("COMPOSE_PROFILES", "jobs")
    settings = Settings(tmp_path, app="a:app", image="shop", stack="shop", registry="registry.example")
    services = check_stack(settings, tmp_path / "out", hardened=False)
    assert set(services) == {"Web_1", "worker", "queue", "front"}
    web = services["Web_1"]
    assert web["environment"] == {"A": "1", "B": "x$y", "EMPTY": None}
    assert web["deploy"]["resources"]["limits"] == {"cpus": "0.5", "memory": "104857600", "pids": 5}
    assert [one["source"] for one in web["configs"]] == ["config-settings"]
    assert [(one["source"], one["mode"]) for one in web["secrets"]] == [("envsecret", 0o444), ("filesecret", 0o400)]
    assert services["queue"]["networks"]["back"] == {"aliases": ["q"]}
    mounted = {mount["target"]: mount.get("tmpfs", {}).get("size") for mount in services["queue"]["volumes"]}
    assert mounted == {"/data": None, "/dev/shm": 64 * 2**20}
    one = Destination("one", "compose", drain=0)
    docker = Docker(open_engine(settings, one))
    goal = Goal("shop", "shop", (8000,), one, f"registry.example/shop@{DIGEST}", read_document(settings, one, docker))
    document = json.dumps(make_host(goal).document).encode()
    words = ("compose", "--project-name", "x", "--file", "-", "config", "--quiet")
    capture(docker.engine.command(*words, input=document, cwd=tmp_path))
