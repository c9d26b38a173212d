"""What a build needs to log in to the indexes of its locks."""

import os
from pathlib import Path

import pytest

from dockyard.locks.indexes import Access, read_logins
from dockyard.locks.inputs import Input, parse_input

KEPT = {("https://mirror/simple", "sailor"): "p@ss", ("https://c/simple", "us"): "w0rd"}


class Keyring:
    """A keyring that remembers what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, address: str, user: str) -> str:
        """Tell a password."""
        self.asked.append((address, user))
        return KEPT.get((address, user), "")


def host(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a host whose pip has no configuration but these variables."""
    return {"HOME": str(home), "PIP_CONFIG_FILE": os.devnull, **variables}


@pytest.fixture
def keyring() -> Keyring:
    """Return a keyring."""
    return Keyring()


def inputs(*lines: str) -> list[Input]:
    """Return one input with these lines."""
    return [parse_input("requirements/base.in", "\n".join([*lines, "flask"]).encode())]


def test_logins_of_all_indexes(keyring: Keyring, tmp_path: Path) -> None:
    """Those of the inputs and of pip.conf, from netrc, variables and the keyring; no others."""
    (tmp_path / ".netrc").write_text("machine b login me password n3trc\nmachine other login x password y\n")
    lines = ("-i https://b/simple", "--extra-index-url https://${WHO}@c/simple", "-f https://${GONE}:${WORD}@d/files")
    environment = host(
        tmp_path,
        WHO="us",
        WORD="h%40sh",
        HTTPS_PROXY="http://u:pr0xy@p:1",
        PIP_INDEX_URL="https://other/simple",
        PIP_EXTRA_INDEX_URL="https://b/x https://y:z@e/simple",
    )
    found = read_logins(inputs(*lines), "https://sailor@mirror/simple", environment, keyring)
    assert sorted(found.netrc.splitlines()) == [
        "machine b login me password n3trc",
        "machine c login us password w0rd",
        'machine d login "" password h@sh',
        "machine e login y password z",
        "machine mirror login sailor password p@ss",
    ]
    assert sorted(keyring.asked) == sorted(KEPT), "each is asked for once"
    assert {"n3trc", "w0rd", "h@sh", "h%40sh", "z", "p@ss", "p%40ss", "pr0xy"} <= set(found.secrets)
    assert "sailor" not in found.secrets


def test_a_lone_user_gets_its_password(keyring: Keyring, tmp_path: Path) -> None:
    """In pip.conf and in a variable: a pip that is some years old would not look into the netrc."""
    lines = ("-i https://${WHO}@c/simple", "--extra-index-url https://${TOKEN}@f/simple")
    environment = host(
        tmp_path, WHO="us", TOKEN="t0ken", PIP_INDEX_URL="https://sailor@mirror/simple", PIP_TRUSTED_HOST="x"
    )
    found = read_logins(inputs(*lines), "", environment, keyring)
    assert found.variables == {"WHO": "us:w0rd", "TOKEN": "t0ken"}
    assert found.pip_conf == "[global]\nindex-url = https://sailor:p%40ss@mirror/simple\ntrusted-host = x\n"


def test_a_variable_that_is_not_set_is_left_out(keyring: Keyring, tmp_path: Path) -> None:
    """What needs it may be in the build's cache; otherwise the index says no."""
    found = read_logins(inputs("-i https://me:${GONE}@c/simple"), "", host(tmp_path))
    assert (found.variables, found.secrets) == ({}, ("me",))


def test_a_build_without_an_index_of_its_own(keyring: Keyring, tmp_path: Path) -> None:
    """Nothing is looked for: a netrc that cannot be read is nobody's business then."""
    (tmp_path / ".netrc").write_text("nonsense here\n")
    assert read_logins(inputs(), "", host(tmp_path)) == Access()
    assert keyring.asked == []
