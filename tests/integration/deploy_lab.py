"""What the tests of deploys share: a lab of engines, its registry, and the shop with an image for each fault."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dockyard import process
from dockyard.bases import resolve, services
from dockyard.engine.client import Engine
from dockyard.settings import Settings
from tests.integration import engine_lab, second_engine
from tests.integration.engine_lab import HUB, Lab
from tests.integration.registry_process import Programs, RunningRegistry, Shape, running
from tests.integration.shop import Shop, push_images, write_project

MARKS = [
    pytest.mark.skipif(os.geteuid() != 0, reason="engines in networks of their own need root"),
    pytest.mark.skipif(process.which("apt-get") is None, reason="engines in networks of their own need apt"),
]
FAULTS = {"one": "", "two": "", "three": "", "four": "", "ill": "unhealthy", "broken": "crash"}


@contextmanager
def opened(project: Settings, engine: Engine, count: int, *, small: str = "") -> Iterator[Lab]:
    """Run a lab of the engine's own release, with the image of a front at hand: the hub reaches no mirror."""
    root = second_engine.provide_engine()
    front = services.find_service("haproxy")
    assert front
    services.ensure_service(engine, front, allow_expired=project.allow_expired_release)
    with engine_lab.running(root, count, small=small) as lab:
        yield lab


@pytest.fixture(scope="module")
def registry(lab: Lab, programs: Programs, module_folder: Path) -> Iterator[RunningRegistry]:
    """Run the registry that the nodes fetch from, in the hub of the lab."""
    script = module_folder / "registry.sh"
    script.write_text(f'#!/bin/sh\nexec {" ".join(lab.enter(programs.registry))} "$@"\n')
    script.chmod(0o755)
    shape = Shape(password=False, address=HUB)
    with running(Programs(str(script), programs.openssl), module_folder / "registry", shape) as registry:
        yield registry


def assert_no_failure(counted: dict[str, int], least: int) -> None:
    """Hold that every request was answered."""
    assert {said: count for said, count in counted.items() if said.startswith("failed")} == {}
    assert sum(counted.values()) >= least


def furnished(
    project: Settings, engine: Engine, lab: Lab, folder: Path, *, registry: str, destinations: dict[str, Any]
) -> Shop:
    """Return the shop, with its images in the registry."""
    (base,), _ = resolve.ensure_bases(project._replace(base="debian"), engine, ["3.13"])
    folder.mkdir()
    write_project(folder, destinations, registry)
    images = push_images(folder, engine, lab.nodes[0], registry=registry, base=base.context, faults=FAULTS)
    return Shop(folder, lab, images)
