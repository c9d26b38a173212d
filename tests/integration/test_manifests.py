"""Manifests of this repository and of the samples, held against schemas, kustomize and the restricted standard."""

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
from dockyard.deploy.docker import open_engine
from dockyard.deploy.kustomize import lay_out, write_files
from dockyard.process import Command, capture
from dockyard.settings import Settings, load
from tests.compose_documents import DIGEST
from tests.pod_security import list_violations

from .checkout import ROOT
from .kubectl_program import provide_kubectl

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
    settings = replace(adopt(name, tmp_path), registry="registry.example/team")
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


def check_stack(settings: Settings, folder: Path) -> dict[str, Any]:
    """Hold a project's stack file against Docker's own reading of it, and return what that says of its services."""
    place = Destination("far", "swarm", drain=0)  # an image that nobody has needs no late end signal
    layout = lay_out(settings, place, f"{settings.repository}@{DIGEST}")
    write_files(folder, layout.files, layout.once)
    read = open_engine(settings, place).command("stack", "config", "--compose-file", "stack.yaml", cwd=folder)
    services: dict[str, Any] = yaml.safe_load(capture(read).stdout)["services"]
    assert not [mount for body in services.values() for mount in body.get("volumes", ()) if mount["type"] == "bind"]
    own = [body for body in services.values() if body["image"] == f"{settings.repository}@{DIGEST}"]
    assert own
    assert all(body["read_only"] and body["cap_drop"] == ["ALL"] for body in own)
    assert "front" in services
    return services


def test_this_repository(project: Settings, tmp_path: Path, kubectl: Path) -> None:
    """Its release step, secrets and data; an overlay changes what is the cluster's, and stays."""
    settings = replace(project, registry="registry.example/team")
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
