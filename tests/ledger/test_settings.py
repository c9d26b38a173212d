"""Settings from the environment."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ledger import create_app, settings
from ledger.settings import SettingsError


def test_nothing_set() -> None:
    """Without variables the database has its default place, writing is off and any host is served."""
    assert settings.load({}) == {"LEDGER_DATABASE": None, "LEDGER_TOKEN": None, "TRUSTED_HOSTS": None}


def test_empty_counts_as_unset() -> None:
    """Compose passes an empty value for a variable that the host lacks."""
    names = ("LEDGER_DATABASE", "LEDGER_TOKEN", "LEDGER_TOKEN_FILE", "LEDGER_TRUSTED_HOSTS")
    assert settings.load(dict.fromkeys(names, "")) == settings.load({})


def test_everything_set() -> None:
    """Hosts are split at commas, and loopback is always among them for a health check."""
    environ = {"LEDGER_DATABASE": "/srv/db", "LEDGER_TOKEN": "t0ken", "LEDGER_TRUSTED_HOSTS": "a.example, .b.example,"}
    assert settings.load(environ) == {
        "LEDGER_DATABASE": Path("/srv/db"),
        "LEDGER_TOKEN": "t0ken",
        "TRUSTED_HOSTS": ["a.example", ".b.example", "localhost", "127.0.0.1", "[::1]"],
    }


def test_token_file(tmp_path: Path) -> None:
    """The newline that editors leave is no part of the token."""
    file = tmp_path / "ledger_token"
    file.write_text("from-a-file\n", encoding="utf-8")
    assert settings.load({"LEDGER_TOKEN_FILE": str(file)})["LEDGER_TOKEN"] == "from-a-file"


def test_token_and_file_are_refused_together() -> None:
    """Nobody should have to guess which of two tokens counts."""
    with pytest.raises(SettingsError, match="both set"):
        settings.load({"LEDGER_TOKEN": "a", "LEDGER_TOKEN_FILE": "/run/secrets/ledger_token"})


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", b"\xff", "é".encode()])
def test_unusable_token_file(tmp_path: Path, content: bytes) -> None:
    """A file without a usable token stops the service, rather than turning writing off unseen."""
    file = tmp_path / "ledger_token"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="LEDGER_TOKEN_FILE"):
        settings.load({"LEDGER_TOKEN_FILE": str(file)})


def test_missing_token_file(tmp_path: Path) -> None:
    """The message names the file that was not there."""
    with pytest.raises(SettingsError, match=r"absent, which cannot be read"):
        settings.load({"LEDGER_TOKEN_FILE": str(tmp_path / "absent")})


def test_environment_reaches_the_application(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factory called without configuration reads the environment."""
    monkeypatch.setenv("LEDGER_DATABASE", str(database))
    monkeypatch.setenv("LEDGER_TOKEN", "from-environment")
    app = create_app()
    assert app.config["LEDGER_TOKEN"] == "from-environment"
    assert app.config["LEDGER_DATABASE"] == database
    assert app.config["SECRET_KEY"] is None


@pytest.fixture
def guarded(database: Path) -> FlaskClient:
    """Make a client of an application that trusts one name."""
    hosts = settings.load({"LEDGER_TRUSTED_HOSTS": "ledger.example"})["TRUSTED_HOSTS"]
    return create_app({"LEDGER_DATABASE": database, "TRUSTED_HOSTS": hosts}).test_client()


@pytest.mark.parametrize("host", ["ledger.example", "ledger.example:8000", "localhost:8000", "127.0.0.1:8000"])
def test_trusted_hosts(guarded: FlaskClient, host: str) -> None:
    """The configured name is served, and loopback is, on any port."""
    assert guarded.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("address", "media_type"), [("/", "text/plain"), ("/nothing", "text/plain"), ("/api/runs", "application/json")]
)
def test_other_hosts_are_refused(guarded: FlaskClient, address: str, media_type: str) -> None:
    """Another name answers 400, in JSON under /api."""
    response = guarded.get(address, headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.mimetype == media_type
