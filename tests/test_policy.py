"""The verdict: which rules an image is held to, what is accepted, and where a violation comes from."""

import posixpath
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dockyard.locks.pins import Pin
from dockyard.verify.model import Case, Scope, Severity, Trial
from dockyard.verify.rules import judge
from tests import small_images
from tests.small_images import File, folder

SECRET = {"/app/.env": File(b"A=1")}


def broken(case: Case, **options: str) -> list[str]:
    """Return the rules that an image breaks."""
    return [finding.rule for finding in judge.judge_image(case, **options).violations]  # type: ignore[arg-type]


def test_the_good_image_breaks_no_rule() -> None:
    """Every rule is looked at, and none finds anything."""
    verdict = judge.judge_image(small_images.case(trial=small_images.worked()))
    assert verdict.findings == ()
    assert verdict.checked == tuple(rule.id for rule in judge.RULES)


def test_every_rule_has_an_identifier_of_its_own_and_tells_what_it_is_for() -> None:
    """Identifiers stand in people's settings: words, lower case, dashes."""
    names = [rule.id for rule in judge.RULES]
    assert len(set(names)) == len(names)
    for rule in judge.RULES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
        assert rule.meaning
        assert rule.hint
        assert rule.severity in Severity


def test_the_policy_page_has_every_rule_as_it_is() -> None:
    """Its name, whom it is for, its level and its meaning, in the order of the reports."""
    page = (Path(__file__).parents[1] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    assert rows == [[f"`{rule.id}`", str(rule.scope), str(rule.severity), rule.meaning] for rule in judge.RULES]


def test_rules_on_a_running_container_need_a_trial() -> None:
    """Where none was made they say nothing, and are not counted as looked at."""
    checked = judge.judge_image(small_images.case()).checked
    assert "size-budget" in checked
    assert not {"starts", "stops", "memory-budget"} & set(checked)


@pytest.mark.parametrize(
    ("target", "without"),
    [
        ("production", set()),
        ("", set()),
        ("web", set()),
        ("slim", {Scope.MINIMAL}),
        ("test", {Scope.MINIMAL, Scope.SERVICE}),
        ("development", {Scope.MINIMAL, Scope.SERVICE}),
    ],
)
def test_a_target_is_held_to_what_it_is_for(target: str, without: set[Scope]) -> None:
    """An image of which nothing is known is held to everything."""
    verdict = judge.judge_image(small_images.case(trial=Trial(8000), target=target))
    assert set(verdict.checked) == {rule.id for rule in judge.RULES if rule.scope not in without}


def test_a_finding_names_path_layer_instruction_and_hint() -> None:
    """All that a person needs to mend it."""
    (finding,) = judge.judge_image(small_images.case(SECRET)).violations
    assert finding.path == "/app/.env"
    assert finding.layer == small_images.case(SECRET).facts.layers[1].diff_id
    assert finding.instruction == "COPY /layer-1/ / # buildkit"
    assert "build secret" in finding.hint


def test_an_accepted_rule_is_told_with_its_reason_and_breaks_nothing() -> None:
    """The output shows what was let pass, and why."""
    verdict = judge.judge_image(small_images.case(SECRET), allow={"no-credential-file": "it holds names only"})
    assert verdict.violations == ()
    assert [finding.accepted for finding in verdict.findings] == ["it holds names only"]
    assert verdict.unused == ()


def test_a_rule_can_be_accepted_for_some_paths_only() -> None:
    """What is beside them still counts."""
    case = small_images.case({"/app/.env": File(b"A=1"), "/app/x/.env": File(b"B=2")})
    assert broken(case, allow={"no-credential-file:/app/x/*": "a template"}) == ["no-credential-file"]  # type: ignore[arg-type]
    assert broken(case, allow={"no-credential-file:/app/*": "templates"}) == []  # type: ignore[arg-type]


def test_an_acceptance_that_is_of_no_use_any_more_is_told() -> None:
    """Otherwise it would hide the next violation; one for a rule that was not looked at is no matter."""
    allow = {"no-shell": "was needed once", "no-shell:/bin/*": "too", "starts": "no trial was made"}
    assert judge.judge_image(small_images.case(), allow=allow).unused == ("no-shell", "no-shell:/bin/*")


def test_set_uid_set_gid_and_capabilities() -> None:
    """Each is named for what it is; a set-gid folder has no such power."""
    files = {
        "/a": File(mode=0o4755),
        "/b": File(mode=0o2755),
        "/c": File(extended={"SCHILY.xattr.security.capability": "1"}),
    }
    found = judge.judge_image(small_images.case({**files, "/d": folder(0o2755)})).violations
    assert [(one.rule, one.message.split(" has ")[1][:8]) for one in found] == [
        ("no-set-uid", "set-uid "),
        ("no-set-uid", "set-gid "),
        ("no-set-uid", "file cap"),
    ]


def test_world_writable_paths() -> None:
    """Folders, sticky ones too, and files; what is declared, and below it, may be so."""
    files = {"/a": folder(0o777), "/s": folder(0o1777), "/f": File(mode=0o666), "/tmp/x": File(mode=0o666)}
    found = judge.judge_image(small_images.case(files)).violations
    assert [(one.rule, one.path) for one in found] == [("no-world-writable", path) for path in ("/a", "/s", "/f")]
    assert broken(small_images.case(files, writable=("/tmp", "/a", "/s", "/f"))) == []
    assert broken(small_images.case({"/tmpfile": File(mode=0o666)})) == ["no-world-writable"]


def test_debians_own_sticky_folders_matter_in_a_minimal_image_only() -> None:
    """A slim image has the base's /var/tmp; not sticky, it is a fault there too."""
    files = {"/var/tmp": folder(0o1777)}
    assert broken(small_images.case(files)) == ["no-world-writable"]
    assert broken(small_images.case(files, target="slim")) == []
    assert broken(small_images.case({"/var/tmp": folder(0o777)}, target="slim")) == ["no-world-writable"]


PROGRAMS = {
    "no-shell": ["sh", "bash", "dash", "busybox", "zsh"],
    "no-package-manager": ["apt", "apt-get", "dpkg", "apk", "pip", "pip3.13", "uv", "npm", "conda"],
    "no-compiler": ["gcc", "cc", "g++", "x86_64-linux-gnu-gcc-14", "cc1", "clang-19", "ld", "as", "make"],
}


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, names in PROGRAMS.items() for name in names])
def test_programs_that_only_an_intruder_would_use(rule: str, name: str) -> None:
    """By name, wherever they lie, in a minimal image only."""
    files = {f"/opt/x/{name}": File(b"\x7fELF", 0o755)}
    assert broken(small_images.case(files)) == [rule]
    assert broken(small_images.case(files, target="slim")) == []


@pytest.mark.parametrize(
    "name", ["shop", "python3.13", "gunicorn", "flask", "pipeline", "asgi", "makefile", "shell.html"]
)
def test_other_programs_are_none_of_these(name: str) -> None:
    """Names that only begin or end alike."""
    assert broken(small_images.case({f"/usr/bin/{name}": File(b"x", 0o755)})) == []


def test_a_link_to_a_shell_is_one_and_a_dead_or_plain_file_is_none() -> None:
    """What cannot be executed is no program."""
    real = {"/usr/bin/tool": File(b"\x7fELF", 0o755), "/usr/bin/sh": small_images.link("tool")}
    (found,) = judge.judge_image(small_images.case(real)).violations
    assert found.message == "/usr/bin/sh is a shell: it leads to /usr/bin/tool"
    files = {"/usr/bin/sh": small_images.link("gone"), "/usr/share/doc/make": File(b"words", 0o644)}
    assert broken(small_images.case(files)) == []


@pytest.mark.parametrize("path", [f"{small_images.SITE}/pip/__init__", f"{small_images.LIBRARY}/ensurepip/__init__"])
def test_pythons_own_installers_are_package_managers(path: str) -> None:
    """`python -m pip` needs no program."""
    assert broken(small_images.case(small_images.module(f"{path}.py", b""))) == ["no-package-manager"]


def test_a_package_manager_that_the_lock_asks_for() -> None:
    """It is no leftover: its package and its programs are the project's own wish."""
    program = "../../../bin/pip"
    pip = small_images.distribution("pip", "26.0", {"pip/__init__.py": File(b""), program: File(b"#!", mode=0o755)})
    files = {posixpath.normpath(path): file for path, file in pip.items()}
    files |= small_images.module(f"{small_images.SITE}/pip/__init__.py", b"")
    pins = {**(small_images.expected().pins or {}), "pip": Pin("pip", "26.0")}
    assert broken(small_images.case(files, pins=pins)) == []
    found = broken(small_images.case(files))
    assert found.count("no-package-manager") == 2


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("", "no USER"),
        ("0", "root"),
        ("0:0", "root"),
        ("root", "a name"),
        ("shop", "a name"),
        ("1000:shop", "group is a name"),
        ("65532:0", "group is root"),
    ],
)
def test_users_that_are_or_may_be_root(user: str, words: str) -> None:
    """Only numbers can be told from root without running the image."""
    facts = small_images.facts(small_images.good(), User=user)
    (found,) = judge.judge_image(Case(facts, small_images.expected())).violations
    assert found.rule == "non-root-user"
    assert words in found.message


@pytest.mark.parametrize("user", ["65532", "1000:1000"])
def test_users_by_number_are_right(user: str) -> None:
    """With or without a group."""
    assert broken(Case(small_images.facts(small_images.good(), User=user), small_images.expected())) == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("title", None, "title is missing"),
        ("base.name", "", "base.name is missing"),
        ("created", "yesterday", "no time by RFC 3339"),
        ("created", "2026-11-21T01:00:00", "no time by RFC 3339"),
        ("revision", "main", "no commit"),
    ],
)
def test_labels_that_are_missing_or_say_nothing(key: str, value: str | None, words: str) -> None:
    """The keys of the OCI specification, with values that mean something."""
    labels = {**small_images.settings()["Labels"], small_images.PREFIX + key: value}
    labels = {name: text for name, text in labels.items() if text is not None}
    (found,) = judge.judge_image(
        Case(small_images.facts(small_images.good(), Labels=labels), small_images.expected())
    ).violations
    assert found.rule == "labels"
    assert words in found.message


def test_a_project_without_git_has_no_revision() -> None:
    """It cannot say what it does not know."""
    labels = {key: text for key, text in small_images.settings()["Labels"].items() if not key.endswith("revision")}
    assert broken(Case(small_images.facts(small_images.good(), Labels=labels), small_images.expected())) == []


def test_labels_that_say_something_else_than_git() -> None:
    """An image of another commit is told to be built again."""
    other = f"{'f' * 40}"
    case = small_images.case(labels={f"{small_images.PREFIX}revision": other, "io.dockyard.target": "production"})
    (found,) = judge.judge_image(case).violations
    assert (found.rule, other in found.message, "build it again" in found.hint) == ("labels", True, True)


def test_a_finding_without_a_layer_has_none() -> None:
    """A fault of the configuration comes from no layer."""
    case = small_images.case()
    facts = replace(case.facts, config={**case.facts.config, "config": {**case.facts.settings, "User": ""}})
    (found,) = judge.judge_image(replace(case, facts=facts)).violations
    assert (found.layer, found.path) == ("", "")
