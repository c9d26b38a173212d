"""Random edits of Compose files, read by the real Compose: a stack or a clear error, and never a traceback."""

from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.errors import DockyardError
from dockyard.settings import Settings
from dockyard.stack import stack
from dockyard.stack.compose import Model
from dockyard.stack.stack import Stack
from tests.random_edits import edit_texts

from .conftest import ROOT

SHOP = b"""\
services:
  web:
    image: ${DOCKYARD_IMAGE:-shop}:production
    ports: ["127.0.0.1:${PORT:-8000}:8000", "9000-9002:9000-9002/udp"]
    depends_on: {migrate: {condition: service_completed_successfully}}
    environment: {A: "1", B: null}
    secrets: [token]
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 64M}}}
    healthcheck: {test: [CMD, "true"], interval: 1s}
  migrate:
    build: {context: ., target: production}
    command: ["python", "-m", "migrate"]
  worker:
    image: shop:production
    scale: 0
secrets:
  token: {file: .dockyard/secrets/token}
volumes: {data: {}}
"""
PIECES = tuple(
    piece.encode()
    for piece in (
        "services:\n", "  web:\n", "    image: 1\n", "    image: null\n", "    image: ''\n", "    ports: 8000\n",
        "    ports: [99999]\n", "    ports: [{target: a}]\n", "    deploy: []\n", "    deploy: {replicas: -1}\n",
        "    scale: two\n", "    secrets: {a: b}\n", "    healthcheck: no\n", "    build: 3\n", "    env_file: gone\n",
        "    extends: web\n", "include: [gone.yaml]\n", "secrets: {a: {environment: A}}\n", "secrets: {a: null}\n",
        "name: A b\n", "&a ", "*a", "<<: *a\n", "!reset null", "!override", "${A:?wanted}", "$", "${", "---\n", "\t",
        "{", "}", "[", "]", "'", '"', "|\n", "? ", ": ", "- ", "\x00", "\N{SNOWMAN}", "\r\n", "#",
    )
)  # fmt: skip


@pytest.mark.parametrize("seed", ["shop", "ours"])
def test_random_edits_give_a_stack_or_a_clear_error(engine: Engine, tmp_path: Path, edits: int, seed: str) -> None:
    """Whatever Compose itself takes is read, and what it does not take is told with its own words."""
    settings = Settings(root=tmp_path, app="shop:app", image="shop", stack="shop", python="3.13")
    asked = Stack(settings, engine, ("compose.yaml",))
    text = SHOP if seed == "shop" else (ROOT / "compose.yaml").read_bytes()
    for number, edited in edit_texts([text], PIECES, edits // 2):
        (tmp_path / "compose.yaml").write_bytes(edited)
        model, told = Model(()), "a stack"
        try:
            model = stack.read_model(asked)
        except DockyardError as error:
            told = error.message
        except Exception as error:
            raise AssertionError(f"edit {number} of {seed}:\n{edited.decode('utf-8', 'replace')}") from error
        assert told.strip(), number
        assert all(isinstance(service.image, str) for service in model.services), number
        assert all(0 < port.published < 65536 for port in model.ports), number
