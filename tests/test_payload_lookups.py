"""What the minimal image has for lookups that no scan sees."""

import ssl
import stat
import sys
from pathlib import Path

import pytest

from dockyard.payload.files import CERTIFICATES, inside
from dockyard.payload.layers import LDCONFIG, add_data, add_ldconfig, find_locale, link_openssl, locale_names


def test_data_that_the_base_image_has(tmp_path: Path) -> None:
    """By path or pattern, links with what they name; what is not there is no matter."""
    base, layer = tmp_path / "base", tmp_path / "layer"
    (base / "x86/gconv").mkdir(parents=True)
    for name in ("UTF-16.so", "BIG5.so", "cache"):
        (base / "x86/gconv" / name).touch()
    (base / "localtime").symlink_to("x86/gconv/cache")
    add_data(layer, {}, (f"{base}/*/gconv/UTF-16.so", f"{base}/localtime", f"{base}/absent"))
    found = {str(path.relative_to(inside(layer, base))) for path in inside(layer, base).rglob("*") if not path.is_dir()}
    assert found == {"x86/gconv/UTF-16.so", "localtime", "x86/gconv/cache"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"LANG": "C.UTF-8"}, ["C.UTF-8"]),
        ({"LANG": "de_DE.UTF-8", "LC_TIME": "C.UTF-8", "LC_ALL": ""}, ["C.UTF-8", "de_DE.UTF-8"]),
        ({"LANG": "C", "LC_ALL": "POSIX", "LANGUAGE": "de:fr", "LCD": "x"}, []),
        ({}, []),
    ],
)
def test_locales_of_an_environment(environment: dict[str, str], names: list[str]) -> None:
    """Those that the C library takes from files."""
    assert locale_names(environment) == names


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("C.UTF-8", ["C.utf8"]),
        ("C.utf8", ["C.utf8"]),
        ("de_DE.ISO-8859-15@euro", ["de_DE.iso885915@euro"]),
        ("de_DE", ["locale-archive"]),
        ("DE_DE.UTF-8", ["locale-archive"]),
    ],
)
def test_where_a_locale_lies(tmp_path: Path, name: str, found: list[str]) -> None:
    """In a folder whose name the C library takes for the same, or in the archive of all others."""
    for folder in ("C.utf8", "de_DE.iso885915@euro", "de_DE.utf8"):
        (tmp_path / folder).mkdir()
    (tmp_path / "locale-archive").touch()
    assert [path.name for path in find_locale(name, tmp_path)] == found


def test_a_locale_that_the_base_image_lacks(tmp_path: Path) -> None:
    """Then there is nothing to take along."""
    assert find_locale("fr_FR.UTF-8", tmp_path) == []


def test_certificates_and_settings_are_named_as_openssl_looks_for_them(tmp_path: Path) -> None:
    """Where a file is in the image, OpenSSL's own name for it links there; where not, no link dangles."""
    folder = Path(ssl.get_default_verify_paths().openssl_cafile).parent
    for link, path in (("cert.pem", CERTIFICATES), ("openssl.cnf", Path("/etc/ssl/openssl.cnf"))):
        link_openssl(tmp_path)
        wanted = inside(tmp_path, folder / link)
        assert not wanted.is_symlink()
        there = inside(tmp_path, path)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.touch()
        link_openssl(tmp_path)
        assert wanted.readlink() == path


def test_the_program_that_knows_libraries_by_name(tmp_path: Path) -> None:
    """Python itself runs it, with nothing of the project's on the way."""
    add_ldconfig(tmp_path)
    (program,) = (path for path in tmp_path.rglob(LDCONFIG.name) if path.is_file())
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert program.read_text("utf-8").splitlines()[0] == f"#!{Path(sys.executable).resolve()} -IS"
