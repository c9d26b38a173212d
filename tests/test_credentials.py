"""Logins as Docker keeps them: config.json and credential helpers."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from docker.auth import AuthConfig
from docker.credentials import CredentialsNotFound, StoreError

from dockyard.registry.access import Credentials, config_folders, find_login, select_login
from dockyard.registry.errors import Kind, RegistryError

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
    """Stands for a credential helper: gives an answer, or the error of the SDK that its failure becomes."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def get(self, server: str) -> Any:
        """Answer as the SDK's store does."""
        self.asked.append(server)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def helped(helper: Helper, **config: Any) -> AuthConfig:
    """Return the logins of a config.json that names a helper called vault."""
    made = AuthConfig.load_config(None, {"credsStore": "vault", **config})
    vars(made)["_stores"]["vault"] = helper
    return made


def test_a_login_is_read_from_config_json(tmp_path: Path) -> None:
    """The usual entry: user and password in one base64 word; a colon in the password is part of it."""
    folder = write(tmp_path, {"auths": {HOST: auth("sailor:se:cret")}})
    assert find_login(HOST, [folder], {}) == Credentials("sailor", "se:cret")
    assert find_login("other.example", [folder], {}) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"identitytoken": "abc", "auth": ""}, Credentials(identity_token="abc")),
        (auth("<token>:abc"), Credentials(identity_token="abc")),
        ({}, None),
    ],
    ids=["identity token", "token as a user", "empty"],
)
def test_each_form_of_an_entry_is_understood(
    tmp_path: Path, entry: dict[str, str], expected: Credentials | None
) -> None:
    """Docker has written logins in several forms."""
    assert find_login(HOST, [write(tmp_path, {"auths": {HOST: entry}})], {}) == expected


def test_an_entry_filed_under_a_url_is_found(tmp_path: Path) -> None:
    """Old versions of Docker wrote whole addresses."""
    folder = write(tmp_path, {"auths": {f"https://{HOST}/v1/": auth("sailor:secret")}})
    assert find_login(HOST, [folder], {}) == Credentials("sailor", "secret")


def test_the_first_folder_with_a_login_counts(tmp_path: Path) -> None:
    """A login of the engine's own configuration comes before the user's, which fills the gaps."""
    first = write(tmp_path / "engine", {"auths": {HOST: auth("engine:1")}})
    second = write(tmp_path / "user", {"auths": {HOST: auth("user:2"), "other.example": auth("user:3")}})
    assert find_login(HOST, [tmp_path / "none", first, second], {}) == Credentials("engine", "1")
    assert find_login("other.example", [first, second], {}) == Credentials("user", "3")


def test_config_folders_are_the_engines_and_the_users() -> None:
    """DOCKER_CONFIG wins over the home folder; the same folder is not read twice."""
    assert config_folders({}, {"HOME": "/home/sailor"}) == (Path("/home/sailor/.docker"),)
    assert config_folders({"DOCKER_CONFIG": "/a"}, {"DOCKER_CONFIG": "/b"}) == (Path("/a"), Path("/b"))
    assert config_folders({"DOCKER_CONFIG": "/a"}, {"DOCKER_CONFIG": "/a"}) == (Path("/a"),)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"Username": "sailor", "Secret": "secret"}, Credentials("sailor", "secret")),
        ({"Username": "<token>", "Secret": "abc"}, Credentials(identity_token="abc")),
    ],
    ids=["password", "identity token"],
)
def test_a_helper_is_asked_for_the_host(answer: dict[str, str], expected: Credentials) -> None:
    """What it answers comes before what the file has."""
    helper = Helper(answer)
    assert select_login(helped(helper, auths={HOST: auth("other:1")}), HOST, Path("config.json")) == expected
    assert helper.asked == [HOST]


def test_a_helper_without_the_login_gives_way_to_the_file() -> None:
    """Some helpers are set for all hosts and know few."""
    config = helped(Helper(CredentialsNotFound("none")), auths={HOST: auth("sailor:secret")})
    assert select_login(config, HOST, Path("config.json")) == Credentials("sailor", "secret")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (StoreError("the vault is locked"), "the vault is locked"),
        (ValueError("secret but not JSON"), "did not answer with a login"),
        ({"Username": "sailor"}, "did not answer with a login"),
    ],
    ids=["locked", "no JSON", "no secret"],
)
def test_a_broken_helper_is_named_with_the_file_that_asks_for_it(answer: Any, words: str) -> None:
    """What a helper printed may be a secret: only what it says when it fails is passed on."""
    with pytest.raises(RegistryError) as caught:
        select_login(helped(Helper(answer)), HOST, Path("/home/sailor/config.json"))
    assert caught.value.kind is Kind.DENIED
    assert "docker-credential-vault" in caught.value.message
    assert words in caught.value.message
    assert "secret but" not in caught.value.message
    assert "/home/sailor/config.json" in caught.value.hint


@pytest.mark.host
@pytest.mark.processes
def test_a_real_helper_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol is spoken with a real program."""
    program = tmp_path / "bin" / "docker-credential-parrot"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nread host\nprintf \'{"Username": "%s", "Secret": "s"}\' "$host"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert find_login(HOST, [write(tmp_path, {"credsStore": "parrot"})], {}) == Credentials(HOST, "s")


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """config.json may come from another machine."""
    with pytest.raises(RegistryError, match="docker-credential-absent not installed"):
        find_login(HOST, [write(tmp_path, {"credsStore": "absent"})], {})


@pytest.mark.parametrize(
    "config",
    ["{", "[1]", json.dumps({"auths": {HOST: {"auth": "!"}}}), json.dumps({"auths": {HOST: 1}})],
    ids=["no JSON", "a list", "garbled login", "no entry"],
)
def test_a_broken_config_json_is_named(tmp_path: Path, config: str) -> None:
    """The error names the file, and never what is in it."""
    with pytest.raises(RegistryError, match=r"config\.json") as caught:
        find_login(HOST, [write(tmp_path, config)], {})
    assert caught.value.kind is Kind.DENIED


def test_a_login_is_not_shown_by_accident() -> None:
    """Neither a traceback nor a log line may hold a password."""
    assert "secret" not in repr(Credentials("sailor", "secret", "secret"))


def test_the_engine_gets_a_login_in_its_own_words() -> None:
    """The Engine API knows passwords and identity tokens by these names."""
    plain = {"username": "sailor", "password": "secret", "serveraddress": HOST}
    assert Credentials("sailor", "secret").for_engine(HOST) == plain
    assert Credentials(identity_token="t").for_engine(HOST) == {"identitytoken": "t", "serveraddress": HOST}
