"""The host's keyring: asked for a user without a password, once for each name, and never more."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dockyard import process
from dockyard.errors import CommandError, DockyardError
from dockyard.locks.indexes import ask_keyring, read_access
from dockyard.locks.inputs import Input, parse_input
from dockyard.process import Command, Completed

HOST = "pip.corp:8443"
ADDRESS = f"https://{HOST}/simple"


class Keyring:
    """What `keyring get SERVICE USER` does: print the password, or exit with 1."""

    def __init__(self, kept: Mapping[tuple[str, str], str]) -> None:
        self.kept = kept
        self.asked: list[tuple[str, str]] = []

    def __call__(self, command: Command, *, check: bool = True) -> Completed:
        """Answer as the program does."""
        *program, verb, service, user = command.argv
        assert (program, verb, check, command.input) == (["/bin/keyring"], "get", False, None)
        assert command.timeout
        self.asked.append((service, user))
        found = self.kept.get((service, user))
        return Completed(int(found is None), "no such login\n" if found is None else f"{found}\n", "", 0.1)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], str]:
    """Stand in for a keyring, and return what it keeps."""
    found: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(process, "which", lambda program: f"/bin/{program}")
    monkeypatch.setattr(process, "capture", Keyring(found))
    return found


def inputs(*lines: str) -> list[Input]:
    """Return one input with these lines."""
    return [parse_input("requirements/base.in", "\n".join([*lines, "flask"]).encode())]


@pytest.mark.parametrize("service", [f"{ADDRESS}/", ADDRESS, HOST])
def test_the_names_of_an_index(kept: dict[tuple[str, str], str], service: str) -> None:
    """As pip asks for it, as it is written, and by host and port."""
    kept[service, "sailor"] = " p@ss "
    assert ask_keyring(ADDRESS, "sailor") == " p@ss "
    assert ask_keyring(ADDRESS, "another") == ""


def test_a_user_without_a_password(kept: dict[tuple[str, str], str], tmp_path: Path) -> None:
    """The password goes where all others go; it is secret, and the user's name no longer is."""
    kept[HOST, "aws"] = "hush"
    lines = (f"--index-url https://${{USER_NAME}}@{HOST}/simple", f"--extra-index-url https://{HOST}/more")
    way = read_access(inputs(*lines), "", {"USER_NAME": "aws", "HOME": str(tmp_path)}, None)
    assert way.netrc == "machine pip.corp login aws password hush\n"
    assert way.secrets == ("hush",)


def test_a_mirror_with_a_user(kept: dict[tuple[str, str], str], tmp_path: Path) -> None:
    """DOCKYARD_INDEX_URL may name the user alone; the keyring is asked without it in the address."""
    kept[f"{ADDRESS}/", "sailor"] = "hush"
    way = read_access(inputs(), f"https://sailor@{HOST}/simple", {"HOME": str(tmp_path)}, None)
    assert (way.index, way.netrc) == (ADDRESS, "machine pip.corp login sailor password hush\n")


def test_who_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A password in the address or for that user in netrc comes first, and an address without a user needs none."""
    monkeypatch.setattr(process, "capture", lambda *_arguments, **_options: pytest.fail("the keyring was asked"))
    (tmp_path / ".netrc").write_text("machine b login sailor password w0rd\nmachine c login other password x\n")
    environment = {"HOME": str(tmp_path), "WORD": "hush"}
    lines = ("-i https://sailor:${WORD}@a/simple", "--extra-index-url https://c/simple")
    way = read_access(inputs(*lines), "https://sailor@b/simple", environment, None)
    assert way.netrc == (
        "machine a login sailor password hush\nmachine c login other password x\nmachine b login sailor password w0rd\n"
    )


def test_a_token_without_a_password_stays_secret(kept: dict[tuple[str, str], str], tmp_path: Path) -> None:
    """Where the keyring knows nothing, the user may be a token."""
    way = read_access(inputs(), f"https://t0ken@{HOST}/simple", {"HOME": str(tmp_path)}, None)
    assert way.netrc == 'machine pip.corp login t0ken password ""\n'
    assert way.secrets == ("t0ken",)


def test_a_user_who_is_the_password_stays_secret(tmp_path: Path) -> None:
    """Some indexes take a token for both."""
    way = read_access(inputs(), f"https://t0ken:t0ken@{HOST}/simple", {"HOME": str(tmp_path)}, None)
    assert way.secrets == ("t0ken",)


def test_the_module_beside_dockyard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a program on PATH the module does; without either nobody is asked."""
    asked: list[tuple[str, ...]] = []

    def capture(command: Command, *, check: bool = True) -> Completed:
        asked.append(command.argv)
        return Completed(0, "hush\n", "", 0.1)

    monkeypatch.setattr(process, "which", lambda _program: None)
    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert ask_keyring(ADDRESS, "sailor") == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert ask_keyring(ADDRESS, "sailor") == "hush"
    assert asked == [(sys.executable, "-m", "keyring", "get", f"{ADDRESS}/", "sailor")]


def test_a_keyring_that_waits_is_told(kept: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is locked and asks nobody knows whom is an error with a way out."""

    def capture(command: Command, *, check: bool = True) -> Completed:
        raise CommandError("keyring did not finish within 30 s")

    monkeypatch.setattr(process, "capture", capture)
    with pytest.raises(DockyardError, match="did not finish") as caught:
        ask_keyring(ADDRESS, "sailor")
    assert "unlock the keyring" in caught.value.hint
