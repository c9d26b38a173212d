"""Settings from the environment."""

import os
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from ledger import create_app, settings
from ledger.settings import SettingsError, sqlite_url
from tests.conftest import keep_temporary_files


def test_nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without variables the database has its default place, only tokens in it may write, and any host is served."""
    keep_temporary_files(monkeypatch, tmp_path)
    loaded = settings.load({})
    assert str(loaded.pop("SQLALCHEMY_DATABASE_URI")).endswith("/ledger.sqlite3")
    assert loaded == {
        "LEDGER_PROXIES": 0,
        "LEDGER_TOKEN": None,
        "SECRET_KEY": None,
        "SECRET_KEY_FALLBACKS": None,
        "TRUSTED_HOSTS": None,
    }


def test_empty_counts_as_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compose passes an empty value for a variable that the host lacks."""
    keep_temporary_files(monkeypatch, tmp_path)
    names = (
        "LEDGER_DATABASE",
        "LEDGER_TOKEN",
        "LEDGER_TOKEN_FILE",
        "LEDGER_TRUSTED_HOSTS",
        "DATABASE_URL",
        "SECRET_KEY",
    )
    assert settings.load(dict.fromkeys(names, "")) == settings.load({})


def test_everything_set(tmp_path: Path) -> None:
    """Hosts are split at commas, loopback is always among them, and older keys still read what they signed."""
    (tmp_path / "key").write_text("new\nold older\n", "utf-8")
    environ = {
        "LEDGER_DATABASE": "/srv/db",
        "LEDGER_PROXIES": "1",
        "LEDGER_TOKEN": "t0ken",
        "LEDGER_TRUSTED_HOSTS": "a.example, .b.example,",
        "SECRET_KEY_FILE": str(tmp_path / "key"),
    }
    assert settings.load(environ) == {
        "SQLALCHEMY_DATABASE_URI": sqlite_url(Path("/srv/db")),
        "LEDGER_PROXIES": 1,
        "LEDGER_TOKEN": "t0ken",
        "SECRET_KEY": "new",
        "SECRET_KEY_FALLBACKS": ["old", "older"],
        "TRUSTED_HOSTS": ["a.example", ".b.example", "localhost", "127.0.0.1", "[::1]"],
    }


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://sailor@db/ledger", "postgresql+pg8000://sailor@db/ledger"),
        ("postgresql+psycopg2://sailor@db:5433/ledger", "postgresql+pg8000://sailor@db:5433/ledger"),
        ("mysql://sailor@db/ledger", "mysql+pymysql://sailor@db/ledger?charset=utf8mb4"),
        ("mariadb://sailor@db/ledger", "mariadb+pymysql://sailor@db/ledger?charset=utf8mb4"),
        ("sqlite:////srv/ledger.sqlite3", "sqlite:////srv/ledger.sqlite3"),
    ],
)
def test_database_urls(given: str, used: str) -> None:
    """Whatever driver a URL names, the one that is installed is used."""
    assert str(settings.database_url({"DATABASE_URL": given})) == used


def test_password_from_a_file(tmp_path: Path) -> None:
    """The URL can stand in a Compose file, its password in a secret."""
    (tmp_path / "password").write_text("p@ss/w:rd\n", "utf-8")
    environ = {"DATABASE_URL": "postgresql://sailor@db/ledger", "DATABASE_PASSWORD_FILE": str(tmp_path / "password")}
    assert settings.database_url(environ).password == "p@ss/w:rd"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"DATABASE_URL": "not a url s3cret"}, "is no URL"),
        ({"DATABASE_URL": "oracle://sailor:s3cret@db/ledger"}, "begins with oracle: use postgresql"),
        ({"DATABASE_URL": "postgresql:///ledger"}, "names no host or no database"),
        ({"DATABASE_URL": "postgresql://db"}, "names no host or no database"),
        ({"DATABASE_URL": "sqlite://"}, "names no file"),
        ({"DATABASE_URL": "sqlite:///a", "LEDGER_DATABASE": "b"}, "both set"),
        ({"DATABASE_URL": "sqlite:///a", "DATABASE_URL_FILE": "b"}, "both set"),
        ({"LEDGER_PROXIES": "many"}, "number of proxies"),
    ],
)
def test_database_mistakes(environ: dict[str, str], told: str) -> None:
    """Each says what to write instead, and none shows a password."""
    with pytest.raises(SettingsError, match=told) as refused:
        settings.load(environ)
    assert "s3cret" not in str(refused.value)


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
    assert app.config["SQLALCHEMY_DATABASE_URI"] == sqlite_url(database)
    assert app.config["SECRET_KEY"] is None


def test_default_is_the_data_volume(tmp_path: Path) -> None:
    """A writable data folder is where the runs are kept."""
    assert settings.default_path(tmp_path) == tmp_path / "ledger.sqlite3"


def test_default_without_a_data_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a private temporary folder holds them."""
    keep_temporary_files(monkeypatch, tmp_path)
    path = settings.default_path(tmp_path / "data")
    assert path == tmp_path / f"ledger-{os.getuid()}" / "ledger.sqlite3"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_planted_temporary_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link under the folder's name could lead anywhere."""
    keep_temporary_files(monkeypatch, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"ledger-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="belongs to another user"):
        settings.default_path(tmp_path / "data")


@pytest.fixture
def guarded(database: Path) -> FlaskClient:
    """Make a client of an application that trusts one name."""
    hosts = settings.load({"LEDGER_TRUSTED_HOSTS": "ledger.example"})["TRUSTED_HOSTS"]
    return create_app({"SQLALCHEMY_DATABASE_URI": sqlite_url(database), "TRUSTED_HOSTS": hosts}).test_client()


@pytest.mark.parametrize("host", ["ledger.example", "ledger.example:8000", "localhost:8000", "127.0.0.1:8000"])
def test_trusted_hosts(guarded: FlaskClient, host: str) -> None:
    """The configured name is served, and loopback is, on any port."""
    assert guarded.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("address", "media_type"),
    [("/", "text/plain"), ("/nothing", "text/plain"), ("/api/runs", "application/problem+json")],
)
def test_other_hosts_are_refused(guarded: FlaskClient, address: str, media_type: str) -> None:
    """Another name answers 400, in JSON under /api."""
    response = guarded.get(address, headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert response.mimetype == media_type
