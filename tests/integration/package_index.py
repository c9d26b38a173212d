"""A package index on loopback: pages with stated hashes, TLS, a password, and every kind of trouble."""

import base64
import hashlib
import io
import json
import re
import ssl
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

JSON = "application/vnd.pypi.simple.v1+json"
USER, PASSWORD = "sailor", "p@ss w#rd"


@dataclass(frozen=True)
class File:
    """One file of a release, as an index offers it."""

    name: str
    content: bytes
    stated: bool = True
    yanked: bool = False
    requires: str = ""
    """The Pythons that it is for, such as >=3.9."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the file as it should be."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Index:
    """What an index has and how it behaves: change it while it runs."""

    files: list[File] = field(default_factory=list)
    password: str = ""
    stalls: set[str] = field(default_factory=set)
    corrupt: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    address: str = ""
    json: bool = False
    """Whether it answers in JSON, as PEP 691 has it, whoever accepts that."""

    stop: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, version: str, *needs: str, sdist: bool = False, requires: str = "", **how: bool) -> File:
        """Put a release with one wheel, and perhaps an sdist, into the index; return the wheel."""
        content = wheel(name, version, needs, requires)
        made = File(f"{name}-{version}-py3-none-any.whl", content, requires=requires, **how)
        self.files.append(made)
        if sdist:
            self.files.append(File(f"{name}-{version}.tar.gz", source(name, version)))
        return made

    def yank(self, start: str) -> None:
        """Take back every file whose name begins so."""
        self.files = [replace(file, yanked=file.yanked or file.name.startswith(start)) for file in self.files]

    def add_wheels(self, name: str, version: str, *tags: str) -> list[File]:
        """Put wheels with these tags into the index; each has other bytes."""
        made = [File(f"{name}-{version}-{tag}.whl", wheel(name, version, (), tag=tag)) for tag in tags]
        self.files += made
        return made

    def add_source(self, name: str, version: str, members: Mapping[str, str]) -> File:
        """Put an sdist that can be built into the index."""
        made = File(f"{name}-{version}.tar.gz", source(name, version, members))
        self.files.append(made)
        return made

    def listing(self, name: str, accepted: str) -> tuple[str | None, str]:
        """Return what a project's address answers, and of what type that is."""
        return (self.document(name), JSON) if self.json and JSON in accepted else (self.page(name), "text/html")

    def page(self, name: str) -> str | None:
        """Return the page of a project, or nothing."""
        found = [file for file in self.files if file.name.startswith(f"{name}-")]
        links = (
            f'<a href="/files/{file.name}{f"#sha256={file.digest}" if file.stated else ""}"'
            f"{' data-yanked=broken' if file.yanked else ''}"
            f'{f""" data-requires-python="{escape(file.requires)}" """ if file.requires else ""}>{file.name}</a><br>'
            for file in found
        )
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>" if found else None

    def document(self, name: str) -> str | None:
        """Return the page of a project as JSON, or nothing."""
        files = [
            {
                "filename": file.name,
                "url": f"/files/{file.name}",
                "hashes": {"sha256": file.digest} if file.stated else {},
                "yanked": "broken" if file.yanked else False,
                **({"requires-python": file.requires} if file.requires else {}),
            }
            for file in self.files
            if file.name.startswith(f"{name}-")
        ]
        return json.dumps({"meta": {"api-version": "1.0"}, "name": name, "files": files}) if files else None


def wheel(name: str, version: str, needs: tuple[str, ...], python: str = "", tag: str = "py3-none-any") -> bytes:
    """Return a wheel that holds nothing but what it needs."""
    info = f"{name}-{version}.dist-info"
    extras = "".join(f"Provides-Extra: {extra}\n" for each in needs for extra in re.findall(r'extra == "(\w+)"', each))
    extras += f"Requires-Python: {python}\n" if python else ""
    required = extras + "".join(f"Requires-Dist: {each}\n" for each in needs)
    members = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    return buffer.getvalue()


def source(name: str, version: str, members: Mapping[str, str] | None = None) -> bytes:
    """Return an sdist; without members it can be locked and not built."""
    about = {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, text in {**about, **(members or {})}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{member}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@contextmanager
def serving(index: Index, certificate: tuple[Path, Path] | None = None, host: str = "127.0.0.1") -> Iterator[Index]:
    """Serve an index on a free port of an address of this machine; it knows its own address while it does."""

    class Handler(BaseHTTPRequestHandler):
        """Answer for the index."""

        def do_GET(self) -> None:
            """Send a page or a file, or do the harm that the index is told to do."""
            path = unquote(self.path)
            index.asked.append(path)
            if index.password and self.headers.get("Authorization") != _basic(index.password):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            _, kind, name, *_ = [*path.split("/"), "", ""]
            if name in index.stalls:
                index.stop.wait(60)
            if kind == "simple":
                page, form = index.listing(name, self.headers.get("Accept", ""))
                self.answer(page.encode() if page else None, form)
            else:
                found = [file.content for file in index.files if file.name == name]
                content = found[0] + b"!" if found and name in index.corrupt else found[0] if found else None
                self.answer(content, "application/octet-stream")

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def answer(self, content: bytes | None, kind: str) -> None:
            """Send a body, or 404."""
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        def log_message(self, *_arguments: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        """A server that does not mind clients who hang up."""

        daemon_threads = True
        request_queue_size = 128
        """Connections that may wait: a compiler opens many at a time, and what has no place is tried for seconds."""

        def handle_error(self, *_arguments: object) -> None:
            """Keep quiet."""

    server = Server((host, 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    index.address = f"{'https' if certificate else 'http'}://{host}:{server.server_address[1]}/simple"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        index.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def wait_for(index: Index, path: str, seconds: float = 60) -> None:
    """Wait until somebody has asked for a path."""
    until = time.monotonic() + seconds
    while not any(path in asked for asked in index.asked):
        assert time.monotonic() < until, f"nobody asked for {path}: {index.asked}"
        time.sleep(0.05)
