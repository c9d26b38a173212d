"""Libraries that a build found missing, and the locale of the environment."""

from dataclasses import replace
from pathlib import Path

import pytest

from dockyard.payload.libraries import note_missing
from dockyard.payload.linker import Missing
from dockyard.verify.model import Finding
from dockyard.verify.rules import judge
from dockyard.verify.rules.files import MISSING
from tests import small_images
from tests.small_images import SITE, File, settings

LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"
DRIVER = f"{SITE}/driver/_c.so"
NOTE = f"{DRIVER}\tlibpq.so.5\tusually in the Debian package libpq5\n".encode()


def found(more: dict[str, File], *variables: str) -> list[Finding]:
    """Return what the rules say of a good image with more files and variables."""
    case = small_images.case(more)
    config = {**settings(), "Env": [*settings()["Env"], *variables]}
    return list(judge.judge_image(replace(case, facts=replace(case.facts, config={"config": config}))).violations)


def test_a_library_that_is_missing() -> None:
    """What needs it is blamed, and the package told."""
    (one,) = found({DRIVER: File(b"\x7fELF"), f"{MISSING}3": File(NOTE)})
    assert (one.rule, one.path) == ("linked-libraries", DRIVER)
    assert "libpq.so.5" in one.message
    assert "libpq5" in one.message


def test_the_note_is_what_a_build_writes(tmp_path: Path) -> None:
    """The program in the build and the rule on the host share no code, only the form of a line."""
    note_missing(tmp_path, [Missing(DRIVER, "libpq.so.5")], tmp_path / "no dpkg", say=False)
    (written,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert (written.parent, written.read_bytes()) == (tmp_path / MISSING.strip("/"), NOTE)


def test_every_layer_has_a_note_of_its_own() -> None:
    """Two parts that miss something are both told, lines without a package too."""
    other = f"{SITE}/other/_o.so"
    notes = {f"{MISSING}1": File(NOTE), f"{MISSING}2": File(f"{other}\tlibown.so\t\n".encode())}
    assert [one.path for one in found({DRIVER: File(), other: File(), **notes})] == [DRIVER, other]


@pytest.mark.parametrize("more", [{"/usr/local/lib/libpq.so.5": File()}, {DRIVER: small_images.folder()}], ids=str)
def test_what_came_after_the_build_noted_it(more: dict[str, File]) -> None:
    """A later layer may bring the library, or do away with what needs it."""
    needs = {} if DRIVER in more else {DRIVER: File()}
    note = NOTE if needs else NOTE.replace(b"_c.so", b"gone.so")
    assert found({**needs, **more, f"{MISSING}1": File(note)}) == []


@pytest.mark.parametrize(
    ("variables", "locale"),
    [
        (("LANG=C.UTF-8",), "C.utf8"),
        (("LANG=C.utf8", "LC_ALL=C"), "C.utf8"),
        (("LC_CTYPE=de_DE.ISO-8859-15@euro",), "de_DE.iso885915@euro"),
        (("LANG=", "LC_ALL=POSIX", "LANGUAGE=de:fr"), "none"),
        (("LANG=fr_FR.UTF-8",), "../locale/locale-archive"),
    ],
)
def test_a_locale_that_is_there(variables: tuple[str, ...], locale: str) -> None:
    """By whatever name the C library would find it too, on its own or in the archive of many."""
    path = f"/usr/lib/locale/{locale}/LC_CTYPE" if ".." not in locale else "/usr/lib/locale/locale-archive"
    assert found({LIBC: File(), path: File()}, *variables) == []


@pytest.mark.parametrize("variable", ["LANG", "LC_ALL", "LC_TIME"])
def test_a_locale_that_is_not_there(variable: str) -> None:
    """The C library would go on without, and locale.setlocale fail."""
    (one,) = found({LIBC: File(), "/usr/lib/locale/C.utf8/LC_CTYPE": File()}, f"{variable}=de_DE.UTF-8")
    assert one.rule == "locale"
    assert f"{variable}=de_DE.UTF-8" in one.message


def test_a_c_library_that_knows_no_locales() -> None:
    """With musl every name will do."""
    assert found({"/lib/ld-musl-x86_64.so.1": File()}, "LANG=de_DE.UTF-8") == []
