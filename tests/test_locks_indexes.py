"""The way to private indexes: what travels, and what is kept secret."""

from pathlib import Path

import pytest

from dockyard.errors import DockyardError
from dockyard.locks.indexes import read_access, select_options
from dockyard.locks.inputs import Input, InputError, parse_input


def inputs(*lines: str) -> list[Input]:
    """Return one input with these lines."""
    return [parse_input("requirements/base.in", "\n".join([*lines, "flask"]).encode())]


def test_a_password_from_netrc_goes_to_its_own_host_only(tmp_path: Path) -> None:
    """Only hosts that the inputs name get a login; another one in the same file stays at home."""
    (tmp_path / ".netrc").write_text("machine pip.corp login me password w0rd\nmachine other login x password y\n")
    way = read_access(inputs("--extra-index-url https://pip.corp/simple"), "", {"HOME": str(tmp_path)})
    assert way.netrc == "machine pip.corp login me password w0rd\n"
    assert "w0rd" in way.secrets
    assert "y" not in way.secrets


def test_variables_of_an_input_travel_and_are_secret() -> None:
    """${NAME} in an input is taken from the environment, and nothing else of it."""
    environment = {"WORD": "p%40ss", "HOME": "/nowhere", "OTHER": "x", "PIP_INDEX_URL": "https://leak"}
    way = read_access(inputs("-i https://me:${WORD}@127.0.0.1:8080/simple"), "", environment)
    assert way.variables == {"WORD": "p%40ss"}
    assert way.netrc == "machine 127.0.0.1 login me password p@ss\n"
    assert {"p%40ss", "p@ss"} <= set(way.secrets)
    assert way.loopback


def test_a_variable_that_is_not_set_is_named_with_its_line() -> None:
    """Without its variable an index would answer 401: say what is missing instead."""
    with pytest.raises(InputError, match=r"base\.in:1: \$\{WORD\} is not set"):
        read_access(inputs("-i https://me:${WORD}@host/simple"), "", {})


def test_the_address_of_a_mirror_travels_without_its_password() -> None:
    """DOCKYARD_INDEX_URL may hold a login: it goes to the netrc, odd characters quoted, and never into an address."""
    way = read_access(inputs(), "https://me:a%20%22b%23@mirror:8443/simple", {"HOME": "/nowhere"})
    bare = "https://mirror:8443/simple"
    assert way.variables == {"PIP_INDEX_URL": bare, "UV_DEFAULT_INDEX": bare}
    assert way.netrc == 'machine mirror login me password "a \\"b#"\n'
    assert not way.loopback


def test_uv_is_told_of_trusted_hosts_by_its_variable() -> None:
    """Pip reads the option in the inputs themselves; each host is named once."""
    way = read_access(inputs("--trusted-host a.corp", "--trusted-host=b.corp:81", "--trusted-host a.corp"), "", {})
    assert way.variables == {"UV_INSECURE_HOST": "a.corp b.corp:81"}


def test_proxies_travel() -> None:
    """A host that needs a proxy needs it in the container too; its password is secret."""
    environment = {"https_proxy": "http://u:hush@proxy:3128", "NO_PROXY": "localhost", "HOME": "/nowhere"}
    way = read_access(inputs(), "", environment)
    assert way.variables == {"https_proxy": "http://u:hush@proxy:3128", "NO_PROXY": "localhost"}
    assert "hush" in way.secrets


def test_a_broken_netrc_is_told_without_its_content(tmp_path: Path) -> None:
    """A file that cannot be read as a netrc is named with its line."""
    (tmp_path / "rc").write_text("machine a login b\nnonsense c0de\n")
    with pytest.raises(DockyardError, match=r"rc:2") as caught:
        read_access(inputs("-i https://a/simple"), "", {"NETRC": str(tmp_path / "rc")})
    assert "c0de" not in caught.value.message


def test_options_are_kept_as_they_are_written() -> None:
    """A lock repeats where its packages come from, variables unexpanded, each line once."""
    lines = ("--index-url https://${U}:${P}@host/simple", "--only-binary :all:", "--pre", "--only-binary :all:")
    assert select_options(inputs(*lines)) == list(lines[:3])


@pytest.mark.parametrize("line", ["-i https://me:${WORD}@host/simple", "-i https://ho]st/simple"])
def test_an_address_that_is_none_is_told_without_its_password(line: str) -> None:
    """A bracket in a variable or a host is no traceback; what stands before the host is not shown."""
    with pytest.raises(DockyardError, match="is no address of an index") as caught:
        read_access(inputs(line), "", {"WORD": "hu[sh", "HOME": "/nowhere"})
    assert "sh@" not in caught.value.message
    assert caught.value.hint
