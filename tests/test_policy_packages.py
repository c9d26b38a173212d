"""Bytecode that Python takes as it is, and distributions that are those of the lock."""

from typing import Any

import pytest

from dockyard.locks.pins import Pin
from dockyard.verify.model import Case, Facts, Finding
from dockyard.verify.rules import bytecode, distributions, judge
from tests import small_images
from tests.small_images import SITE, TIME, File, compiled, distribution, link, module


def found(more: dict[str, File], **wishes: Any) -> list[Finding]:
    """Return what the rules say of a good image with more files."""
    return list(judge.judge_image(small_images.case(more, **wishes)).violations)


def test_a_source_without_bytecode() -> None:
    """It would be compiled at every start, because a read-only image cannot keep the result."""
    (one,) = found({"/app/late.py": File(b"1")})
    assert (one.rule, one.path) == ("valid-bytecode", "/app/late.py")
    assert "has no bytecode for Python 3.13" in one.message


@pytest.mark.parametrize(
    ("pyc", "words"),
    [
        (compiled(b"other"), "made from another version"),
        (compiled(b"source", "3.12"), "of another Python than 3.13"),
        (compiled(b"source", stamp=TIME - 1), "made from another version"),
        (compiled(b"other length", stamp=TIME), "made from another version"),
        (File(compiled(b"source").data[:10]), "cut short"),
        (File(b""), "cut short"),
    ],
    ids=["other source", "other Python", "other time", "other size", "cut", "empty"],
)
def test_bytecode_that_python_would_not_take_or_should_not(pyc: File, words: str) -> None:
    """An unchecked hash is not compared by Python: here it is, so that stale code is never shipped."""
    (one,) = found({"/app/x.py": File(b"source"), "/app/__pycache__/x.cpython-313.pyc": pyc})
    assert one.rule == "valid-bytecode"
    assert words in one.message


@pytest.mark.parametrize("flags", [1, 3], ids=["unchecked", "checked"])
def test_bytecode_checked_by_hash_is_valid(flags: int) -> None:
    """Both kinds of PEP 552."""
    good = compiled(b"source").data
    pyc = File(good[:4] + flags.to_bytes(4, "little") + good[8:])
    assert found({"/app/x.py": File(b"source"), "/app/__pycache__/x.cpython-313.pyc": pyc}) == []


def test_bytecode_checked_by_time_is_valid_with_the_time_and_size_of_its_source() -> None:
    """As most recipes make it."""
    files = {"/app/x.py": File(b"source"), "/app/__pycache__/x.cpython-313.pyc": compiled(b"source", stamp=TIME)}
    assert found(files) == []


def test_bytecode_of_a_python_whose_hash_cannot_be_worked_out_here() -> None:
    """Before 3.11 sources were hashed otherwise: what else is in the header still counts."""
    old = "/usr/lib/python3.10"
    pyc = compiled(b"source", "3.10")
    unlike = File(pyc.data[:8] + b"another!" + b"code")
    files = {f"{old}/x.py": File(b"source"), f"{old}/__pycache__/x.cpython-310.pyc": unlike}
    assert found(files) == []
    (one,) = found({**files, f"{old}/__pycache__/x.cpython-310.pyc": compiled(b"source", "3.12")})
    assert "of another Python than 3.10" in one.message


def test_a_source_that_is_replaced_by_a_later_layer_has_stale_bytecode() -> None:
    """The layer that brought the source is named."""
    (one,) = found({"/app/shop/web.py": File(b"app = 2\n")})
    assert "another version" in one.message
    assert one.layer == small_images.case({"/app/shop/web.py": File(b"app = 2\n")}).facts.layers[1].diff_id


def test_many_alike_faults_are_told_in_one_line() -> None:
    """A base without bytecode has thousands."""
    (one,) = found({f"{SITE}/big/sub/m{number}.py": File(b"1") for number in range(9)})
    assert one.message.startswith(f"9 Python files in {SITE}/big: each has no bytecode")
    assert one.path == f"{SITE}/big"


def test_the_library_of_another_python_is_judged_by_that_python() -> None:
    """Its folder says which it is."""
    assert found(module("/usr/lib/python3.12/os.py", b"1", "3.12")) == []
    (one,) = found(
        {"/usr/lib/python3.12/os.py": File(b"1"), "/usr/lib/python3.12/__pycache__/os.cpython-313.pyc": compiled(b"1")}
    )
    assert "3.12" in one.message


@pytest.mark.parametrize(
    "path",
    [f"{SITE}/flask/template.py", "/usr/lib/python3/dist-packages/x.py", "/usr/lib/python3.13/lib2to3/data/bom.py"],
)
def test_files_of_others_that_no_python_can_compile_are_no_violation(path: str) -> None:
    """Packages bring templates and code for other Pythons: the image's own Python says which they are."""
    files = {path: File(b"{{ x }}")}
    assert not [one for one in found(files, uncompilable={path: "x"}) if one.rule == "valid-bytecode"]


def test_a_file_of_the_project_that_no_python_can_compile_is_told_with_the_reason() -> None:
    """It ended no build, and need not be imported at the start: whoever means it so accepts it."""
    path = "/app/shop/late.py"
    (one,) = found({path: File(b"x = = 1")}, uncompilable={path: "invalid syntax, line 1"})
    assert (one.rule, one.path) == ("valid-bytecode", path)
    assert "invalid syntax, line 1" in one.message
    assert f'"valid-bytecode:{path}"' in one.hint


def test_what_lacks_bytecode_is_asked_for_and_nothing_else() -> None:
    """Stale bytecode shows that the file can be compiled."""
    files = {"/app/late.py": File(b"1"), "/app/shop/web.py": File(b"2")}
    assert bytecode.find_uncompiled(small_images.case(files).facts) == ("/app/late.py",)


def test_the_interpreter_is_the_first_on_path() -> None:
    """By the name that its links lead to; without PATH, where the kernel's default looks."""
    assert bytecode.find_interpreter(small_images.facts(small_images.good())) == "3.13"
    files = {"/usr/bin/python3": link("python3.12"), "/usr/bin/python3.12": File()}
    assert bytecode.find_interpreter(small_images.facts(files, Env=None)) == "3.12"
    assert bytecode.find_interpreter(small_images.facts({"/x": File()})) == ""


def test_where_no_interpreter_is_found_the_label_says_which_python() -> None:
    """An image may call its Python by another name."""
    case = Case(small_images.facts(module("/app/x.py", b"1", "3.12")), small_images.expected(python="3.12", pins={}))
    assert [one for one in judge.judge_image(case).violations if one.rule == "valid-bytecode"] == []


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({}, "flask 3.1.3 is installed, but is not in requirements/3.13/production.txt"),
        ({"flask": Pin("flask", "3.1.2")}, "flask 3.1.3 is installed, but requirements/3.13/production.txt says 3.1.2"),
        (
            {"flask": Pin("flask", "3.1.3"), "six": Pin("six", "1.0")},
            "six 1.0 is in requirements/3.13/production.txt, but not installed",
        ),
        (None, "there is no lock to compare with: requirements/3.13/production.txt"),
    ],
    ids=["one more", "another version", "one missing", "no lock"],
)  # fmt: skip
def test_distributions_that_are_not_those_of_the_lock(pins: dict[str, Pin] | None, words: str) -> None:
    """Both ways, by name and version."""
    (one,) = judge.judge_image(small_images.case(pins=pins)).violations
    assert (one.rule, one.message) == ("locked-distributions", words)


def test_versions_are_compared_as_pep_440_does_and_names_as_indexes_do() -> None:
    """2024.01.01 is 2024.1.1; what is no version is compared as it is written; an address pins no version."""
    files = distribution("Zope.Interface", "2024.01.01", {})
    files |= distribution("odd", "not-a-version", {})
    files |= distribution("far", "1.0", {})
    pins = {"flask": Pin("flask", "3.1.3"), "zope-interface": Pin("zope-interface", "2024.1.1")}
    pins |= {"odd": Pin("odd", "not-a-version"), "far": Pin("far", "")}
    assert found(files, pins=pins) == []


def test_the_projects_own_distribution_may_be_installed() -> None:
    """It is what the image is for, and no lock names it."""
    files = distribution("shop", "1.0", {})
    assert found(files, own="Shop") == []
    assert [one.rule for one in found(files, own="other")] == ["locked-distributions"]


def test_a_distribution_that_is_there_twice() -> None:
    """Which one is imported depends on the order of the path."""
    (one,) = found(distribution("flask", "3.1.3", {}, "/usr/lib/python3/dist-packages"))
    assert one.message == "flask is installed more than once"


def test_the_bases_own_packages_count_in_a_minimal_image_only() -> None:
    """A slim image has those of its base beside the virtual environment."""
    files = distribution("wheel", "0.48", {}, "/usr/lib/python3/dist-packages")
    assert [one.rule for one in found(files)] == ["locked-distributions"]
    assert found(files, target="slim") == []


def test_older_metadata_is_read_too() -> None:
    """Debian's packages have egg-info, as a folder or a file; neither has a RECORD to compare with."""
    text = File(b"Name: six\nVersion: 1.0\n")
    places = ("six-1.0.egg-info", "six-1.0.egg-info/PKG-INFO")
    for place in places:
        (one,) = found({f"/usr/lib/python3/dist-packages/{place}": text})
        assert one.message.startswith("six 1.0 is installed")


def test_a_file_that_was_changed_after_the_install() -> None:
    """Its hash is not what was published."""
    source = module(f"{SITE}/flask/app.py", b"x = 2\n")
    (one,) = found(source)
    assert (one.rule, one.path) == ("unchanged-distributions", f"{SITE}/flask/app.py")
    assert "hash differs from RECORD (flask 3.1.3)" in one.message
    assert one.layer == small_images.case(source).facts.layers[1].diff_id


def test_a_file_that_is_gone() -> None:
    """RECORD names it, the image has it not; bytecode may be absent, as every RECORD here shows."""
    (one,) = [one for one in found({f"{SITE}/flask/.wh.app.py": File()}) if one.rule != "valid-bytecode"]
    assert one.message == f"{SITE}/flask/app.py is missing, although RECORD names it (flask 3.1.3)"


def test_a_distribution_without_record() -> None:
    """Nothing tells what it brought."""
    (one,) = found({f"{SITE}/Flask-3.1.3.dist-info/.wh.RECORD": File()})
    assert one.message == "flask has no RECORD: nothing tells which files it brought"


@pytest.mark.parametrize("name", ["evil.pth", "sitecustomize.py", "usercustomize.py"])
def test_what_runs_at_every_start_belongs_to_a_distribution(name: str) -> None:
    """Python runs these without being asked."""
    files = module(f"{SITE}/{name}", b"1") if name.endswith(".py") else {f"{SITE}/{name}": File(b"import os")}
    assert [(one.rule, one.path) for one in found(files)] == [("unchanged-distributions", f"{SITE}/{name}")]


def test_scripts_outside_site_packages_are_compared_too() -> None:
    """RECORD names them relative to it."""
    assert list(distributions.read_record(b"../../../bin/flask,sha256=AA,1\n", SITE)) == [("/opt/venv/bin/flask", "00")]


def test_a_lock_is_read_as_pip_reads_it() -> None:
    """Names, versions, markers for this Python on Linux, addresses; options, hashes and comments are passed over."""
    text = """\
# made by something
--index-url https://index.example/simple
Flask==3.1.3 \\
    --hash=sha256:00 \\
    --hash=sha256:11
    # via -r base.in
colorama==0.4.6 ; sys_platform == "win32" --hash=sha256:00
tomli==2.0.1 ; python_version < "3.12"
zope_interface[test]==6.0
far @ https://files.example/far-1.0-py3-none-any.whl --hash=sha256:22
!!
"""
    names = {"flask": "3.1.3", "zope-interface": "6.0", "far": ""}
    facts = Facts("", {"architecture": "amd64"}, (), {})
    assert {name: pin.version for name, pin in distributions.read_pins(text, facts, "3.13").items()} == names
    assert "tomli" in distributions.read_pins(text, facts, "3.11")


@pytest.mark.parametrize(
    ("config", "machine", "full"),
    [
        ({"architecture": "amd64"}, "x86_64", "3.13.0"),
        ({"architecture": "amd64", "variant": "v3"}, "x86_64", "3.13.0"),
        ({"architecture": "arm64", "variant": "v8", "config": {"Env": ["PYTHON_VERSION=3.13.7"]}}, "aarch64", "3.13.7"),
        ({"architecture": "arm", "variant": "v6", "config": {"Env": ["PYTHON_VERSION=3.13"]}}, "armv6l", "3.13.0"),
        ({"architecture": "arm", "variant": "v7", "config": {"Env": ["PYTHON_VERSION=3.12.1"]}}, "armv7l", "3.13.0"),
        ({"architecture": "riscv64"}, "riscv64", "3.13.0"),
    ],
)
def test_markers_read_the_platform_of_the_image(config: dict[str, object], machine: str, full: str) -> None:
    """Not that of the machine which verifies it."""
    text = f'a==1 ; platform_machine == "{machine}"\nb==1 ; platform_machine != "{machine}"\n'
    text += f'c==1 ; python_full_version == "{full}"\nd==1 ; implementation_version < "{full}"\n'
    assert set(distributions.read_pins(text, Facts("", config, (), {}), "3.13")) == {"a", "c"}
