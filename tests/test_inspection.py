"""What an image is, told from the engine or a registry, for people and for machines."""

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from invoke.exceptions import Exit

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.registry import documents, inspection
from dockyard.registry.errors import RegistryError
from dockyard.registry.inspection import Inspected, describe_config, inspect_image
from dockyard.settings import Settings
from dockyard.tasks import publish as tasks
from dockyard.tasks.boundary import boundary
from tests.scripted_docker import Docker

from . import saved_images
from .memory_registry import Memory
from .saved_images import Entry, layer
from .test_attest import digest
from .test_registry import Answer

ENGINE = Engine("host", "28.5.2", True, 4)
NAME = "registry.example:5000/fleet/shop"
LAYERS = [layer([Entry("/a", b"x")]), layer([Entry("/b", bytes(2000))])]
STARTS = {"User": "65532:65532", "Env": ["PATH=/bin"], "Labels": {"title": "shop"}, "Cmd": ["python", "-m", "shop"]}
CONFIG = saved_images.config(LAYERS, config=STARTS)
BILL = b'{"components": [{"purl": "pkg:pypi/a@1"}, {"purl": "pkg:deb/debian/b@1"}, {"purl": "pkg:pypi/c@1"}]}'
ORIGIN = json.dumps(
    {
        "predicate": {
            "buildDefinition": {
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": "0123456789abcdef"}},
                    {"uri": "git+x"},
                ]
            }
        }
    }
).encode()


class Yard(Memory):
    """A registry with an image of two layers, and an engine without any."""

    def __init__(self) -> None:
        super().__init__()
        packed = {digest(one): one for one in (gzip.compress(layer, mtime=0) for layer in LAYERS)}
        self.push(packed, json.dumps(CONFIG).encode(), "1.0")
        self.docker = Docker()

    def look(self, settings: Settings, reference: str) -> Inspected:
        """Look at an image."""
        return inspect_image(
            settings, reference, engine=self.docker.engine, reach=lambda *_: self.repository("fleet/shop")
        )


@pytest.fixture
def memory() -> Yard:
    """Return the registry and the engine."""
    return Yard()


def attach(memory: Yard, content: bytes, media_type: str, **annotations: str) -> None:
    """Attach a document to the image."""
    with memory.repository("fleet/shop") as shop:
        image = shop.read_document("1.0")
        shop.attach(image.descriptor, content, media_type, annotations)


def test_an_image_in_a_registry(memory: Yard, settings: Settings) -> None:
    """Sizes are those that a pull brings; diff IDs and instructions come from the configuration."""
    found = memory.look(settings, f"{NAME}:1.0")
    (image,) = found.images
    assert (found.where, found.digest, image.digest) == ("registry", image.digest, digest(memory.manifests["1.0"][1]))
    assert (image.platform, image.created) == ("linux/amd64", "2026-11-21T00:00:00Z")
    assert [(one.diff_id, one.instruction) for one in image.layers] == [
        (digest(LAYERS[0]), "COPY layer1 /"),
        (digest(LAYERS[1]), "COPY layer2 /"),
    ]
    assert image.size == sum(len(gzip.compress(one, mtime=0)) for one in LAYERS)
    assert memory.look(settings, f"{NAME}@{found.digest}").images == found.images


def test_the_platforms_of_an_index(memory: Yard, settings: Settings) -> None:
    """Each is shown, under the index's own digest."""
    kind, one = memory.manifests["1.0"]
    entry = {"mediaType": kind, "digest": digest(one), "size": len(one), "platform": {"os": "linux"}}
    index = json.dumps({"manifests": [entry, {**entry, "platform": {"os": "unknown"}}, entry]}).encode()
    memory.manifests["2.0"] = ("application/vnd.oci.image.index.v1+json", index)
    found = memory.look(settings, f"{NAME}:2.0")
    assert (found.digest, [image.digest for image in found.images]) == (digest(index), [digest(one)] * 2)


def test_what_is_attached(memory: Yard, settings: Settings) -> None:
    """Ours by their kinds, others by the type that they give."""
    attach(memory, BILL, documents.SBOM_TYPE)
    attach(memory, ORIGIN, documents.PROVENANCE_TYPE)
    attach(memory, b"{}", documents.PROVENANCE_TYPE, **{"in-toto.io/predicate-type": "https://x.example/vuln"})
    attach(memory, b"sig", "application/vnd.other")
    found = memory.look(settings, f"{NAME}:1.0")
    (image,) = found.images
    assert [one.kind for one in image.attachments] == [
        "SBOM",
        "provenance",
        "https://x.example/vuln",
        "application/vnd.other",
    ]
    assert list(inspection.select_attached(found, "SBOM")) == [BILL]
    with pytest.raises(DockyardError, match="no thing is attached to"):
        list(inspection.select_attached(found, "thing"))


def test_something_large_is_only_named(memory: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not fetched."""
    attach(memory, b"four", "application/vnd.large")
    monkeypatch.setattr(inspection, "LARGEST", 3)
    (image,) = memory.look(settings, f"{NAME}:1.0").images
    assert image.attachments[0].content == b""


def test_what_the_registry_lacks_the_engine_may_have(memory: Yard, settings: Settings, said: list[str]) -> None:
    """An image that is tagged and not pushed yet; that it is the engine's is said."""
    memory.docker.archives = dict.fromkeys((f"{NAME}:2.0", "shop:test"), saved_images.archive(LAYERS, config=STARTS))
    found = memory.look(settings, f"{NAME}:2.0")
    assert (found.where, found.digest) == ("engine", found.images[0].digest)
    assert said == [f"{NAME}:2.0 is not in its registry: asking the engine"]
    assert memory.look(settings, "shop:test").images[0].layers == found.images[0].layers


def test_what_is_nowhere(memory: Yard, settings: Settings) -> None:
    """It is named as it was asked for; a registry that refuses is not taken for one that lacks."""
    with pytest.raises(DockyardError, match=r"there is no image registry.*:2\.0"):
        memory.look(settings, f"{NAME}:2.0")
    memory.trouble = [("GET", "manifests", Answer(403))]
    with pytest.raises(RegistryError):
        memory.look(settings, f"{NAME}:1.0")


def test_what_a_container_starts_from() -> None:
    """Everything that is set, in words; a user that is not set is root."""
    full = {
        **STARTS,
        "Entrypoint": ["tini"],
        "WorkingDir": "/app",
        "ExposedPorts": {"8000/tcp": {}, "80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "probe"], "Interval": 30_000_000_000},
        "StopSignal": "SIGTERM",
    }
    assert dict(describe_config(full)) == {
        "user": "65532:65532",
        "entrypoint": '["tini"]',
        "command": '["python", "-m", "shop"]',
        "folder": "/app",
        "ports": "80/tcp, 8000/tcp",
        "health check": "CMD probe, every 30 s",
        "stops on": "SIGTERM",
        "environment": "PATH=/bin",
        "labels": "title=shop",
    }
    assert dict(describe_config({})) == {"user": "root"}


def run(found: Inspected, **options: Any) -> int:
    """Print what was found as the task does, and return its exit code."""
    try:
        boundary(tasks.print_image)(found, **options)
    except Exit as error:
        return int(error.code or 0)
    return 0


def test_the_task(memory: Yard, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables for people, JSON for machines, and documents byte for byte."""
    attach(memory, BILL, documents.SBOM_TYPE)
    attach(memory, b"no json", "application/vnd.other")
    found = memory.look(settings, f"{NAME}:1.0")
    assert run(found) == 0
    shown = capsys.readouterr().out
    for words in (f"{NAME}:1.0 (in the registry)", found.digest, "65532:65532", "COPY layer2 /", f"{len(BILL)} B"):
        assert words in shown
    assert run(found, json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["images"][0]["attachments"][0]["content"] == json.loads(BILL)
    assert document["images"][0]["attachments"][1]["content"] is None
    assert document["images"][0]["layers"][0]["created_by"] == "COPY layer1 /"
    assert run(found, sbom=True) == 0
    assert capsys.readouterr().out == BILL.decode()
    assert run(found, provenance=True) == 1
    assert "no provenance is attached" in capsys.readouterr().err


def test_the_task_for_an_image_of_the_engine(
    memory: Yard, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there can be nothing attached, the tip says where to look."""
    found = replace(memory.look(settings, f"{NAME}:1.0"), where="engine")
    assert run(found, sbom=True) == 1
    assert "TIP   documents are attached to images in a registry" in capsys.readouterr().err
