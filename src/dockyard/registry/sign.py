"""Sign an image's digest with cosign and a key of one's own.

Nothing goes to a public transparency log: its entries name registry and image for everybody, and a key of one's
own needs no log to be checked. Whoever checks says so too: `cosign verify --key KEY --insecure-ignore-tlog=true`.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dockyard import process
from dockyard.errors import CommandError, DockyardError, UsageError
from dockyard.host import ca_bundle
from dockyard.process import Command, Completed, Runner
from dockyard.registry.access import config_folders, find_login

KEY = "DOCKYARD_COSIGN_KEY"
PASSWORD = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable, not a password
SECONDS = 120.0
LOGLESS = {
    "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
    "rekorTlogUrls": [],
    "tsaUrls": [],
}
"""What cosign 3 takes in place of `--tlog-upload=false`, which it refuses."""
NEW_WAY = "--use-signing-config=true"
"""What the help of a cosign shows that signs by such a configuration."""


@dataclass(frozen=True)
class Signer:
    """A key that opens: `public` is its public half as PEM; `configured` tells a cosign that reads LOGLESS."""

    key: str
    public: str
    configured: bool
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    runner: Runner = field(default=process, repr=False, compare=False)


def explain_hindrance(key: str, runner: Runner = process) -> str:
    """Return why nothing can be signed here, or an empty string."""
    if not key:
        return f"no key is given (--key FILE or {KEY})"
    return "" if runner.which("cosign") else "cosign is not installed"


def unlock_key(key: str, environment: Mapping[str, str], runner: Runner = process) -> Signer:
    """Return the signer of a key that its password opens; raise DockyardError, with nothing signed, where it does not.

    `environment` is what cosign gets to reach the registry.
    """
    where = "in --key or " + KEY
    if "://" not in key and not Path(key).is_file():
        raise UsageError(f"there is no signing key {key}", f"`cosign generate-key-pair` makes one; name it {where}")
    done = _cosign(runner, environment, "public-key", "--key", key)
    said = done.stderr.strip()
    if not done.ok and re.search(r"decrypt", said, re.IGNORECASE):
        absent = PASSWORD not in environment
        raise DockyardError(
            f"the signing key {key} does not open: {f'{PASSWORD} is not set' if absent else 'the password is wrong'}",
            f"set {PASSWORD} to the password of the key; nothing was built or pushed",
        )
    if not done.ok or "PUBLIC KEY" not in done.stdout:
        last = next(reversed(said.splitlines()), "it says nothing")
        raise DockyardError(f"cosign cannot use the signing key {key}: {last}", "is it a private key made by cosign?")
    # By its help and not by its version: Debian's calls itself "devel", be it 2 or 3.
    configured = NEW_WAY in _cosign(runner, environment, "sign", "--help").stdout
    return Signer(key, done.stdout, configured, environment, runner)


def has_signature(signer: Signer, pinned: str) -> bool:
    """Say whether a digest in a registry has a signature by this key."""
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        public = Path(folder) / "cosign.pub"
        public.write_text(signer.public, encoding="utf-8")
        check = ("verify", "--key", str(public), "--insecure-ignore-tlog=true", "--output=json", pinned)
        return _cosign(signer.runner, signer.environment, *check).ok


def sign_digest(signer: Signer, pinned: str) -> None:
    """Sign a digest in a registry, and check that its signature is there; raise DockyardError where it is not."""
    with tempfile.TemporaryDirectory(prefix="dockyard-") as folder:
        config = Path(folder) / "signing-config.json"
        config.write_text(json.dumps(LOGLESS), encoding="utf-8")
        quiet = f"--signing-config={config}" if signer.configured else "--tlog-upload=false"
        words = ("sign", "--key", signer.key, quiet, "--yes", pinned)
        done = _cosign(signer.runner, signer.environment, *words)
    if not done.ok:
        last = next(reversed(done.stderr.strip().splitlines()), "it says nothing")
        raise DockyardError(f"cosign could not sign {pinned}: {last}", "run it again: what is done is not done twice")
    if not has_signature(signer, pinned):
        raise DockyardError(
            f"cosign has signed {pinned}, but the registry has no signature by this key",
            "does the registry keep signatures? Their tags begin with sha256-",
        )


def make_environment(host: str, engine: Mapping[str, str], user: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which cosign finds the login and the certificates that a push would use."""
    folders = config_folders(engine, user)
    its = next((folder for folder in folders if find_login(host, (folder,), engine)), None)
    bundle = ca_bundle({**user, **engine})
    return {
        **({"DOCKER_CONFIG": str(its)} if its else {}),
        **({"SSL_CERT_FILE": str(bundle)} if bundle else {}),
        **({PASSWORD: user[PASSWORD]} if PASSWORD in user else {}),
    }


def _cosign(runner: Runner, environment: Mapping[str, str], *words: str) -> Completed:
    secret = environment.get(PASSWORD, "")
    command = Command(("cosign", *words), env=environment, timeout=SECONDS, secrets=(secret,) if secret else ())
    try:
        return runner.capture(command, check=False)
    except CommandError as error:
        raise DockyardError(error.message, "does the registry answer?") from None
