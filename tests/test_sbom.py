"""The bill of materials names what is in the image, the same way every time, in the form of CycloneDX 1.6."""

import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from dockyard.locks.pins import parse_pins
from dockyard.registry import documents
from dockyard.registry.documents import Inventory, Kept, Subject, collect_contents, encode, make_document

from .saved_images import Entry, layer

SITE = "/opt/venv/lib/python3.13/site-packages"
DIGEST = "sha256:" + "ab" * 32
PREFIX = "org.opencontainers.image."
LABELS = {f"{PREFIX}title": "team/shop", f"{PREFIX}created": "2026-11-21T01:21:47Z"}
SUBJECT = Subject(DIGEST, {"architecture": "amd64", "os": "linux", "config": {"Labels": LABELS}})
LOCK = f"""\
flask==3.1.3 \\
    --hash=sha256:{"1" * 64} \\
    --hash=sha256:{"0" * 64}
    # via -r requirements/base.in
jinja2==3.1.6 \\
    --hash=sha256:{"2" * 64}
    # via flask
absent==1 \\
    --hash=sha256:{"3" * 64}
    # via flask
"""
FILES = {
    "/usr/lib/os-release": b'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n',
    "/var/lib/dpkg/status.d/libssl3t64": b"Package: libssl3t64\nStatus: install ok installed\nArchitecture: amd64\n"
    b"Source: openssl (3.5.0)\nVersion: 1:3.5.7-1~deb13u3\nHomepage: https://x.example\n",
    "/var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 2026a\nArchitecture: all\n",
    "/opt/venv/pyvenv.cfg": b"home = /usr/bin\nversion = 3.13.5\n",
    f"{SITE}/flask-3.1.3.dist-info/METADATA": b"Name: Flask\nVersion: 3.1.3\nLicense-Expression: BSD-3-Clause\n\nx",
    f"{SITE}/jinja2-3.1.6.dist-info/METADATA": b"Name: Jinja2\nVersion: 3.1.6\n\n",
    f"{SITE}/own-1+x.dist-info/METADATA": b"Name: own\nVersion: 1+x\n\n",
}


def kept(files: dict[str, bytes]) -> tuple[Kept, ...]:
    """Return what is kept of a layer with these files."""
    from dockyard.engine import archive

    blob = io.BufferedReader(io.BytesIO(layer([Entry(*pair) for pair in files.items()])))
    return archive.read_layer(blob, documents.keep_telling, "a layer", 0).items


def made(files: dict[str, bytes] | None = None) -> dict[str, Any]:
    """Return the bill of materials of an image of one layer."""
    return make_document(SUBJECT, collect_contents([kept(FILES if files is None else files)]), parse_pins(LOCK))


def purls(found: dict[str, Any]) -> list[str]:
    """Return what a bill of materials names."""
    return [component["purl"] for component in found["components"]]


def test_what_is_in_the_image_is_named() -> None:
    """Distributions, Debian packages with their source, and an interpreter that no package brings; sorted."""
    assert purls(made()) == [
        "pkg:deb/debian/libssl3t64@1%3A3.5.7-1~deb13u3?arch=amd64&distro=debian-13&upstream=openssl%403.5.0",
        "pkg:deb/debian/tzdata@2026a?arch=all&distro=debian-13",
        "pkg:generic/python@3.13.5",
        "pkg:pypi/flask@3.1.3",
        "pkg:pypi/jinja2@3.1.6",
        "pkg:pypi/own@1%2Bx",
    ]


def test_the_interpreter_of_a_package_is_named_once() -> None:
    """Debian's own is there as a package."""
    debian = {"/var/lib/dpkg/status.d/python3.13-minimal": b"Package: python3.13-minimal\nVersion: 3.13.5-2\n"}
    assert "pkg:generic/python@3.13.5" not in purls(made({**FILES, **debian}))


def test_hashes_and_licences() -> None:
    """Hashes are the lock's; a distribution in no lock has none, and one that says no licence has none."""
    found = {component["name"]: component for component in made()["components"]}
    assert [one["content"][0] for one in found["flask"]["hashes"]] == ["0", "1"]
    assert found["flask"]["hashes"][0]["alg"] == "SHA-256"
    assert found["flask"]["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert not {"hashes", "licenses"} & found["own"].keys()


def test_hashes_of_another_version_are_not_ours() -> None:
    """What is installed counts: the lock's hashes are those of the lock's version."""
    other = {f"{SITE}/flask-3.0.dist-info/METADATA": b"Name: Flask\nVersion: 3.0\n\n"}
    (component,) = made(other)["components"]
    assert "hashes" not in component


def test_who_needs_whom() -> None:
    """The lock says it; what nobody asks for is the image's own."""
    tree = {entry["ref"]: entry.get("dependsOn") for entry in made()["dependencies"]}
    own = made()["metadata"]["component"]["bom-ref"]
    assert own == "pkg:oci/shop@sha256%3A" + "ab" * 32 + "?arch=amd64"
    assert tree["pkg:pypi/flask@3.1.3"] == ["pkg:pypi/jinja2@3.1.6"]
    assert [one for one in tree[own] or () if "pypi" in one] == ["pkg:pypi/flask@3.1.3", "pkg:pypi/own@1%2Bx"]
    assert set(tree) == {own, *purls(made())}


def test_the_same_image_has_the_same_bill() -> None:
    """Byte for byte, whatever order its files come in; another image has another serial number."""
    turned = dict(reversed(FILES.items()))
    assert encode(made()) == encode(made(turned))
    other = make_document(replace(SUBJECT, digest="sha256:00"), Inventory(), ())

    assert other["serialNumber"] != made()["serialNumber"]
    assert made()["metadata"]["timestamp"] == "2026-11-21T01:21:47Z"


def test_a_whole_system_is_read_too() -> None:
    """The development image has dpkg's own list: what was removed from it is not there."""
    status = b"Package: a\nStatus: install ok installed\nVersion: 1\nDescription: x\n Package: no\n\n"
    gone = b"Package: b\nStatus: deinstall ok config-files\nVersion: 2\n"
    assert purls(made({"/var/lib/dpkg/status": status + gone})) == ["pkg:deb/debian/a@1?distro=debian"]


@pytest.mark.parametrize(
    "gone",
    [
        f"{SITE}/.wh.flask-3.1.3.dist-info",
        f"{SITE}/flask-3.1.3.dist-info/.wh.METADATA",
        f"{SITE}/flask-3.1.3.dist-info/.wh..wh..opq",
    ],
)
def test_what_a_later_layer_removes_is_not_there(gone: str) -> None:
    """The bill is of what a container sees."""
    held = collect_contents([kept(FILES), kept({gone: b""})])
    assert [name for name, _, _ in held.distributions] == ["jinja2", "own"]


def test_a_later_layer_replaces() -> None:
    """Of two versions of one file, the upper one counts."""
    newer = {"/var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 2027a\n"}
    held = collect_contents([kept(FILES), kept(newer)])
    assert [one["Version"] for one in held.packages if one["Package"] == "tzdata"] == ["2027a"]


def test_only_what_says_something_is_kept() -> None:
    """Folders, code and metadata of something else are passed over."""
    member = tarfile.TarInfo("opt/venv/lib/python3.13/site-packages/flask/METADATA")
    assert documents.keep_telling(member, io.BytesIO(b"x")) is None
    assert kept({"/usr/bin/python3": b"x", "/etc/os-release": b"ID=a"}) == (("/etc/os-release", b"ID=a"),)


@pytest.fixture(scope="module")
def schema() -> Callable[[Any], None]:
    """Return what raises unless a document keeps to CycloneDX's own schema, which comes with their library."""
    library = importlib.util.find_spec("cyclonedx")
    assert library is not None, "cyclonedx-python-lib comes with the development lock"
    assert library.origin is not None
    folder = Path(library.origin).parent / "schema" / "_res"

    def shipped(uri: str) -> Any:
        return json.loads((folder / uri.rpartition("/")[2]).read_text("utf-8"))

    formats = {"idn-email": r".*", "iri-reference": r"\S*"}
    handlers = {"http": shipped}
    made: Callable[[Any], None] = fastjsonschema.compile(
        shipped("bom-1.6.SNAPSHOT.schema.json"), handlers=handlers, formats=formats
    )
    return made


@pytest.mark.host
@pytest.mark.parametrize("files", [FILES, {}], ids=["full", "empty"])
def test_it_keeps_to_the_schema(schema: Callable[[Any], None], files: dict[str, bytes]) -> None:
    """Whether there is anything in the image or not; what does not keep to it would be found."""
    schema(json.loads(encode(made(files))))
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        schema({**made(files), "version": 0})
