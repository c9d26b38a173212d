"""Debian's kubectl against the stand-in of a cluster behind TLS: what unit tests take for kubectl's words is so."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dockyard.deploy.cluster import LostError, UnhealthyError
from dockyard.deploy.kubectl import GROUPS, Kubectl
from dockyard.deploy.kubernetes import Kubernetes
from dockyard.deploy.plan import compare_objects
from dockyard.errors import DockyardError
from dockyard.process import capture
from dockyard.settings import Settings
from tests.compose_documents import SHOP
from tests.kubernetes_stand_in import KubernetesStandIn
from tests.test_deploy_kubernetes import PLACE, image

from .debian_packages import provide_kubectl
from .registry_process import Authority, Programs

TOKEN = "the-token-of-the-kubeconfig"


def discover(path: str) -> dict[str, Any] | None:
    """Return what the API says of itself at a path."""
    versions = {group.removeprefix("apis/") for group, _ in GROUPS.values() if group != "api/v1"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for version in sorted(versions):
            name = {"groupVersion": version, "version": version.rpartition("/")[2]}
            groups.append({"name": version.partition("/")[0], "versions": [name], "preferredVersion": name})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path == "/openapi/v3":
        return {"paths": {group: {"serverRelativeURL": f"/openapi/v3/{group}?hash=1"} for group, _ in GROUPS.values()}}
    if path.startswith("/openapi/v3/"):
        return describe(path.removeprefix("/openapi/v3/"))
    here = [(kind, name) for kind, (group, name) in GROUPS.items() if f"/{group}" == path]
    if not here:
        return None
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": name, "kind": kind, "namespaced": True, "verbs": verbs, "singularName": ""} for kind, name in here
    ]
    version = path.removeprefix("/apis/").removeprefix("/api/")
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def describe(group: str) -> dict[str, Any]:
    """Return what OpenAPI says of a group: that the API itself checks the fields of what is applied."""
    prefix, _, version = group.removeprefix("apis/").removeprefix("api/").rpartition("/")
    paths = {}
    for kind, (its_group, name) in GROUPS.items():
        if its_group == group:
            parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
            whose = {"group": prefix, "version": version, "kind": kind}
            patch = {"parameters": [parameter], "x-kubernetes-group-version-kind": whose, "responses": {}}
            paths[f"/{group}/namespaces/{{namespace}}/{name}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "1"}, "paths": paths}


class Handler(BaseHTTPRequestHandler):
    """One request to the API."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer it, whatever its method."""
        server: Any = self.server
        content = self._read()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._say(401, {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "code": 401})
        if (found := discover(self.path.partition("?")[0])) is not None:
            return self._say(200, found)
        with server.lock:
            code, body = server.cluster.answer(self.command, self.path, content)
        return self._say(code, body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names of the base class

    def _read(self) -> bytes:
        """Return the body, in chunks as kubectl sends a raw one."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _say(self, code: int, body: Any) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def authority(programs: Programs, tmp_path: Path) -> Authority:
    """Return an authority that only the kubeconfig trusts."""
    return Authority(programs.openssl, tmp_path / "authority").make()


@pytest.fixture
def cluster(authority: Authority) -> Iterator[ThreadingHTTPServer]:
    """Serve a cluster on the loopback."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = False  # each is waited for
    server.cluster, server.lock = KubernetesStandIn(), threading.Lock()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def kubernetes(
    cluster: ThreadingHTTPServer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Kubernetes:
    """Return the destination, found by a context of a kubeconfig."""
    program = str(provide_kubectl())  # before HOME is another one
    address = f"https://127.0.0.1:{cluster.server_port}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "far", "cluster": {"server": address, "certificate-authority": str(authority.certificate)}}
        ],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "production", "context": {"cluster": "far", "user": "me"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings(tmp_path, app="shop:app", image="team/shop", stack="shop", registry="registry.example")
    kubectl = Kubectl("shop", "production", program=program, run=capture)
    return Kubernetes(settings, PLACE, kubectl, lambda *_: SHOP, sleep=lambda _: None)


def test_deploys_by_kubectl(kubernetes: Kubernetes, cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A first one, the next, a bad image that returns by itself with its last lines, and a rollback."""
    caplog.set_level("INFO")
    assert kubernetes.apply(image("a")) == 1
    live = kubernetes.read_live()
    assert compare_objects(live.objects, kubernetes.make_objects(image("a"))) == ()
    changed = compare_objects(live.objects, kubernetes.make_objects(image("b")))
    assert {one.key for one in changed} == {"containers[web].image", "containers[letter-worker].image"}
    cluster.cluster.least_ready.clear()
    assert kubernetes.apply(image("b")) == 2
    cluster.cluster.faults["ccc"] = "crash"
    with pytest.raises(UnhealthyError, match="did not become healthy: it ended"):
        kubernetes.apply(image("c"))
    assert "fatal: crash" in caplog.text
    assert cluster.cluster.least_ready["web"] == 3
    assert [one.outcome for one in kubernetes.read_live().versions] == ["failed", "runs", "deployed"]
    assert kubernetes.rollback(0) == image("a")
    copies = [one.name for one in kubernetes.status() if one.service == "web"]
    assert {one.image for one in kubernetes.status() if one.service == "web"} == {image("a")}
    logged = capture(kubernetes.logs("web", follow=False, tail=1)).stdout.splitlines()
    assert sorted(logged) == sorted(f"[pod/{name}/web] serving" for name in copies)
    logged = capture(kubernetes.logs("", follow=False, tail=None)).stdout.splitlines()
    assert len(logged) == 2 * len(kubernetes.status())
    with kubernetes.hold():
        pass  # nobody else does


def test_refusals_of_kubectl(kubernetes: Kubernetes, cluster: Any) -> None:
    """A name that is taken, a version that is old, what is not there, no namespace, and no cluster at all."""
    kubectl = kubernetes.kubectl
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    assert kubectl.create("ConfigMap", body)
    assert not kubectl.create("ConfigMap", body)
    found = kubectl.read("ConfigMap", "x") or {}
    assert kubectl.replace("ConfigMap", {**found, "data": {"a": "2"}})
    assert not kubectl.replace("ConfigMap", {**found, "data": {"a": "3"}})
    kubectl.remove("ConfigMap", "x")
    kubectl.remove("ConfigMap", "x")
    assert kubectl.read("ConfigMap", "x") is None
    cluster.cluster.namespaces.clear()
    with pytest.raises(DockyardError, match="no such namespace"):
        kubectl.apply([body], dry=True)
    cluster.shutdown()
    cluster.server_close()
    with pytest.raises(LostError, match="the cluster does not answer"):
        kubectl.read("ConfigMap", "x")
