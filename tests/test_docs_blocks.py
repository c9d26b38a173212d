"""Tests that hold every block, command line and link of the Markdown pages to the program.

What a block does when it is run is in integration/test_docs_run.py.
"""

import ast
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program

from dockyard import sessions
from dockyard.settings import load
from dockyard.tasks import namespace

from .house import PICTURE, draw_house, read_house
from .markdown_blocks import (
    PAGES,
    ROOT,
    Block,
    all_blocks,
    anchors,
    command_lines,
    links,
    read_blocks,
    read_console,
    split_commands,
    tokens,
)
from .toml_tables import merge_tables, write_tables

LANGUAGES = {"sh", "console", "text", "toml", "yaml", "json", "python", "dockerfile"}
FRAMEWORKS = {"django", "fastapi", "pyramid", "quart", "shop"}
MINIMAL: Mapping[str, Any] = {"app": "shop:create_app()", "image": "shop"}


def of(*languages: str) -> list[Any]:
    """Return the blocks of these languages as parameters of a test."""
    return [pytest.param(block, id=str(block)) for block in all_blocks() if block.language in languages]


def test_every_block_has_a_language() -> None:
    """A block without a known language would be shown, and tested, as nothing; no block is made by indentation."""
    unknown = [f"{block}: {block.language!r}" for block in all_blocks() if block.language not in LANGUAGES]
    indented = [f"{page}: {token.map}" for page in PAGES for token in tokens(page) if token.type == "code_block"]
    assert unknown + indented == []


def test_blocks_that_are_not_run_are_few() -> None:
    """Whoever adds one takes another away: what no test runs is soon untrue."""
    idle = [f"{block}: {block.reason}" for block in all_blocks() if block.reason]
    assert len(idle) <= 16, "\n".join(idle)


def test_every_project_is_a_known_one() -> None:
    """A page's blocks that run say in which project, and it is one that the harness has."""
    runnable = [block for block in all_blocks() if block.language in ("sh", "console") and not block.reason]
    assert [str(block) for block in runnable if block.project not in ("app", "shop", "checkout", "empty")] == []


@pytest.mark.parametrize("block", of("toml"))
def test_settings_can_be_loaded(block: Block, tmp_path: Path) -> None:
    """Each example of settings is taken as it stands, beside the two keys that every project has."""
    document = tomllib.loads(block.text)
    (tmp_path / "pyproject.toml").write_text(write_tables(merge_tables({"tool": {"dockyard": MINIMAL}}, document)))
    assert load(tmp_path, {}).image == document.get("tool", {}).get("dockyard", {}).get("image", "shop")


@pytest.mark.parametrize("block", of("json"))
def test_json_can_be_parsed(block: Block) -> None:
    """Each example of JSON is one."""
    assert isinstance(json.loads(block.text), dict)


@pytest.mark.parametrize("block", of("yaml"))
def test_yaml_is_what_its_reader_takes(block: Block) -> None:
    """A stack has services, and a configuration of pre-commit is one that pre-commit would load."""
    document = pytest.importorskip("yaml").safe_load(block.text)
    if block.file != ".pre-commit-config.yaml":
        assert document["services"]
        return
    clientlib = pytest.importorskip("pre_commit.clientlib")
    cfgv = pytest.importorskip("cfgv")
    cfgv.validate(cfgv.apply_defaults(document, clientlib.CONFIG_SCHEMA), clientlib.CONFIG_SCHEMA)


@pytest.mark.parametrize("block", of("python"))
def test_python_runs(block: Block) -> None:
    """Each module can be executed, and what it imports exists; those of frameworks that no lock has are read only."""
    names: dict[str, Any] = {"__name__": "example"}
    tree = ast.parse(block.text)
    imported = {node.module.split(".")[0] for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    if imported & FRAMEWORKS:
        return
    exec(compile(tree, str(block), "exec"), names)
    assert set(names.get("__all__", ())) <= names.keys()


@cache
def contexts() -> list[ParserContext]:
    """Return what Invoke parses every task by; asking for it takes the help away from the tasks, so give it back."""
    kept = {name: dict(namespace[name].help) for name in namespace.task_names}
    found: list[ParserContext] = namespace.to_contexts()
    for name, texts in kept.items():
        namespace[name].help = texts
    return found


@cache
def parse_invoke(*words: str) -> None:
    """Parse the words after `invoke` as Invoke does."""
    program = Program(namespace=namespace)
    initial = ParserContext(args=program.core_args() + program.task_args())
    core = Parser(initial=initial, ignore_unknown=True).parse_argv(list(words))
    asked = core[0].args["help"].value
    Parser(contexts=contexts()).parse_argv([asked] if isinstance(asked, str) else core.unparsed)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_every_command_line_exists(page: Path) -> None:
    """Each line of our programs on a page, in prose too, names tasks, options and sessions that there are."""
    for where, (program, *words) in command_lines(page):
        if program in ("invoke", "dockyard"):
            try:
                parse_invoke(*words)
            except Exception as error:  # noqa: BLE001 - whatever the parser says, we say where
                if "did not receive required positional" not in str(error):  # in prose, `invoke inspect` is a name
                    pytest.fail(f"{where}: {program} {' '.join(words)}: {error}")
        elif words and words[0] == "-s":
            named = words[1 : words.index("--") if "--" in words else None]
            assert set(named) <= {*sessions.__all__, "NAME"}, where


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file of the repository finds it, and its heading."""
    for target in links(page):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page}: {target}"


def test_the_picture_is_of_this_house() -> None:
    """The page about the architecture shows what the source has now."""
    assert PICTURE.read_text("utf-8") == draw_house(read_house()), "run python -m tests.house"


def test_commands_are_told_from_output() -> None:
    """A command may go on over lines; what follows it is its output."""
    text = "$ one \\\n    two\nsaid\n  more\n$ three\n"
    assert read_console(text) == [("one \\\n    two\n", "said\n  more\n"), ("three\n", "")]


def test_command_lines_are_found_in_scripts() -> None:
    """Variables, bootstrap, comments and redirections stand around what is looked for."""
    script = "A=b ./bootstrap invoke build --tag x=1 # why\ninvoke inspect --sbom a:1 > b && nox\nls invoke-x\n"
    expected = [["invoke", "build", "--tag", "x=1"], ["invoke", "inspect", "--sbom", "a:1"], ["nox"]]
    assert list(split_commands(script)) == expected


def test_blocks_know_their_file_and_project(tmp_path: Path) -> None:
    """The first line names a file, a comment above the project, the info string the reason not to run."""
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- project: app -->\n\n```text\n# requirements/base.in\nflask\n```\n\n"
        "```sh no-run: needs a ship\nls\n```\n\n<!-- project: shop -->\n\n```toml\n# the first key\na = 1\n```\n"
    )
    found = [(block.project, block.file, block.reason, block.line) for block in read_blocks(page)]
    assert found == [("app", "requirements/base.in", "", 3), ("app", "", "needs a ship", 8), ("shop", "", "", 14)]
