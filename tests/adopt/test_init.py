"""`dockyard init` in real folders: what it writes, keeps and says."""

import inspect
import json
import re
import runpy
import shutil
import stat
import sys
import time
import tomllib
from pathlib import Path

import pytest

import dockyard
from dockyard.adopt import writing
from dockyard.adopt.model import Finding
from dockyard.adopt.writing import plan_changes, write_changes
from dockyard.bases.lookup import Answer, remember_answers
from dockyard.errors import DockyardError
from dockyard.settings import load
from dockyard.tasks import make_program, namespace
from dockyard.tasks.init import arrange
from tests.adopt.conftest import SAMPLES

APP = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / f"{tmp_path.name}-cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def app(folder: Path) -> Path:
    """Return a folder with the smallest service."""
    (folder / "app.py").write_text(APP)
    (folder / "requirements.txt").write_text("flask\n")
    return folder


def init(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Run `dockyard init` in this process; return its exit code, stdout and stderr."""
    code: object = 0
    try:
        make_program().run(["dockyard", "init", *arguments])
    except SystemExit as end:
        code = end.code
    return (code, *capsys.readouterr())


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PROJECTS = sorted(path.name for path in SAMPLES.iterdir() if path.is_dir() and path.name != "monorepo")


@pytest.mark.parametrize("name", PROJECTS)
def test_twice_is_once(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of the author's files stay as they are but for added lines, and a second run changes nothing."""
    shutil.copytree(SAMPLES / name, folder, dirs_exist_ok=True)
    before = contents(folder)
    assert init(capsys)[0] == 0
    after = contents(folder)
    assert {path: after[path] for path in before if path not in writing.GROWING} == {
        path: text for path, text in before.items() if path not in writing.GROWING
    }
    assert all(after[path].startswith(text.rstrip(b"\n")) for path, text in before.items())
    code, out, _ = init(capsys, "--json")
    assert code == 0
    assert {file["action"] for file in json.loads(out)["files"]} == {"same"}
    assert contents(folder) == after


@pytest.mark.parametrize(
    "arguments",
    [("--image", "My Shop"), ("--server", "apache"), ("--port", "http"), ("--port", "65536"), ("--health", "well")],
    ids=["image", "server", "port", "port too high", "health"],
)
def test_an_option_that_makes_no_sense(
    app: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
) -> None:
    """It is named with what it may be, and nothing is written."""
    before = contents(app)
    code, _, err = init(capsys, *arguments)
    assert code == 2
    assert " ".join(arguments) in err
    assert contents(app) == before


def test_a_dry_run_writes_nothing(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows every finding, and with --diff every line."""
    before = contents(app)
    code, out, err = init(capsys, "--dry-run", "--diff")
    assert code == 0
    assert "app:app" in out
    assert "+FROM python:${PYTHON_VERSION}-slim AS base" in out
    assert "nothing is written" in err
    assert contents(app) == before


def test_what_is_not_there_is_one_line(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads what was found; of all else, only what it would be and where to say so."""
    (app / "Procfile").write_text("worker: rq worker\n")
    told, rest = init(capsys, "--dry-run")[1].split("Not found, and where you say otherwise: ")
    absent = " ".join(rest.partition(".\n")[0].split())
    assert "worker: rq worker" in " ".join(told.split())
    assert "processes" not in absent
    assert "release step (Procfile)" in absent
    assert " none " not in told


def test_a_narrow_terminal_has_sources_below() -> None:
    """In 80 columns a source has no column of its own; what is not there has no row in either."""
    found = (
        Finding("app", "a:b", "a.py", ("c:d",), "--app"),
        Finding("processes", "none", "no Procfile", (), "Procfile"),
    )
    assert arrange(found, 100) == (["what", "found", "from", "otherwise"], [["app", "a:b", "a.py; or c:d", "--app"]])
    assert arrange(found, 99) == (["what", "found", "otherwise"], [["app", "a:b\nfrom a.py; or c:d", "--app"]])


def test_json_has_all_of_it(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For machines: findings with source and option, files with what becomes of them."""
    code, out, _ = init(capsys, "--json", "--dry-run", "--health", "/well", "--port", "5000", "--image", "team/shop")
    assert code == 0
    said = json.loads(out)
    found = {one["what"]: one for one in said["findings"]}
    assert found["app"] == {
        "what": "app", "value": "app:app", "source": "the object app in app.py", "others": [], "option": "--app",
    }  # fmt: skip
    assert (found["health"]["value"], found["image"]["value"]) == ("/well", "team/shop")
    written = {file["path"]: (file["action"], file["lines"]) for file in said["files"]}
    assert written["tasks.py"] == ("create", 5)
    assert said["written"] is False


def test_what_exists_is_kept_and_shown(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the author's is never overwritten; the difference is for them to see."""
    (app / "noxfile.py").write_text("import nox\n")
    code, out, _ = init(capsys, "--diff")
    assert code == 0
    assert "yours, kept" in out
    assert "-import nox" in out
    assert (app / "noxfile.py").read_text() == "import nox\n"


@pytest.mark.parametrize("name", ["compose.yaml", "docker-compose.yml"])
def test_a_stack_of_ones_own_stays_alone(name: str, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second Compose file would hide it, or lay services on top that it does not have."""
    (app / name).write_text("services: {}\n")
    code, _, err = init(capsys)
    assert code == 0
    assert f"{name} is yours" in err
    assert {path.name for path in app.glob("*compose*")} == {name}


def test_after_a_change_it_says_what_it_would_do_now(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second process means another stack, which is shown and not written."""
    init(capsys)
    (app / "Procfile").write_text("worker: rq worker\n")
    out = init(capsys, "--json")[1]
    actions = {file["path"]: file["action"] for file in json.loads(out)["files"]}
    assert (actions["compose.yaml"], actions["Dockerfile"]) == ("keep", "same")


def test_answers_are_taken_and_kept(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a failure has taught is said to init, which writes its own files anew and remembers it."""
    init(capsys)
    (app / "compose.yaml").write_text("# mine\n" + (app / "compose.yaml").read_text())
    (app / ".env").write_text("A=1")
    code, out, _ = init(capsys, "--apt", "libzbar0", "--env", "CURRENCY=EUR", "--python", "3.12", "--json")
    actions = {file["path"]: file["action"] for file in json.loads(out)["files"]}
    assert code == 0
    assert {name: action for name, action in actions.items() if action != "same"} == {
        "Aptfile": "create", ".env": "append", "Dockerfile": "update", "pyproject.toml": "update",
    }  # fmt: skip
    assert (app / "Aptfile").read_text() == "libzbar0\n"
    assert (app / ".env").read_text() == "A=1\nCURRENCY=EUR\n"
    assert "libzbar0" in (app / "Dockerfile").read_text()
    assert 'pythons = ["3.12"]' in (app / "pyproject.toml").read_text()

    again = init(capsys, "--apt", "libzbar0", "--env", "CURRENCY=EUR", "--json")[1]
    assert {file["action"] for file in json.loads(again)["files"]} == {"same"}


ANSWERS = {
    "app": ("other:app", "Dockerfile"),
    "python": ("3.11", "Dockerfile"),
    "server": ("waitress", "Dockerfile"),
    "image": ("till", "compose.yaml"),
    "health": ("/well", "Dockerfile"),
    "port": ("9000", "compose.yaml"),
    "env": ("CURRENCY=EUR", ".env"),
    "apt": ("libzbar0", "Dockerfile"),
    "writable": ("/srv/files", "Dockerfile"),
    "ci": ("", ".github/workflows/ci.yml"),
}
"""An answer to each option, and a file that it changes."""

MINE = """[project]
name = "shop"

# What ships.
[tool.dockyard]  # mine
app = "app:app"
image = "shop"  # as the registry has it
pythons = [
    "3.13",  # production's
]

[tool.ruff]
line-length = 99
"""


def test_every_option_has_an_answer_here() -> None:
    """A new option is one that asks nothing, or belongs into the table above."""
    options = set(inspect.signature(namespace["init"].body).parameters) - {"_context"}
    assert options - {"dry_run", "diff", "json"} == set(ANSWERS)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("table", ["", MINE], ids=["ours", "theirs"])
@pytest.mark.parametrize("option", ANSWERS)
def test_an_answer_is_given_once(
    option: str, table: str, later: bool, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It counts whoever wrote the settings, at the first run or a later one, and a run without the option keeps it."""
    (app / "other.py").write_text(APP)
    if table:
        (app / "pyproject.toml").write_text(table)
    if later:
        init(capsys, "--app", "app:app")
    value, file = ANSWERS[option]
    given = [f"--{option}", *([value] if value else [])]
    others = [] if option == "app" or later else ["--app", "app:app"]
    assert init(capsys, *given, *others)[0] == 0
    before = contents(app)
    assert value.encode() in before[file]
    again = init(capsys, "--json")[1]
    assert {file["action"] for file in json.loads(again)["files"]} == {"same"}
    assert contents(app) == before


def test_settings_of_ones_own_keep_their_shape(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer changes its own key, or comes behind the others: comments and all else stay as they are."""
    (app / "pyproject.toml").write_text(MINE)
    init(capsys, "--health", "/well", "--python", "3.11", "--port", "9000")
    expected = MINE.replace('pythons = [\n    "3.13",  # production\'s\n]\n', 'pythons = ["3.11"]\n%s')
    assert (app / "pyproject.toml").read_text() == expected % 'health = "/well"\nports = [9000]\n'
    init(capsys, "--port", "8000", "--health", "/healthz")
    assert (app / "pyproject.toml").read_text() == expected % 'health = "/healthz"\n'


def test_other_pythons_stay_supported(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one to ship on is one of several."""
    (app / "pyproject.toml").write_text('[tool.dockyard]\napp = "app:app"\npythons = ["3.12", "3.13"]\n')
    init(capsys, "--python", "3.11")
    table = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["dockyard"]
    assert (table["pythons"], table["python"]) == (["3.11", "3.12", "3.13"], "3.11")


@pytest.mark.parametrize(
    "text", ['tool.dockyard.app = "app:app"\n', '[tool]\ndockyard = { app = "app:app" }\n'], ids=["dotted", "inline"]
)
def test_settings_that_cannot_be_edited(text: str, app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a form that is not one key a line, the edit is named, and nothing is written."""
    (app / "pyproject.toml").write_text(text)
    before = contents(app)
    code, _, err = init(capsys, "--health", "/well")
    assert code == 2
    assert "[tool.dockyard] health cannot be changed where it stands" in err
    assert 'health = "/well"' in err
    assert contents(app) == before


def test_a_command_in_place_of_an_application(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The settings keep it, and take it for what it is."""
    (app / "app.py").write_text("import tornado\n")
    command = "python app.py --address 0.0.0.0 --port $PORT"
    assert init(capsys, "--app", command)[0] == 0
    assert load(app, {}).app == command
    assert '"--port", "8000"]' in (app / "Dockerfile").read_text()
    before = contents(app)
    assert init(capsys)[0] == 0
    assert contents(app) == before


def test_a_folder_that_is_written_is_a_whole_path(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One below some folder would be one of this machine."""
    before = contents(app)
    code, _, err = init(capsys, "--writable", "uploads")
    assert (code, "--writable uploads is no folder of the image" in err) == (2, True)
    assert contents(app) == before


def test_a_variable_is_a_name_and_a_value(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is neither is refused, and nothing is written; a new .env is its owner's alone."""
    before = contents(app)
    code, _, err = init(capsys, "--env", "CURRENCY")
    assert (code, "--env CURRENCY is no variable with a value" in err) == (2, True)
    assert contents(app) == before
    (app / "app.py").write_text("import os\n" + APP + "os.environ['CURRENCY']\n")
    assert "CURRENCY has no value" in init(capsys)[2]
    assert "has no value" not in init(capsys, "--env", "CURRENCY=EUR")[2]
    assert stat.S_IMODE((app / ".env").stat().st_mode) == 0o600
    assert "has no value" not in init(capsys)[2]


def test_settings_that_are_written_anew_keep_their_line_ends(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of Windows' stays one."""
    (app / "pyproject.toml").write_bytes(b"[project]\r\nname = 'shop'\r\ndependencies = ['flask']\r\n")
    init(capsys)
    init(capsys, "--python", "3.11")
    written = (app / "pyproject.toml").read_bytes()
    assert b'pythons = ["3.11"]\r\n' in written
    assert written.count(b"\n") == written.count(b"\r\n")


def test_windows_line_ends_stay(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that are added end as the others do."""
    (app / "pyproject.toml").write_bytes(b"[project]\r\nname = 'shop'\r\ndependencies = ['flask']\r\n")
    assert init(capsys)[0] == 0
    written = (app / "pyproject.toml").read_bytes()
    assert written.startswith(b"[project]\r\nname = 'shop'\r\ndependencies = ['flask']\r\n\r\n[tool.dockyard]\r\n")
    assert written.count(b"\n") == written.count(b"\r\n")


def test_all_or_nothing(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last file cannot be put in its place, the first is taken back."""
    (app / "pyproject.toml").write_text("[project]\n")
    before = contents(app)
    changes = plan_changes(
        {"a/b/c.txt": "1\n", "pyproject.toml": "[project]\n\n[x]\n", "z.txt": "2\n"}, {"pyproject.toml": "[project]\n"}
    )
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == "z.txt":
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DockyardError, match=r"z\.txt: No space"):
        write_changes(app, changes)
    assert contents(app) == before
    assert not (app / "a").exists()


def test_modes_are_usual(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is written can be read by everybody, as what an editor saves."""
    init(capsys)
    assert stat.S_IMODE((app / "Dockerfile").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("files", "said", "code"),
    [
        ({}, "holds no Python file", 1),
        ({"README.md": "hello\n"}, "it is no Python web service", 1),
        ({"app.py": APP, "main.py": APP}, "more than one application: app:app and main:app", 2),
        ({"a/app.py": APP, "b/app.py": APP}, "more than one application: a/app.py:app and b/app.py:app", 2),
        ({"app.py": APP, "pyproject.toml": "[project\n"}, "pyproject.toml: not valid TOML", 2),
        ({"app.py": APP, "pyproject.toml": "project = 1\n"}, "pyproject.toml: project must be a table", 2),
        ({"app.py": APP, "pyproject.toml": "[project]\nname = ['x']\n"}, "project.name must be a text", 2),
        (
            {"app.py": APP, "pyproject.toml": "[project]\ndependencies = 'flask'\n"},
            "must be a list of texts",
            2,
        ),
        ({"app.py": APP, "pyproject.toml": "[dependency-groups]\ntest = 'x'\n"}, "groups must be a table of lists", 2),
        ({"app.py": APP, "Pipfile": "packages = 'flask'\n"}, "Pipfile: packages must be a table", 2),
        ({"app.py": APP, "poetry.lock": "package = 'flask'\n"}, "poetry.lock: package must be a list of tables", 2),
        ({"app.py": APP + "app = (\n"}, "app.py, line 3: '(' was never closed: this Python cannot read where", 1),
    ],
)
def test_one_clear_thing(
    files: dict[str, str], said: str, code: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be adopted is told in one sentence, and nothing is written."""
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    ended, out, err = init(capsys)
    assert (ended, out) == (code, "")
    assert said in err.splitlines()[0]
    assert contents(folder).keys() == files.keys()


FIRST = {
    "build": "there is no lock yet that says what the image holds",
    "lock --check": "2 problems with the locks",
    "audit": "requirements/3.13/production.txt:1: is missing: nothing is locked",
}


@pytest.mark.parametrize("command", FIRST)
@pytest.mark.parametrize("program", ["dockyard", "invoke", "nox"])
def test_commands_before_any_lock(
    command: str, program: str, app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One error says what is missing, and how the program that a person has makes it: Nox has tasks.py beside it."""
    init(capsys)
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
    with pytest.raises(SystemExit, match="1"):
        make_program().run(["dockyard", *command.split()])
    err = capsys.readouterr().err
    error, hint = err.splitlines()[-2:]
    assert "WARNING" not in err
    assert error.startswith(f"ERROR {FIRST[command]}")
    assert re.fullmatch(r"TIP   .*`?%s lock`?.*" % ("dockyard" if program == "dockyard" else "invoke"), hint)


def test_a_missing_value_is_told(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person is told what only they can say."""
    (app / "app.py").write_text(APP + "import os\nA = os.environ['SUPPORT_ADDRESS']\n")
    assert "SUPPORT_ADDRESS has no value (app.py:4 needs one)" in init(capsys)[2]


def test_a_workflow_where_it_is_asked_for(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may only read, takes the action by its digest and this very Dockyard, and tests where there are tests."""
    init(capsys)
    assert not (app / ".github").exists()
    assert init(capsys, "--ci")[0] == 0
    text = (app / ".github" / "workflows" / "ci.yml").read_text()
    assert [line.strip() for line in text.splitlines() if "permissions" in line or ": read" in line] == [
        "permissions: {}", "permissions:", "contents: read",
    ]  # fmt: skip
    assert re.findall(r"uses: (\S+?)@[0-9a-f]{40} #", text) == ["actions/checkout"]
    assert f"install dockyard=={dockyard.__version__}\n" in text
    assert re.findall(r"- run: (.+)", text) == ["dockyard lock --check", "dockyard build", "dockyard verify"]
    (app / ".github" / "workflows" / "ci.yml").unlink()
    (app / "test_app.py").write_text("")
    init(capsys, "--ci")
    assert (app / ".github" / "workflows" / "ci.yml").read_text() == text + "      - run: nox -s tests\n"


def test_a_workflow_of_ones_own_stays(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As every file does; the difference is shown."""
    (app / ".github" / "workflows").mkdir(parents=True)
    (app / ".github" / "workflows" / "ci.yml").write_text("on: push\n")
    code, out, _ = init(capsys, "--ci", "--diff")
    assert code == 0
    assert "-on: push" in out
    assert (app / ".github" / "workflows" / "ci.yml").read_text() == "on: push\n"


def test_a_workflow_where_nothing_reads_it(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder of a larger repository: what goes where is said, and nothing is written."""
    (app / ".git").mkdir()
    (app / "services" / "shop").mkdir(parents=True)
    for name in ("app.py", "requirements.txt"):
        (app / name).rename(app / "services" / "shop" / name)
    monkeypatch.chdir(app / "services" / "shop")
    before = contents(app)
    code, _, err = init(capsys, "--ci")
    assert code == 2
    assert f"which is {app}" in err
    assert "working-directory: services/shop" in err
    assert contents(app) == before
    assert init(capsys)[0] == 0


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        (">=3.11", ""),
        ("<3.13", "say --python 3.11"),
        ("==3.12.*", "say --python 3.11 or 3.13 or 3.14 or 3.15, if the project allows it"),
    ],
)
def test_a_python_that_only_a_registry_has(
    requires: str, said: str, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way out is named, until a registry has been seen to have it."""
    (app / "pyproject.toml").write_text(f"[project]\nrequires-python = '{requires}'\n")
    err = init(capsys, "--dry-run")[2]
    assert ("Debian has no Python 3.12" in err) is bool(said)
    assert said in " ".join(err.split())
    remember_answers({"python:3.12-slim": Answer(digest="sha256:1", at=time.time())})
    assert "Debian has no Python" not in init(capsys, "--dry-run")[2]


PASTE = {
    "fleet/__init__.py": "from pyramid.config import Configurator\n\n\ndef main(global_config, **settings):\n"
    "    return Configurator(settings=settings).make_wsgi_app()\n",
    "production.ini": "[app:main]\nuse = egg:fleet\ngreeting = hello, 100%%\nfolder = %(here)s/data\n",
    "requirements.txt": "pyramid\nwaitress\n",
}


@pytest.mark.parametrize("root", ["", "src/"])
def test_the_settings_of_an_ini_are_used(root: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A factory of Paste's gets what production.ini gives it, from a module that a server can take, written once."""
    for path, text in PASTE.items():
        place = folder / (root + path if path.endswith(".py") else path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    assert init(capsys)[0] == 0
    text = (folder / "Dockerfile").read_text()
    assert '["waitress-serve", "--listen=0.0.0.0:8000", "wsgi:application"]' in text
    assert "production.ini" in text
    before = contents(folder)
    assert {one["action"] for one in json.loads(init(capsys, "--json")[1])["files"]} == {"same"}
    assert contents(folder) == before
    (folder / root / "fleet" / "__init__.py").write_text("def main(config, **settings):\n    return config, settings\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / root))
        made = runpy.run_path(str(folder / root / "wsgi.py"))
    del sys.modules["fleet"]
    config, settings = made["application"]
    assert config == {"here": str(folder), "__file__": str(folder / "production.ini")}
    assert settings == {"greeting": "hello, 100%", "folder": f"{folder}/data"}


@pytest.mark.parametrize(
    ("change", "arguments"),
    [
        ({"production.ini": "[pipeline:main]\npipeline = a b\n"}, ()),
        ({"wsgi.py": "from fleet import main\n\napplication = main({}, greeting='ours')\n"}, ()),
        ({}, ("--app", "fleet:main({})")),
    ],
    ids=["another form", "an entry of ones own", "said otherwise"],
)
def test_no_module_where_none_is_needed(
    change: dict[str, str], arguments: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not one application with settings, what the project has itself and what a person says come first."""
    for path, text in {**PASTE, **change}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    assert init(capsys, *arguments)[0] == 0
    assert (folder / "wsgi.py").exists() is ("wsgi.py" in change)
