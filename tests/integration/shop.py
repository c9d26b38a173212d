"""A small service that is deployed: its version and its faults come with its image."""

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockyard.engine.client import Engine
from dockyard.process import Command, Completed, capture
from tests.integration.checkout import INVOKE, ROOT
from tests.integration.engine_lab import Lab, Node

log = logging.getLogger(__name__)

SERVER = '''\
"""Answer with the version."""
import http.server, os, signal, sys, threading

VERSION, FAULT = os.environ["SHOP_VERSION"], os.environ["SHOP_FAULT"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(503 if FAULT == "unhealthy" and self.path == "/healthz" else 200)
        body = (VERSION + "\\n").encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 512


if FAULT == "crash":
    sys.exit("the shop has no shelves")
server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("the shop is open:", VERSION, flush=True)
server.serve_forever()
server.server_close()
'''
DOCKERFILE = """\
FROM base
COPY server.py /app/
WORKDIR /app
ARG VERSION
ARG FAULT
ENV SHOP_VERSION=$VERSION SHOP_FAULT=$FAULT
USER 65532:65532
HEALTHCHECK --interval=2s --timeout=5s --start-period=5s --start-interval=0.5s --retries=2 \\
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz')"]
CMD ["python", "server.py"]
"""
COMPOSE = {"services": {"web": {"image": "${DOCKYARD_IMAGE:-shop}:development", "ports": ["127.0.0.1:8000:8000"]}}}
PRODUCTION = {
    "services": {
        "web": {
            "image": "${DOCKYARD_IMAGE:-shop}:production",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "tmpfs": ["/tmp:size=16m,mode=1777"],
            "mem_limit": "96m",
            "pids_limit": 128,
            "environment": {"PRICE": "5$$"},
        }
    }
}


@dataclass(frozen=True)
class Shop:
    """The project of the service in a folder, and its images in the registry of a lab.

    Commands run in the hub of the lab, or with `far` in the network that the test is in.
    """

    folder: Path
    lab: Lab
    images: Mapping[str, str]
    far: bool = False

    @property
    def stack(self) -> str:
        """The name of its stack."""
        return "shop"

    def command(self, *words: str) -> tuple[str, ...]:
        """Return a command that runs `invoke` in the project, and heeds Ctrl-C.

        Tests that run in the background of a shell have it ignored, and so would all that they start.
        """
        heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        argv = (sys.executable, "-c", heeds + INVOKE, *words)
        return argv if self.far else self.lab.enter(*argv)

    def add_destination(self, name: str, table: Mapping[str, Any]) -> None:
        """Add a destination to the project's settings."""
        with (self.folder / "pyproject.toml").open("a") as file:
            file.write(_destination(name, table))

    def invoke(self, *words: str) -> Completed:
        """Run `invoke` in the project."""
        env = {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
        return capture(Command(self.command(*words), cwd=self.folder, env=env, timeout=300), check=False)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Begin to run `invoke` in the project, in a process group of its own."""
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def deploy(self, to: str, version: str) -> Completed:
        """Deploy a version."""
        return self.invoke("deploy", "--to", to, "--image", self.images[version])

    def history(self, to: str) -> list[dict[str, Any]]:
        """Return what a destination remembers."""
        found: list[dict[str, Any]] = json.loads(self.invoke("deploy.history", "--to", to, "--json").stdout)
        return found

    @contextmanager
    def load(self, least: int, *hosts: str) -> Iterator[dict[str, int]]:
        """Ask the service steadily meanwhile, at least so many times; what came back is counted afterwards."""
        argv = self.lab.enter(sys.executable, str(ROOT / "tests/integration/steady_load.py"), str(least), *hosts)
        counted: dict[str, int] = {}
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as loader:
            try:
                yield counted
                counted |= json.loads(loader.communicate(timeout=180)[0])
                log.info(f"asked {sum(counted.values())} times: {counted}")
            finally:
                loader.send_signal(signal.SIGKILL)


def write_project(folder: Path, destinations: Mapping[str, Mapping[str, Any]], registry: str) -> None:
    """Write the project."""
    tables = "".join(_destination(name, table) for name, table in destinations.items())
    head = f'[tool.dockyard]\napp = "server:app"\nimage = "shop"\nbase = "debian"\nregistry = "{registry}"\n'
    (folder / "pyproject.toml").write_text(head + tables)
    (folder / "tasks.py").write_text("from dockyard.tasks import namespace as ns\n")
    (folder / "compose.yaml").write_text(json.dumps(COMPOSE))
    (folder / "compose.production.yaml").write_text(json.dumps(PRODUCTION))


def _destination(name: str, table: Mapping[str, Any]) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    return f"[tool.dockyard.deploy.{name}]\n{lines}"


def push_images(
    folder: Path, engine: Engine, node: Node, *, registry: str, base: str, faults: Mapping[str, str]
) -> dict[str, str]:
    """Build an image for each version, with its fault, and push all of them from a node; return their digests.

    `base` is the build context of a Python. The node does not keep the images: what it deploys it has to fetch.
    """
    (folder / "server.py").write_text(SERVER)
    mine = secrets.token_hex(4)
    local = {version: f"dockyard-lab-{mine}:{version}" for version in faults}
    (folder / "Dockerfile").write_text(DOCKERFILE)
    build = ("buildx", "build", "--quiet", "--load", "--provenance=false", "--build-context", f"base={base}")

    def make(version: str) -> None:
        arguments = (f"--build-arg=VERSION={version}", f"--build-arg=FAULT={faults[version]}")
        engine.run(*build, *arguments, "--tag", local[version], str(folder))

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, faults))
    return carry_images(folder, engine, node, f"{registry}/shop", local)


def carry_images(folder: Path, engine: Engine, node: Node, repository: str, local: Mapping[str, str]) -> dict[str, str]:
    """Take images out of the engine that has built them into a repository, by way of a node; return their digests."""
    packed = folder / "images.tar"
    engine.run("save", "--output", str(packed), *local.values())
    engine.run("rmi", *local.values())
    node.engine.run("load", "--quiet", "--input", str(packed))
    packed.unlink()
    found = {}
    for version, name in local.items():
        remote = f"{repository}:{version}"
        node.engine.run("tag", name, remote)
        node.engine.run("push", "--quiet", remote)
        told = node.engine.run("image", "inspect", "--format={{json .RepoDigests}}", remote).stdout
        found[version] = next(one for one in json.loads(told) if one.startswith(repository))
        node.engine.run("rmi", "--force", name, remote)
    return found
