"""The settings that locks have of their own."""

from pathlib import Path

import pytest

from dockyard.errors import SettingsError
from dockyard.settings import load

PROJECT = '[tool.dockyard]\napp = "shop:app"\nimage = "shop"\n'


def write(folder: Path, *lines: str) -> Path:
    """Write a project with more settings, and return its folder."""
    (folder / "pyproject.toml").write_text(PROJECT + "\n".join(lines), encoding="utf-8")
    return folder


def test_a_mirror_can_be_named(tmp_path: Path) -> None:
    """In the project without a password, in the environment with one."""
    assert load(write(tmp_path), {}).index_url == ""
    assert load(write(tmp_path, 'index-url = "https://mirror/simple"'), {}).index_url == "https://mirror/simple"
    environment = {"DOCKYARD_INDEX_URL": "https://me:word@mirror/simple"}
    assert load(write(tmp_path), environment).index_url == "https://me:word@mirror/simple"


def test_a_password_in_the_project_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """pyproject.toml is under version control."""
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, 'index-url = "https://me:hush@mirror/simple"'), {})
    assert "must not hold a password" in caught.value.message
    assert "hush" not in caught.value.message
