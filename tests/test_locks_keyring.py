"""The host's keyring: asked for a user without a password, once for each name, and never more."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from dockyard.errors import CommandError, DockyardError
from dockyard.locks.indexes import ask_keyring, read_access
from dockyard.locks.inputs import Input, parse_input
from dockyard.process import Command, Completed
from tests.scripted_docker import Docker

HOST = "pip.corp:8443"
ADDRESS = f"https://{HOST}/simple"


class Programs(Docker):
    """What `keyring get SERVICE USER` does: print the password, or exit with 1."""

    def __init__(self, *programs: str) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.programs = {name: f"/bin/{name}" for name in programs}

    def answer(self, command: Command) -> Completed:
        """Answer as the program does."""
        *program, verb, service, user = command.argv
        assert (program, verb, command.input) == (["/bin/keyring"], "get", None)
        assert command.timeout
        found = self.kept.get((service, user))
        return Completed(int(found is None), "no such login\n" if found is None else f"{found}\n", "", 0.1)

    def ask(self, address: str, user: str) -> str:
        """Ask this keyring."""
        return ask_keyring(address, user, self)


@pytest.fixture
def keyring() -> Programs:
    """Return a host with a keyring."""
    return Programs("keyring")


def inputs(*lines: str) -> list[Input]:
    """Return one input with these lines."""
    return [parse_input("requirements/base.in", "\n".join([*lines, "flask"]).encode())]


@pytest.mark.parametrize("service", [f"{ADDRESS}/", ADDRESS, HOST])
def test_the_names_of_an_index(keyring: Programs, service: str) -> None:
    """As pip asks for it, as it is written, and by host and port."""
    keyring.kept[service, "sailor"] = " p@ss "
    assert keyring.ask(ADDRESS, "sailor") == " p@ss "
    assert keyring.ask(ADDRESS, "another") == ""


def test_a_user_without_a_password(keyring: Programs, tmp_path: Path) -> None:
    """The password goes where all others go; it is secret, and the user's name no longer is."""
    keyring.kept[HOST, "aws"] = "hush"
    lines = (f"--index-url https://${{USER_NAME}}@{HOST}/simple", f"--extra-index-url https://{HOST}/more")
    way = read_access(inputs(*lines), "", {"USER_NAME": "aws", "HOME": str(tmp_path)}, keyring=keyring.ask)
    assert way.netrc == "machine pip.corp login aws password hush\n"
    assert way.secrets == ("hush",)


def test_a_mirror_with_a_user(keyring: Programs, tmp_path: Path) -> None:
    """DOCKYARD_INDEX_URL may name the user alone; the keyring is asked without it in the address."""
    keyring.kept[f"{ADDRESS}/", "sailor"] = "hush"
    way = read_access(inputs(), f"https://sailor@{HOST}/simple", {"HOME": str(tmp_path)}, keyring=keyring.ask)
    assert (way.variables["PIP_INDEX_URL"], way.netrc) == (ADDRESS, "machine pip.corp login sailor password hush\n")


def test_who_is_not_asked_for(keyring: Programs, tmp_path: Path) -> None:
    """A password in the address or for that user in netrc comes first, and an address without a user needs none."""
    (tmp_path / ".netrc").write_text("machine b login sailor password w0rd\nmachine c login other password x\n")
    environment = {"HOME": str(tmp_path), "WORD": "hush"}
    lines = ("-i https://sailor:${WORD}@a/simple", "--extra-index-url https://c/simple")
    way = read_access(inputs(*lines), "https://sailor@b/simple", environment, keyring=keyring.ask)
    assert keyring.asked == []
    assert way.netrc == (
        "machine a login sailor password hush\nmachine c login other password x\nmachine b login sailor password w0rd\n"
    )


def test_a_token_without_a_password_stays_secret(keyring: Programs, tmp_path: Path) -> None:
    """Where the keyring knows nothing, the user may be a token."""
    way = read_access(inputs(), f"https://t0ken@{HOST}/simple", {"HOME": str(tmp_path)}, keyring=keyring.ask)
    assert way.netrc == 'machine pip.corp login t0ken password ""\n'
    assert way.secrets == ("t0ken",)


def test_a_user_who_is_the_password_stays_secret(keyring: Programs, tmp_path: Path) -> None:
    """Some indexes take a token for both."""
    way = read_access(inputs(), f"https://t0ken:t0ken@{HOST}/simple", {"HOME": str(tmp_path)}, keyring=keyring.ask)
    assert way.secrets == ("t0ken",)


def test_the_module_beside_dockyard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a program on PATH the module does; without either nobody is asked."""
    host = Programs()
    host.says["keyring"] = "hush\n"
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert ask_keyring(ADDRESS, "sailor", host) == ""
    beside = ModuleType("keyring")
    beside.__spec__ = ModuleSpec("keyring", None)
    monkeypatch.setitem(sys.modules, "keyring", beside)
    assert ask_keyring(ADDRESS, "sailor", host) == "hush"
    assert [command.argv for command in host.asked] == [
        (sys.executable, "-m", "keyring", "get", f"{ADDRESS}/", "sailor")
    ]


def test_a_keyring_that_waits_is_told(keyring: Programs) -> None:
    """One that is locked and asks nobody knows whom is an error with a way out."""
    keyring.says["get"] = CommandError("keyring did not finish within 30 s")
    with pytest.raises(DockyardError, match="did not finish") as caught:
        keyring.ask(ADDRESS, "sailor")
    assert "unlock the keyring" in caught.value.hint
