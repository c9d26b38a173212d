"""What is in the production image by the page on it: libraries that programs need, and what is looked up by path."""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockyard.engine.client import Engine
from dockyard.image import build
from dockyard.image.build import Built, Request
from dockyard.process import capture
from dockyard.settings import Settings
from dockyard.verify import contents

from .conftest import ROOT
from .test_production_image import HARDENED, remove_images

PAGE = ROOT / "docs" / "reference" / "minimal-image.md"
THERE = {
    "locale": 'locale.setlocale(locale.LC_ALL, "") == "C.UTF-8" and locale.nl_langinfo(locale.CODESET) == "UTF-8"',
    "libraries by name": 'find_library("ssl").startswith("libssl.so.") and ctypes.CDLL(find_library("c"))',
    "folders of libraries": 'ctypes.CDLL("libz.so.1") and os.path.getsize("/etc/ld.so.cache")',
    "thread cancellation": 'ctypes.CDLL("libgcc_s.so.1")',
    "certificates": 'ssl.create_default_context().cert_store_stats()["x509_ca"] > 50',
    "OpenSSL's settings": "legacy_hash() and os.path.samefile(openssl_cnf(), '/etc/ssl/openssl.cnf')",
    "time zones": 'zoneinfo.ZoneInfo("Europe/Berlin") and os.path.exists("/etc/localtime")',
    "hosts and addresses": 'socket.getaddrinfo("localhost", 80) and os.path.exists("/etc/nsswitch.conf")',
    "services and protocols": 'socket.getservbyname("https") == 443 and socket.getprotobyname("tcp") == 6',
    "users": 'pwd.getpwuid(os.getuid()).pw_name == getpass.getuser() == "nonroot"',
    "kinds of files": 'os.path.exists("/etc/mime.types") and mimetypes.guess_type("x.webp")[0] == "image/webp"',
    "terminals": 'curses.setupterm("xterm-256color") is None and curses.tigetnum("colors") == 256',
    "charsets of the C library": "all(map(charset, (b'UTF-16', b'UTF-32', b'ISO-8859-1', b'ISO-8859-15', b'CP1252')))",
    "the system's name": 'platform.freedesktop_os_release()["ID"] == "debian"',
    "temporary files": 'tempfile.NamedTemporaryFile().name.startswith("/tmp/")',
}
"""The rows of the page's table on what is looked up, each with what shows that it is so."""

ABSENT = {
    "other locales": 'locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")',
    "other charsets": 'charset(b"BIG5") or fail()',
    "libraries and plugins that code opens": 'ctypes.CDLL("libselinux.so.1")',
    "data of other programs": 'os.path.exists("/usr/share/misc/magic.mgc") or fail()',
    "parts of the standard library": "__import__('ensurepip')",
    "programs": 'subprocess.run(["git", "--version"])',
    "a shell": 'subprocess.run("true", shell=True)',
}
"""The rows of the table on what `keep` is for, each with what fails without it."""

PROGRAM = """
import ctypes, curses, getpass, json, locale, mimetypes, os, platform, pwd, socket, ssl, subprocess, sys, tempfile
import zoneinfo
from ctypes.util import find_library

def charset(name):
    iconv_open = ctypes.CDLL(None).iconv_open
    iconv_open.restype = ctypes.c_ssize_t
    return iconv_open(b"UTF-8", name) != -1

def openssl_cnf():
    return os.path.join(os.path.dirname(ssl.get_default_verify_paths().openssl_cafile), "openssl.cnf")

def legacy_hash():
    with open("/tmp/openssl.cnf", "w") as file:
        file.write("openssl_conf = a\\n[a]\\nproviders = b\\n[b]\\ndefault = c\\nlegacy = c\\n[c]\\nactivate = 1\\n")
    script = "import hashlib; print(hashlib.new('md4', b'').hexdigest())"
    environment = {**os.environ, "OPENSSL_CONF": "/tmp/openssl.cnf"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "31d6cfe0d16ae931b73c59d7e0c089c0"

def fail():
    raise LookupError("not there")

def tried(expression):
    try:
        return "" if eval(expression) else "it is false"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

print(json.dumps({name: tried(expression) for name, expression in json.load(sys.stdin).items()}))
"""


@pytest.fixture(scope="module")
def image(project: Settings, engine: Engine) -> Iterator[Built]:
    """Yield the production image."""
    name = f"dockyard-minimal-{secrets.token_hex(4)}"
    ((built,), _) = build.build_images(project._replace(image=name), Request(), engine=engine)
    yield built
    remove_images(engine, name)


def rows(heading: str) -> list[str]:
    """Return the first cells of a table of the page."""
    section = PAGE.read_text("utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (?!what |---)(.+?) \|", section, re.MULTILINE)


def answers(engine: Engine, image: Built, asked: dict[str, str]) -> dict[str, str]:
    """Return what is wrong with each expression in a hardened container."""
    run = ("run", "--rm", "--interactive", *HARDENED, "--entrypoint=python", image.references[0], "-c", PROGRAM)
    return dict(json.loads(capture(engine.command(*run, input=json.dumps(asked).encode())).stdout))


def test_every_row_of_the_page_is_looked_at() -> None:
    """What is said is tried, and the other way round."""
    assert rows("What is looked up at run time") == list(THERE)
    assert rows("What `keep` is for") == list(ABSENT)


def test_what_is_looked_up_is_there(engine: Engine, image: Built) -> None:
    """Every row of the table holds in the image, hardened as in production."""
    assert {name: wrong for name, wrong in answers(engine, image, THERE).items() if wrong} == {}


def test_what_has_to_be_kept_is_not_there(engine: Engine, image: Built) -> None:
    """Each of these would be one of the rows above otherwise."""
    wrong = answers(engine, image, ABSENT)
    assert [name for name in ABSENT if not wrong[name] or "SyntaxError" in wrong[name]] == []


TOOLS = """\
ARG PYTHON_VERSION
FROM scratch AS dockyard
FROM python:${PYTHON_VERSION}-slim AS base
ENV LANG=C.UTF-8
FROM base AS runtime
RUN --network=none --mount=from=dockyard,target=/dockyard python /dockyard runtime /layers
FROM base AS application
COPY tools /opt/tools
RUN --network=none --mount=from=dockyard,target=/dockyard \\
    python /dockyard application /layers/application /opt/tools
FROM scratch AS production
COPY --from=runtime /layers/runtime/ /
COPY --from=application /layers/application/ /
"""
LINKED = ("numpy", "scipy", "psycopg2-binary==2.9.10", "pillow==12.2.0", "ninja")
"""Wheels with libraries of their own, and with a program that needs one of the base image's."""


def test_programs_and_libraries_of_wheels_work(engine: Engine, project: Settings, unique: str, tmp_path: Path) -> None:
    """Nothing is called missing, programs run, and modules find the libraries that their wheels bundle."""
    tools = tmp_path / "tools"
    options = ("--quiet", "--only-binary=:all:", f"--python-version={project.python}", f"--target={tools}")
    subprocess.run((sys.executable, "-m", "pip", "install", "--no-compile", *options, *LINKED), check=True)
    (tmp_path / "Dockerfile").write_text(TOOLS)
    ((built,), _) = build.build_images(project._replace(root=tmp_path, image=unique), Request(), engine=engine)
    run = ("run", "--rm", *HARDENED, "--env=PYTHONPATH=/opt/tools", built.references[0])
    assert capture(engine.command(*run, "/opt/tools/bin/ninja", "--version")).stdout
    used = "import numpy, scipy.linalg, psycopg2, PIL.Image; print(scipy.linalg.det(numpy.eye(3)))"
    assert capture(engine.command(*run, "python3", "-c", used)).stdout.strip() == "1.0"
    files = contents.read_image(engine, built.references[0]).files
    assert not [path for path in files if path.startswith("/usr/share/dockyard")]
