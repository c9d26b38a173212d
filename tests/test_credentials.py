"""Logins as Docker keeps them: config.json and credential helpers."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from dockyard.errors import CommandError
from dockyard.process import Command, Completed
from dockyard.registry.errors import Kind, RegistryError
from dockyard.registry.login import Credentials, config_folders, find

HOST = "registry.example:5000"


def write(folder: Path, config: object) -> Path:
    """Write a config.json and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def auth(login: str) -> dict[str, str]:
    """Return an entry of config.json for `user:password`."""
    return {"auth": base64.b64encode(login.encode()).decode()}


class Helper:
    """Stands for a credential helper, with the answer that its protocol has."""

    def __init__(self, stdout: str, returncode: int = 0) -> None:
        self.stdout = stdout
        self.returncode = returncode
        self.commands: list[Command] = []

    def __call__(self, command: Command, *, check: bool = True) -> Completed:
        """Answer a call as `execute.capture` does."""
        self.commands.append(command)
        assert not check, "a helper's output holds a secret and may not end in an error message"
        return Completed(self.returncode, self.stdout, "", 0.1)


def test_a_login_is_read_from_config_json(tmp_path: Path) -> None:
    """The usual entry: user and password in one base64 word; a colon in the password is part of it."""
    folder = write(tmp_path, {"auths": {HOST: auth("sailor:se:cret")}})
    assert find(HOST, [folder], {}) == Credentials("sailor", "se:cret")
    assert find("other.example", [folder], {}) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"identitytoken": "abc", "auth": ""}, Credentials(identity_token="abc")),
        ({"username": "sailor", "password": "secret"}, Credentials("sailor", "secret")),
        (auth("<token>:abc"), Credentials(identity_token="abc")),
        ({}, None),
    ],
    ids=["identity token", "plain", "token as a user", "empty"],
)
def test_each_form_of_an_entry_is_understood(
    tmp_path: Path, entry: dict[str, str], expected: Credentials | None
) -> None:
    """Docker has written logins in several forms."""
    assert find(HOST, [write(tmp_path, {"auths": {HOST: entry}})], {}) == expected


def test_an_entry_filed_under_a_url_is_found(tmp_path: Path) -> None:
    """Old versions of Docker wrote whole addresses."""
    folder = write(tmp_path, {"auths": {f"https://{HOST}/v1/": auth("sailor:secret")}})
    assert find(HOST, [folder], {}) == Credentials("sailor", "secret")


def test_the_first_folder_with_a_login_counts(tmp_path: Path) -> None:
    """A login of the engine's own configuration comes before the user's, which fills the gaps."""
    first = write(tmp_path / "engine", {"auths": {HOST: auth("engine:1")}})
    second = write(tmp_path / "user", {"auths": {HOST: auth("user:2"), "other.example": auth("user:3")}})
    assert find(HOST, [tmp_path / "none", first, second], {}) == Credentials("engine", "1")
    assert find("other.example", [first, second], {}) == Credentials("user", "3")


def test_config_folders_are_the_engines_and_the_users() -> None:
    """DOCKER_CONFIG wins over the home folder; the same folder is not read twice."""
    assert config_folders({}, {"HOME": "/home/sailor"}) == (Path("/home/sailor/.docker"),)
    assert config_folders({"DOCKER_CONFIG": "/a"}, {"DOCKER_CONFIG": "/b"}) == (Path("/a"), Path("/b"))
    assert config_folders({"DOCKER_CONFIG": "/a"}, {"DOCKER_CONFIG": "/a"}) == (Path("/a"),)


@pytest.mark.parametrize("config", [{"credsStore": "vault"}, {"credHelpers": {HOST: "vault"}, "credsStore": "other"}])
def test_a_helper_is_asked_as_its_protocol_says(tmp_path: Path, config: dict[str, Any]) -> None:
    """The host goes in on stdin, a login comes out; a helper for this host wins over the general one."""
    helper = Helper(json.dumps({"ServerURL": HOST, "Username": "sailor", "Secret": "secret"}))
    assert find(HOST, [write(tmp_path, config)], {"PATH": "/x"}, run=helper) == Credentials("sailor", "secret")
    (command,) = helper.commands
    assert command.argv == ("docker-credential-vault", "get")
    assert command.input == HOST.encode()
    assert command.env == {"PATH": "/x"}


def test_a_helper_without_the_login_gives_way_to_the_file(tmp_path: Path) -> None:
    """Helpers say so in words, with status 1."""
    folder = write(tmp_path, {"credsStore": "vault", "auths": {HOST: auth("sailor:secret")}})
    helper = Helper("credentials not found in native keychain\n", returncode=1)
    assert find(HOST, [folder], {}, run=helper) == Credentials("sailor", "secret")


@pytest.mark.parametrize(
    ("helper", "words"),
    [
        (Helper("the vault is locked", returncode=1), "the vault is locked"),
        (Helper("", returncode=2), "it said nothing"),
        (Helper("secret but not JSON"), "did not answer with a login"),
        (Helper('{"Username": "sailor"}'), "did not answer with a login"),
    ],
    ids=["locked", "silent", "no JSON", "no secret"],
)
def test_a_broken_helper_is_named_with_the_file_that_asks_for_it(tmp_path: Path, helper: Helper, words: str) -> None:
    """What a helper printed may be a secret: only what it says when it fails is passed on."""
    with pytest.raises(RegistryError) as caught:
        find(HOST, [write(tmp_path, {"credsStore": "vault"})], {}, run=helper)
    assert caught.value.kind is Kind.DENIED
    assert "docker-credential-vault" in caught.value.message
    assert words in caught.value.message
    assert "secret but" not in caught.value.message
    assert str(tmp_path / "config.json") in caught.value.hint


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """config.json may come from another machine."""

    def absent(_command: Command, *, check: bool = True) -> Completed:
        raise CommandError("docker-credential-vault is not installed, or not on PATH")

    with pytest.raises(RegistryError, match="docker-credential-vault is not installed"):
        find(HOST, [write(tmp_path, {"credsStore": "vault"})], {}, run=absent)


@pytest.mark.host
@pytest.mark.processes
def test_a_real_helper_is_found_on_the_engines_path(tmp_path: Path) -> None:
    """The protocol is spoken with a real program."""
    program = tmp_path / "bin" / "docker-credential-parrot"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nread host\nprintf \'{"Username": "%s", "Secret": "s"}\' "$host"\n')
    program.chmod(0o755)
    folder = write(tmp_path, {"credsStore": "parrot"})
    assert find(HOST, [folder], {"PATH": f"{program.parent}:/usr/bin:/bin"}) == Credentials(HOST, "s")


@pytest.mark.parametrize(
    "config", ["{", json.dumps({"auths": {HOST: {"auth": "!"}}})], ids=["no JSON", "garbled login"]
)
def test_a_broken_config_json_is_named(tmp_path: Path, config: str) -> None:
    """The error names the file, and never what is in it."""
    with pytest.raises(RegistryError, match=r"config\.json") as caught:
        find(HOST, [write(tmp_path, config)], {})
    assert caught.value.kind is Kind.DENIED


def test_a_login_is_not_shown_by_accident() -> None:
    """Neither a traceback nor a log line may hold a password."""
    assert "secret" not in repr(Credentials("sailor", "secret", "secret"))


def test_the_engine_gets_a_login_in_its_own_words() -> None:
    """The Engine API knows passwords and identity tokens by these names."""
    plain = {"username": "sailor", "password": "secret", "serveraddress": HOST}
    assert Credentials("sailor", "secret").for_engine(HOST) == plain
    assert Credentials(identity_token="t").for_engine(HOST) == {"identitytoken": "t", "serveraddress": HOST}
