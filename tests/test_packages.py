"""Debian packages: which mirror, which settings for apt, and what a failure means."""

from pathlib import Path

import pytest

from dockyard import apt as packages
from dockyard.apt import AptHost, Mirror, Source
from dockyard.errors import DockyardError
from dockyard.process import Command, Completed
from tests.scripted_docker import Docker

BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n'
DEB822 = """\
# the archive
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm
# and what was changed since
  bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no
"""
LIST = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb [ arch=amd64 signed-by=/keys/tool.gpg ] https://tool.example/apt bookworm main
deb http://mirror.example/debian bookworm main contrib # the archive
deb cdrom:[Debian]/ bookworm main
"""


class Apt(Docker):
    """Stands in for apt-get and dpkg: packages are found, unless a word of a command is scripted to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.programs = {"apt-get": "/usr/bin/apt-get", "dpkg": "/usr/bin/dpkg"}
        self.configuration = ""
        self.sources = ""

    def answer(self, command: Command) -> Completed:
        """Do what the real program does to the disk."""
        work = command.cwd or Path()
        if "update" in command.argv:
            self.configuration = Path(command.argv[3]).read_text("utf-8")
            self.sources = (work / "parts/debian.sources").read_text("utf-8")
        elif "download" in command.argv:
            for wanted in command.argv[5:]:
                (work / f"{wanted.partition('/')[0]}_1_amd64.deb").touch()
        else:
            archive, root = map(Path, command.argv[2:])
            (root / archive.name.partition("_")[0]).write_text("unpacked", "utf-8")
        return Completed(0, "", "", 0.1)


@pytest.fixture
def apt() -> Apt:
    """Return the programs of a made-up Debian."""
    return Apt()


@pytest.fixture
def host(tmp_path: Path, apt: Apt) -> AptHost:
    """Return a made-up Debian 12 that has apt, a keyring, and no sources yet."""
    (tmp_path / "apt" / "sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text(BOOKWORM, "utf-8")
    (tmp_path / "debian.gpg").touch()
    return AptHost(tmp_path / "apt", tmp_path / "debian.gpg", tmp_path / "os-release", apt)


@pytest.fixture
def mirrored(host: AptHost) -> AptHost:
    """Return the made-up host with a mirror in its sources."""
    (host.apt / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n", "utf-8")
    return host


def test_deb822_sources_are_read() -> None:
    """Comments, continued lines, several types and disabled entries are understood."""
    first, second = packages.parse_sources(DEB822)
    assert first.uri == "http://mirror.example/debian"
    assert first.suites == ("bookworm", "bookworm-updates")
    assert first.components == ("main", "contrib")
    assert first.signer.endswith("debian-archive-keyring.gpg")
    assert second.suites == ("bookworm-security",)


def test_one_line_sources_are_read() -> None:
    """Options and comments are understood; sources of source code are not for us."""
    tool, debian, disc = packages.parse_list(LIST)
    assert tool.signer == "/keys/tool.gpg"
    assert debian == Source("http://mirror.example/debian", ("bookworm",), ("main", "contrib"))
    assert disc.uri.startswith("cdrom:")


@pytest.mark.parametrize("text", ["", "not a source at all", "Types: deb", "[\n]", ": :\n\n:"], ids=repr)
def test_nonsense_in_the_sources_names_no_mirror(text: str) -> None:
    """A file that apt would refuse is passed over here: others may still name a mirror."""
    assert not list(packages.parse_sources(text))
    assert not list(packages.parse_list(text))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source("http://m/debian", ("bookworm",), ("main",)), True),
        (Source("http://m/debian", ("bookworm",), ("main",), "/k/debian-archive-keyring.pgp"), True),
        (Source("http://m/debian", ("bookworm",), ("main",), "/k/tool.gpg"), False),
        (Source("http://m/debian", ("bookworm",), ("contrib",)), False),
        (Source("cdrom:[disc]/", ("bookworm",), ("main",)), False),
    ],
    ids=["plain", "signed by Debian", "signed by others", "no main", "a disc"],
)
def test_only_debian_itself_is_a_mirror(source: Source, expected: bool) -> None:
    """Third parties call their suites bookworm and their component main, too."""
    assert source.is_debian is expected


def test_the_mirror_comes_from_either_kind_of_file(host: AptHost) -> None:
    """A host has one-line files, deb822 files, or both; disabled files have other endings."""
    (host.apt / "sources.list.d/tool.list").write_text("deb [signed-by=/k/t.gpg] https://tool.example bookworm main\n")
    (host.apt / "sources.list.d/old.sources.disabled").write_text(DEB822.replace("mirror.", "old."))
    with pytest.raises(DockyardError, match="name no mirror of Debian bookworm"):
        packages.mirror(host)
    (host.apt / "sources.list").write_text("deb http://one-line.example/debian bookworm main\n")
    assert packages.mirror(host) == Mirror("http://one-line.example/debian", host.keyring)
    signed = DEB822.replace("/usr/share/keyrings/debian-archive-keyring.gpg", str(host.apt / "debian-archive-own.gpg"))
    (host.apt / "debian-archive-own.gpg").touch()
    (host.apt / "sources.list.d/debian.sources").write_text(signed)
    assert packages.mirror(host) == Mirror("http://mirror.example/debian", host.apt / "debian-archive-own.gpg")


def test_a_missing_keyring_is_named(mirrored: AptHost) -> None:
    """Without Debian's keys nothing can be checked."""
    mirrored.keyring.unlink()
    with pytest.raises(DockyardError, match="keyring"):
        packages.mirror(mirrored)


@pytest.mark.parametrize(
    "release", ["ID=alpine\nPRETTY_NAME=Alpine\n", "ID=debian\n", ""], ids=["other", "sid", "none"]
)
def test_a_host_that_is_no_debian_release_is_refused(host: AptHost, release: str) -> None:
    """Elsewhere there are other ways, and the error names them."""
    host.os_release.write_text(release, "utf-8")
    with pytest.raises(DockyardError, match="only be fetched on Debian") as caught:
        packages.mirror(host)
    assert "engine" in caught.value.hint


def test_a_debian_without_apt_is_refused(host: AptHost, apt: Apt) -> None:
    """Slimmed-down images have removed it."""
    apt.programs.clear()
    with pytest.raises(DockyardError, match="no apt-get"):
        packages.mirror(host)


def test_packages_are_unpacked_from_their_releases(apt: Apt, mirrored: AptHost, tmp_path: Path) -> None:
    """Each package comes from its own release, all of them signed, and nothing else is left."""
    into = tmp_path / "cache/root"
    packages.unpack(("engine/trixie", "runc/bookworm"), into, host=mirrored)
    assert {path.name for path in into.iterdir()} == {"engine", "runc"}
    assert [path.name for path in into.parent.iterdir()] == ["root"]
    assert "Suites: bookworm trixie\n" in apt.sources
    assert f"Signed-By: {mirrored.keyring}" in apt.sources
    assert apt.asked[1].argv[-2:] == ("engine/trixie", "runc/bookworm")
    assert all(command.env["LC_ALL"] == "C" for command in apt.asked)


def test_unpacking_replaces_what_was_there(apt: Apt, mirrored: AptHost, tmp_path: Path) -> None:
    """A folder of an older version does not shine through."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/old").touch()
    packages.unpack(("runc/bookworm",), tmp_path / "root", host=mirrored)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["runc"]


@pytest.mark.parametrize("step", ["update", "download", "-x"])
def test_a_failure_leaves_the_old_folder_and_no_other(apt: Apt, mirrored: AptHost, tmp_path: Path, step: str) -> None:
    """Whatever fails, at any step, nothing half-made stays."""
    apt.says[step] = Completed(100, "", "E: write (28: No space left on device)", 0.1)
    (tmp_path / "cache/root").mkdir(parents=True)
    (tmp_path / "cache/root/old").touch()
    with pytest.raises(DockyardError, match="disk is full"):
        packages.unpack(("runc/bookworm",), tmp_path / "cache/root", host=mirrored)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["root"]
    assert (tmp_path / "cache/root/old").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(apt: Apt, mirrored: AptHost, tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "cache").touch()
    with pytest.raises(DockyardError, match="cache"):
        packages.unpack(("runc/bookworm",), tmp_path / "cache/root", host=mirrored)


@pytest.mark.parametrize(("allowed", "value"), [(False, "true"), (True, "false")])
def test_dates_are_checked_whatever_the_host_says(tmp_path: Path, allowed: bool, value: str) -> None:
    """Only the setting switches the check off; a release dated in the future is never fine."""
    text = packages.apt_configuration(tmp_path, allowed)
    assert f'Acquire::Check-Valid-Until "{value}";' in text
    assert 'Acquire::Check-Date "true";' in text
    assert "#clear APT::Update::Post-Invoke;" in text


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "E: Release file for http://m/InRelease is expired (invalid since 3d)",
            "Valid-Until",
            "allow-expired-release",
        ),
        ("E: Release file for http://m/InRelease is not valid yet", "future", "clock"),
        ("W: GPG error: http://m: NO_PUBKEY 648ACFD622F3D138", "not signed by Debian", "debian-archive-keyring"),
        ("E: The repository 'http://m bookworm InRelease' is not signed.", "not signed by Debian", "keyring"),
        ("E: Failed to fetch http://m/x.deb  Hash Sum mismatch", "does not match", "again"),
        ("W: Failed to fetch http://m/InRelease  Could not resolve 'm'", "cannot be reached http://m", "proxy"),
        ("W: Failed to fetch http://m/InRelease  Connection refused", "cannot be reached", "proxy"),
        (
            "E: The repository 'http://m/debian nope Release' does not have a Release file.",
            ": http://m/debian nope",
            "",
        ),
        ("Certificate verification failed: The certificate is NOT trusted.", "TLS certificate", "ca-certificates"),
        ("dpkg-deb: error: failed to write (No space left on device)", "disk is full", "XDG_CACHE_HOME"),
        ("E: Unable to locate package nonesuch", "Unable to locate package nonesuch", "apt-get update"),
    ],
)
def test_a_failure_is_explained(said: str, message: str, hint: str) -> None:
    """Each way in which apt and dpkg fail has words for a person, and a next step."""
    error = packages.explain(said)
    assert message in error.message
    assert hint in error.hint
