"""Read what this host has that builds need too: its certificates and its package index settings."""

import configparser
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

from dockyard.errors import DockyardError

CA_NAMES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
MACHINE_PIP_CONF = Path("/etc/pip.conf")


def ca_bundle(environment: Mapping[str, str] = os.environ, system: Iterable[str] = CA_FILES) -> Path | None:
    """Return the file with the certificates that this host trusts, or None.

    Variables that a person sets for Python tools come first, then the system's own bundle.
    """
    for name in (*(environment.get(name, "") for name in CA_NAMES), *system):
        if name and Path(name).is_file():
            return Path(name)
    return None


def read_bundle(bundle: Path | None) -> bytes:
    """Return what a CA bundle holds, nothing for None; raise DockyardError where it cannot be read."""
    try:
        return bundle.read_bytes() if bundle else b""
    except OSError as error:
        hint = "let this user read it, or set SSL_CERT_FILE to another CA bundle"
        raise DockyardError(f"{bundle}: the certificates cannot be read: {error.strerror}", hint) from None


def count_certificates(bundle: Path) -> int:
    """Return how many certificates a PEM file holds; raise OSError where it is none."""
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=bundle)
    return bundle.read_text("ascii", "replace").count("-----BEGIN ")


def read_pip_settings(
    environment: Mapping[str, str] = os.environ, home: Path | None = None, machine: Path = MACHINE_PIP_CONF
) -> dict[str, str]:
    """Return what pip's configuration says of the host's package indexes, by its own names, credentials included.

    Only what a container can reach counts: local folders and file: addresses are left out.
    """
    wanted = {"index-url": "", "extra-index-url": "", "trusted-host": ""}
    for file in _pip_files(environment, home or Path.home(), machine):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        wanted = {key: parser.get("global", key, fallback=value) for key, value in wanted.items()}
    wanted = {key: environment.get("PIP_" + key.upper().replace("-", "_"), value) for key, value in wanted.items()}
    reachable = {key: [part for part in value.split() if not part.startswith("file:")] for key, value in wanted.items()}
    return {key: " ".join(parts) for key, parts in reachable.items() if parts}


def _pip_files(environment: Mapping[str, str], home: Path, last: Path) -> tuple[Path, ...]:
    """Return the files that pip would read, strongest last: a named file stands in for the user's own."""
    named = environment.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return ()
    folders = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    machine = (*(Path(part) / "pip" / "pip.conf" for part in folders.split(":") if part), last)
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    user = (Path(named),) if named else (home / ".pip" / "pip.conf", config / "pip" / "pip.conf")
    return (*machine, *user)
