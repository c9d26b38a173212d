"""What [tool.dockyard] and the environment may say, and what a person is told when they say something else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dockyard.errors import ExitCode, SettingsError
from dockyard.settings import KEYS, Settings, find_root, load

Write = Callable[..., Path]
LEAST = 'app = "shop:app"\nimage = "shop"\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a pyproject.toml with the two required keys and more."""

    def write(more: str = "", least: str = LEAST) -> Path:
        (tmp_path / "pyproject.toml").write_text(f"[tool.dockyard]\n{least}{more}\n", encoding="utf-8")
        return tmp_path

    return write


def refused(folder: Path, **environment: str) -> SettingsError:
    """Return the error that loading the settings ends with."""
    with pytest.raises(SettingsError) as caught:
        load(folder, environment)
    assert caught.value.code == ExitCode.USAGE
    return caught.value


def test_two_keys_are_enough(write: Write) -> None:
    """A project names its app and its image; everything else has a default."""
    folder = write()
    assert load(folder, {}) == Settings(
        root=folder, app="shop:app", image="shop", pythons=("3.13",), python="3.13", stack="shop"
    )


def test_every_key_can_be_written(write: Write) -> None:
    """Each documented key is read as it is written."""
    folder = write(
        """
        sources = ["src/shop", "app"]
        registry = "localhost:5000/team"
        pythons = ["3.11", "3.14"]
        untested-pythons = ["3.11"]
        trial-services = ["database"]
        trial-release = ["flask", "db", "upgrade"]
        python = "3.11"
        ports = [8000, 9000]
        server = "granian"
        health = "/api/v1/well"
        base = "debian"
        engine = "embedded"
        dockerfile = "deploy/Dockerfile"
        keep = ["/usr/lib/*/libmagic.so.1*", "/usr/share/misc/magic.mgc"]
        platforms = ["linux/amd64", "linux/arm64/v8"]
        builder = "far-away"
        build-cache = "type=registry,ref=localhost:5000/cache"
        stack = "shop_1"
        resolver = "uv"
        hashes = "platform"
        index-url = "http://localhost:3141/simple"
        audit-url = "http://localhost:8081"
        ledger-url = "http://localhost:8000"
        allow-expired-release = true
        size-budget = "35 MB"
        start-budget = "800 ms"
        memory-budget = "128 MiB"
        writable = ["/tmp", "/var/spool/shop"]
        allow = { no-shell = "a script starts it" }
        accept-vulnerabilities = { CVE-2024-1234 = "until 2030-01-31: not reachable" }
        trial-environment = { SHOP_KEY = "x" }
        trial-tmpfs = ["/data"]
        deploy = { production = { kind = "swarm" } }
        """,
        'app = "shop.web:create_app(\'x\')"\nimage = "team/shop"',
    )
    found = load(folder, {})
    expected: dict[str, object] = {
        "app": "shop.web:create_app('x')",
        "image": "team/shop",
        "sources": ("src/shop", "app"),
        "registry": "localhost:5000/team",
        "pythons": ("3.11", "3.14"),
        "python": "3.11",
        "ports": (8000, 9000),
        "untested_pythons": ("3.11",),
        "server": "granian",
        "health": "/api/v1/well",
        "base": "debian",
        "engine": "embedded",
        "dockerfile": "deploy/Dockerfile",
        "keep": ("/usr/lib/*/libmagic.so.1*", "/usr/share/misc/magic.mgc"),
        "platforms": ("linux/amd64", "linux/arm64/v8"),
        "builder": "far-away",
        "build_cache": "type=registry,ref=localhost:5000/cache",
        "stack": "shop_1",
        "resolver": "uv",
        "hashes": "platform",
        "index_url": "http://localhost:3141/simple",
        "audit_url": "http://localhost:8081",
        "ledger_url": "http://localhost:8000",
        "allow_expired_release": True,
        "size_budget": 35_000_000,
        "start_budget": 0.8,
        "memory_budget": 134_217_728,
        "writable": ("/tmp", "/var/spool/shop"),
        "allow": {"no-shell": "a script starts it"},
        "accept_vulnerabilities": {"CVE-2024-1234": "until 2030-01-31: not reachable"},
        "trial_environment": {"SHOP_KEY": "x"},
        "trial_tmpfs": ("/data",),
        "deploy": {"production": {"kind": "swarm"}},
        "trial_services": ("database",),
        "trial_release": ("flask", "db", "upgrade"),
    }
    assert {key: value for key, value in found._asdict().items() if key != "root"} == expected
    assert {key.replace("-", "_") for key in KEYS} == set(expected), "a new key belongs into this test"
    assert found.repository == "localhost:5000/team/team/shop"


BAD = [
    ('image = "Shop"', "image = 'Shop'", "lower case"),
    ('image = ""', "image = ''", "image name"),
    ('image = "shop:1"', "image = 'shop:1'", "image name"),
    ("image = 3", "image = 3", "must be a string"),
    ('app = "shop"', "app = 'shop'", "package:app"),
    ('app = "shop:app; rm"', "app = 'shop:app; rm'", "package:app"),
    ('app = "1shop:app"', "app = '1shop:app'", "package:app"),
    ("sources = []", "sources = []", "must not be empty"),
    ('sources = "src"', "sources = 'src'", "must be a list"),
    ('sources = ["/etc"]', "sources = '/etc'", "below the project"),
    ('sources = ["src/../../x"]', "sources = 'src/../../x'", "below the project"),
    ('sources = ["src", "src"]', "sources = ['src', 'src']", "names src more than once"),
    ("pythons = [3.10]", "pythons = 3.1", "in quotes"),
    ('pythons = ["3"]', "pythons = '3'", "Python version"),
    ('pythons = ["3.13.1"]', "pythons = '3.13.1'", "Python version"),
    ('pythons = ["2.7"]', "pythons = '2.7'", "Python version"),
    ("pythons = []", "pythons = []", "must not be empty"),
    ('pythons = ["3.13", "3.13"]', "pythons = ['3.13', '3.13']", "more than once"),
    ('python = "3.12"', "python = '3.12'", "not among pythons: 3.13"),
    ("python = 3.13", "python = 3.13", "in quotes"),
    ("ports = [0]", "ports = 0", "from 1 to 65535"),
    ("ports = [65536]", "ports = 65536", "from 1 to 65535"),
    ("ports = [true]", "ports = True", "from 1 to 65535"),
    ('keep = ["lib/x"]', "keep = 'lib/x'", "an absolute path in the base image"),
    ('keep = ["/a:/b"]', "keep = '/a:/b'", "an absolute path in the base image"),
    ('ports = ["http"]', "ports = 'http'", "from 1 to 65535"),
    ("ports = 8000", "ports = 8000", "must be a list"),
    ("ports = [8000, 8000]", "ports = [8000, 8000]", "names 8000 more than once"),
    ('base = "debain"', "base = 'debain'", "one of auto, registry, debian"),
    ("engine = true", "engine = True", "one of auto, host, embedded"),
    ('platforms = ["amd64"]', "platforms = 'amd64'", "linux/amd64"),
    ('platforms = ["windows/amd64"]', "platforms = 'windows/amd64'", "linux/amd64"),
    ('builder = "a b"', "builder = 'a b'", "buildx builder"),
    ('stack = "Shop"', "stack = 'Shop'", "Compose project name"),
    ('registry = "http://host"', "registry = 'http://host'", "registry host"),
    ('hashes = "some"', "hashes = 'some'", "one of all, platform"),
    ('hashes = "platform"', "hashes = 'platform'", 'platforms = ["linux/amd64"]'),
    ('resolver = "poetry"', "resolver = 'poetry'", "one of pip-tools, uv"),
    ('ledger-url = "ftp://host"', "ledger-url = 'ftp://host'", "http or https"),
    ('allow-expired-release = "yes"', "allow-expired-release = 'yes'", "true or false"),
    ("allow-expired-release = 1", "allow-expired-release = 1", "true or false"),
]


@pytest.mark.parametrize(("line", "where", "wrong"), BAD, ids=[line for line, _, _ in BAD])
def test_a_bad_value_is_named(write: Write, line: str, where: str, wrong: str) -> None:
    """Every error says which file, which key, which value, and what would be right."""
    key = line.split(" ", 1)[0]
    least = "".join(kept + "\n" for kept in LEAST.splitlines() if not kept.startswith(f"{key} "))
    error = refused(write(line, least))
    assert error.message.startswith(f"pyproject.toml: [tool.dockyard] {where}: ")
    assert wrong in f"{error.message} {error.hint}"


def test_a_password_in_the_index(write: Write) -> None:
    """It may stand in the environment only, and the error does not repeat it."""
    error = refused(write('index-url = "https://me:hunter2@host/simple"'))
    assert "must not hold a password" in error.message
    assert "hunter2" not in error.message
    assert load(write(), {"DOCKYARD_INDEX_URL": "https://me:hunter2@host/simple"}).index_url


@pytest.mark.parametrize("key", sorted(KEYS))
def test_no_key_takes_a_table(write: Write, key: str) -> None:
    """A value of a wholly different kind is a message too, never a traceback."""
    least = "".join(kept + "\n" for kept in LEAST.splitlines() if not kept.startswith(f"{key} "))
    assert f"[tool.dockyard] {key} = {{'a': 1}}" in refused(write(f"{key} = {{ a = 1 }}", least)).message


@pytest.mark.parametrize("missing", ["app", "image"])
def test_a_required_key_is_missing(write: Write, missing: str) -> None:
    """The error says what to add."""
    least = "".join(kept + "\n" for kept in LEAST.splitlines() if not kept.startswith(missing))
    error = refused(write(least=least))
    assert error.message == f"pyproject.toml: [tool.dockyard] {missing} is missing"
    assert f"add {missing} = " in error.hint


def test_an_unknown_key_is_refused_with_the_nearest(write: Write) -> None:
    """A slip of the finger is not ignored."""
    error = refused(write('regsitry = "x"'))
    assert error.message == "pyproject.toml: [tool.dockyard] regsitry: there is no such key"
    assert error.hint == "did you mean registry?"


def test_an_unknown_key_like_nothing_lists_all(write: Write) -> None:
    """Where no key is near, all are named."""
    assert refused(write("zzz = 1")).hint == f"known: {', '.join(KEYS)}"


def test_a_key_with_the_wrong_dash(write: Write) -> None:
    """Underscores, as Python has them, are answered with the right spelling."""
    assert refused(write('ledger_url = "http://x"')).hint == "did you mean ledger-url?"


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\ndockyard = 3", "[[tool.dockyard]]\nimage = 'x'"])
def test_the_table_is_no_table(tmp_path: Path, text: str) -> None:
    """A [tool.dockyard] of another kind is told, whatever it is."""
    (tmp_path / "pyproject.toml").write_text(text)
    assert refused(tmp_path).message == "pyproject.toml: [tool.dockyard] must be a table"


def test_not_toml(write: Write) -> None:
    """A syntax error tells its line."""
    error = refused(write("ports = 80 81"))
    assert error.message.startswith("pyproject.toml: not valid TOML: ")
    assert "line" in error.message


def test_not_utf8(tmp_path: Path) -> None:
    """A file in another encoding is told, not thrown."""
    (tmp_path / "pyproject.toml").write_bytes(b'[tool.dockyard]\nimage = "caf\xe9"\n')
    assert refused(tmp_path).message.startswith("pyproject.toml: cannot be read: ")


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Editors on some systems write one."""
    (tmp_path / "pyproject.toml").write_bytes(b"\xef\xbb\xbf" + f"[tool.dockyard]\n{LEAST}".encode())
    assert load(tmp_path, {}).image == "shop"


def test_the_project_is_found_from_below(write: Write) -> None:
    """Any folder of the project will do."""
    folder = write()
    (folder / "src" / "shop").mkdir(parents=True)
    assert load(folder / "src" / "shop", {}).root == folder


def test_no_project_at_all(tmp_path: Path) -> None:
    """Outside of any project, the error says where it looked."""
    with pytest.raises(SettingsError, match=r"no pyproject\.toml in .* or above"):
        find_root(tmp_path / "nowhere")


def test_the_environment_is_stronger_than_the_file(write: Write) -> None:
    """Each key has an environment name, and lists are separated by commas there."""
    folder = write('ports = [8000]\nbase = "debian"\nallow-expired-release = true')
    found = load(
        folder,
        {
            "DOCKYARD_PORTS": "8001, 8002",
            "DOCKYARD_BASE": "registry",
            "DOCKYARD_ALLOW_EXPIRED_RELEASE": "no",
            "DOCKYARD_PYTHONS": "3.12,",
            "HOME": "/x",
        },
    )
    assert (found.ports, found.base, found.allow_expired_release) == ((8001, 8002), "registry", False)
    assert (found.pythons, found.python) == (("3.12",), "3.12")


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_has_an_environment_name(write: Write, key: str) -> None:
    """A bad value there is told with its variable's name."""
    name = "DOCKYARD_" + key.upper().replace("-", "_")
    assert refused(write(), **{name: "/!"}).message.startswith(f"environment: {name} = '/!': ")


def test_an_unknown_environment_name(write: Write) -> None:
    """A misspelt variable would otherwise do nothing, silently."""
    error = refused(write(), DOCKYARD_ENIGNE="host")
    assert (error.message, error.hint) == (
        "environment: DOCKYARD_ENIGNE: there is no such setting",
        "did you mean DOCKYARD_ENGINE?",
    )


def test_the_ledger_token_is_no_setting(write: Write) -> None:
    """A secret is taken from the environment alone, and never becomes part of the settings."""
    assert "s3cret" not in repr(load(write(), {"DOCKYARD_LEDGER_TOKEN": "s3cret"}))


@pytest.mark.parametrize(
    ("word", "value"), [("1", True), ("TRUE", True), ("yes", True), ("0", False), ("False", False), ("", False)]
)
def test_flags_in_the_environment(write: Write, word: str, value: bool) -> None:
    """The words that people use for on and off."""
    assert load(write(), {"DOCKYARD_ALLOW_EXPIRED_RELEASE": word}).allow_expired_release is value


@pytest.mark.parametrize(("image", "stack"), [("shop", "shop"), ("team/my.shop", "my-shop"), ("a__b", "a__b")])
def test_the_stack_takes_its_name_from_the_image(write: Write, image: str, stack: str) -> None:
    """A Compose project cannot hold every character that an image's name can."""
    assert load(write(least=f'app = "a:b"\nimage = "{image}"\n'), {}).stack == stack


def test_the_default_python_is_the_last_one_named(write: Write) -> None:
    """The newest, as people list them."""
    assert load(write('pythons = ["3.12", "3.13", "3.14"]'), {}).python == "3.14"
