"""`invoke audit` as a process of its own, against an OSV service on loopback."""

import json
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dockyard.process import Command, Completed, capture
from dockyard.settings import Settings
from tests.advisory_service import Advisories, advisory
from tests.lock_project import locked_project

from .registry_process import Authority, Programs

VECTOR = {"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}


@contextmanager
def serving(service: Advisories, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serve advisories on a free port of 127.0.0.1, and yield the address; as a proxy, refuse every tunnel."""

    class Handler(BaseHTTPRequestHandler):
        """Answer for the service."""

        def do_GET(self) -> None:
            """Pass a request on, and its answer back."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content = service.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_CONNECT(self) -> None:
            """Refuse to be a proxy."""
            service.asked.append(f"CONNECT {self.path}")
            self.send_error(403, "Not for you")

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def project(settings: Settings) -> Path:
    """Return the folder of a locked project with a task file."""
    root = locked_project(settings).root
    (root / "tasks.py").write_text("from dockyard.tasks import namespace\n")
    (root / "pyproject.toml").write_text(
        '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\npythons = ["3.12", "3.13"]\n'
        '[tool.dockyard.accept-vulnerabilities]\nCVE-2026-2 = "until 9999-12-31: not reachable"\n'
    )
    return root


def audit(project: Path, address: str, *options: str, **environment: str) -> Completed:
    """Run `invoke audit` there, with the address of a service."""
    proxies = ("DOCKYARD_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    clean = {name: None for name in os.environ if name.startswith(proxies)}
    command = (sys.executable, "-m", "invoke", "audit", *options)
    env = {**clean, **environment, "DOCKYARD_AUDIT_URL": address}
    return capture(Command(command, cwd=project, env=env), check=False)


def test_findings_of_a_real_service(project: Path) -> None:
    """Severity, score, what mends it and where; what is accepted stands apart; exit 1."""
    service = Advisories(
        [
            advisory("GHSA-aaaa-bbbb-cccc", "flask", "3.1.4", "CVE-2026-1", severity=[VECTOR]),
            advisory("PYSEC-2026-1", "flask", "3.1.4", "CVE-2026-1"),
            advisory("CVE-2026-2", "gunicorn", "", database_specific={"severity": "MODERATE"}),
        ]
    )
    with serving(service) as address:
        done = audit(project, address)
        told = json.loads(audit(project, address, "--json").stdout)
    assert done.returncode == 1, done.stderr
    row = next(line for line in done.stdout.splitlines() if "flask" in line)
    assert row.split()[:6] == ["flask", "3.1.3", "CVE-2026-1", "critical", "9.3", "3.1.4"]
    assert "medium" in done.stdout
    assert "until 9999-12-31: not reachable" in done.stdout
    assert "1 known vulnerability in the locks" in done.stderr
    assert [(each["id"], each["score"]) for each in told["findings"]] == [("CVE-2026-1", 9.3), ("CVE-2026-2", None)]
    assert service.asked.count("GET /v1/vulns/PYSEC-2026-1") == 2


def test_nothing_found(project: Path) -> None:
    """One request is enough, and the acceptance that fits nothing is named."""
    service = Advisories()
    with serving(service) as address:
        done = audit(project, address)
    assert done.returncode == 0, done.stderr
    assert "4 packages looked up: no known vulnerability" in done.stderr
    assert "CVE-2026-2 accepts nothing any more" in done.stderr
    assert service.asked == ["POST /v1/querybatch"]


def test_a_limited_service_is_asked_again(project: Path) -> None:
    """What it refuses for a moment is no failure; after some tries it is one."""
    service = Advisories()
    service.harm = lambda _path, right: (429, {"code": 8}) if len(service.asked) < 2 else right
    with serving(service) as address:
        assert audit(project, address).returncode == 0
        service.harm = lambda _path, _right: (503, {"code": 14})
        done = audit(project, address)
    assert done.returncode == 1
    assert "answered with status 503" in done.stderr
    assert "no known vulnerability" not in done.stderr


def test_a_service_behind_a_private_authority(project: Path, programs: Programs, tmp_path: Path) -> None:
    """The host's bundle counts; an authority that it does not hold is told, and the way out with it."""
    authority = Authority(programs.openssl, tmp_path / "authority").make()
    with serving(Advisories(), authority.issue()) as address:
        assert audit(project, address, SSL_CERT_FILE=str(authority.certificate)).returncode == 0
        done = audit(project, address)
    assert done.returncode == 1
    assert "certificate verify failed" in done.stderr


def test_a_proxy_that_refuses(project: Path) -> None:
    """It is told without its password."""
    service = Advisories()
    with serving(service) as address:
        proxy = address.replace("//", "//me:hunter2@")
        done = audit(project, "https://advisories.invalid", HTTPS_PROXY=proxy)
    assert service.asked[0] == "CONNECT advisories.invalid:443"
    assert done.returncode == 1
    assert "403" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_a_service_that_is_not_there(project: Path) -> None:
    """A closed port does not pass for 'none found'."""
    with serving(Advisories()) as address:
        pass
    done = audit(project, address)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert f"{address}/v1/querybatch cannot be had" in done.stderr
    assert "Traceback" not in done.stderr
