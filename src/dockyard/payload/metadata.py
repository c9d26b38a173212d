"""Give an application what an installation of its project would: metadata, and files that hold the version."""

import configparser
import re
import tomllib
from pathlib import Path

ASSIGNED = re.compile(
    r"^\w*version\w*\s*(?::[^=\n]*)?=\s*(?:\w+\s*=\s*)*['\"](\d[^'\"]*)['\"]", re.MULTILINE | re.IGNORECASE
)
MODULE = """\
# Written when the image was built, in the names that setuptools_scm, hatch-vcs and versioneer use.
version = __version__ = {version!r}
version_tuple = __version_tuple__ = {parts!r}
commit_id = __commit_id__ = None


def get_versions():
    return {{"version": version, "full-revisionid": None, "dirty": False, "error": None, "date": None}}
"""


def write_metadata(name: str, version: str, project: Path | None, file: list[Path]) -> None:
    """Write the metadata of a project into the current folder, where imports begin, and its version into files."""
    version = read_version(project) if project else version
    folder = Path(f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}.dist-info")
    folder.mkdir(exist_ok=True)
    folder.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
    for path in file:
        text = MODULE.format(version=version, parts=split_version(version)) if path.suffix == ".py" else f"{version}\n"
        path.write_text(text, "utf-8")


def read_version(path: Path) -> str:
    """Return the version that a file says: pyproject.toml, setup.cfg, or a module that assigns it."""
    text = path.read_text("utf-8")
    if path.suffix == ".toml":
        document = tomllib.loads(text)
        said = document.get("project", {}).get("version") or document.get("tool", {}).get("poetry", {}).get("version")
    elif path.suffix == ".cfg":
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(text)
        said = parser.get("metadata", "version", fallback="")
    else:
        found = ASSIGNED.search(text)
        said = found[1] if found else ""
    if not said:
        raise SystemExit(f"{path.name} does not say the project's version: run `dockyard init --diff`")
    return str(said)


def split_version(version: str) -> tuple[int | str, ...]:
    """Return a version's parts as setuptools_scm does: 1.2+4.gabc is (1, 2, "4.gabc")."""
    public, _, local = version.partition("+")
    parts = [int(part) if part.isdecimal() else part for part in public.split(".")]
    return (*parts, *([local] if local else []))
