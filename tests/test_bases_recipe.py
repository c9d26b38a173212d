"""The recipe of a base image: releases, archives, commands and what apt is told."""

from pathlib import Path

import pytest

from dockyard.apt import Mirror, Source
from dockyard.bases import debian, recipe
from dockyard.bases.lookup import UnavailableError
from dockyard.bases.recipe import Job

MIRROR = Mirror("http://mirror/debian", Path("/keys.gpg"))
JOB = Job(recipe.python_contents("3.13"), "root", Path("/tools"), Path("/work"))


def source(suites: str, uri: str = "http://mirror/debian", signer: str = "") -> Source:
    """Return an entry of a host's apt sources."""
    return Source(uri, tuple(suites.split()), ("main",), signer)


@pytest.mark.parametrize(("python", "release"), [("3.11", "bookworm"), ("3.13", "trixie"), ("3.14", "testing")])
def test_release_of_a_python(python: str, release: str) -> None:
    """Each Python comes from the release that ships it."""
    assert recipe.release_of(python) == release


def test_a_python_that_nobody_ships() -> None:
    """A Python without a release has an error of its own type, so that callers can name it and go on."""
    with pytest.raises(UnavailableError, match=r"no Debian release ships Python 3\.12") as caught:
        recipe.release_of("3.12")
    assert "3.13" in caught.value.hint


def test_security_updates_are_taken_where_the_host_takes_them() -> None:
    """The suites beside a release follow the host's own sources, with the release's name."""
    host = (source("bookworm bookworm-updates"), source("bookworm-security", "http://mirror/debian-security"))
    assert recipe.archives(MIRROR, "trixie", host) == (
        "http://mirror/debian trixie",
        "http://mirror/debian trixie-updates",
        "http://mirror/debian-security trixie-security",
    )


@pytest.mark.parametrize(
    "host",
    [
        pytest.param((source("bookworm"),), id="none named"),
        pytest.param((Source("http://x", ("bookworm-security",), ("contrib",)),), id="not main"),
        pytest.param((source("bookworm-security", "http://x", "/keys/somebody.gpg"),), id="not Debian's"),
        pytest.param((source("bookworm-updates"),), id="testing has no updates"),
    ],
)
def test_only_debians_own_suites_count(host: tuple[Source, ...]) -> None:
    """Nothing else of the host's sources gets into a base."""
    assert recipe.archives(MIRROR, "testing", host) == ("http://mirror/debian testing",)


def test_sources_check_the_date_unless_allowed() -> None:
    """The release's date is left unchecked only where the setting says so."""
    one = ["http://mirror/debian testing"]
    assert recipe.sources(one, "/k") == "deb [signed-by=/k] http://mirror/debian testing main\n"
    assert "check-valid-until=no" in recipe.sources(one, "/k", allow_expired=True)
    assert 'Check-Valid-Until "true"' in recipe.apt_configuration({}, allow_expired=False)
    assert 'Check-Valid-Until "false"' in recipe.apt_configuration({}, allow_expired=True)


def test_no_password_stays_in_an_image() -> None:
    """The address of a mirror is kept in the image without its user and password."""
    kept = recipe.without_password("https://me:secret@mirror:8443/debian trixie")
    assert kept == "https://mirror:8443/debian trixie"


def test_proxies_of_the_host_are_used() -> None:
    """What `apt-config dump` says about proxies reaches the private apt; other settings do not."""
    dump = 'Acquire::http "";\nAcquire::http::Proxy "http://proxy:3128";\nAPT::x "y";\n'
    dump += 'Acquire::https::mirror::Proxy "DIRECT";\n'
    found = recipe.parse_proxies(dump)
    assert found == {"Acquire::http::Proxy": "http://proxy:3128", "Acquire::https::mirror::Proxy": "DIRECT"}
    assert 'Acquire::http::Proxy "http://proxy:3128";\n' in recipe.apt_configuration(found, allow_expired=False)


def test_command() -> None:
    """The tool gets the release, the packages and the two hooks; the tree goes to the work folder."""
    assert recipe.command(JOB) == (
        "sh",
        "-c",
        'umask 022; exec "$@"',
        "sh",
        "perl",
        "/tools/usr/bin/mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--format=tar",
        "--include=python3.13,python3.13-venv,ca-certificates,media-types,netbase,tzdata",
        "--aptopt=/work/apt.conf",
        "--skip=cleanup/apt",
        "--skip=output/dev",
        '--extract-hook=install -m 644 /work/dpkg.cfg "$1/etc/dpkg/dpkg.cfg.d/docker"',
        '--customize-hook=sh /work/finish.sh "$1" 3.13 /work/kept.list',
        "trixie",
        "/work/tree.tar",
        "/work/build.list",
    )


def test_command_quotes_the_folder_in_hooks() -> None:
    """A temporary folder with a space in its name does not break the hooks, which are shell."""
    said = recipe.command(Job(JOB.contents, "root", Path("/tools"), Path("/my work")))
    assert "--customize-hook=sh '/my work'/finish.sh \"$1\" 3.13 '/my work'/kept.list" in said


def test_simulation_runs_no_hook() -> None:
    """Asking what would be installed makes no tree."""
    said = recipe.command(JOB, simulate=True)
    assert "--simulate" in said
    assert "/work/tree.tar" not in said
    assert not [part for part in said if "hook" in part]


def test_nothing_of_the_hosts_taste_gets_in() -> None:
    """Variables that would change what pip, Python or apt do are unset; the time is fixed."""
    changes = recipe.child_environment(
        JOB, {"PIP_FIND_LINKS": "/x", "PYTHONPATH": "/y", "APT_CONFIG": "/z", "HOME": "/h"}
    )
    assert changes == {
        "PIP_FIND_LINKS": None,
        "PYTHONPATH": None,
        "APT_CONFIG": None,
        "TMPDIR": "/work",
        "SOURCE_DATE_EPOCH": str(recipe.EPOCH),
        "LC_ALL": "C.UTF-8",
    }


@pytest.mark.parametrize(
    ("version", "expected"),
    [("3.13.5-2+deb13u5", "3.13.5"), ("3.15.0~rc1-1", "3.15.0rc1"), ("3.14.0~b2-1", "3.14.0b2"), ("", "3.13")],
)
def test_python_version(version: str, expected: str) -> None:
    """Debian's package version gives the full version of Python as Python itself says it."""
    assert recipe.python_version({"python3.13": version}, "3.13") == expected


def test_simulation_is_understood() -> None:
    """The lines of apt for new and replaced packages give names and versions."""
    said = "I: x\nInst libc6 (2.41-12 Debian:13.1/stable [amd64])\nConf apt (3)\n"
    said += "Inst apt [2.9] (3.0.3 Debian:stable [amd64]) []\n"
    assert recipe.parse_simulation(said) == {"libc6": "2.41-12", "apt": "3.0.3"}


def test_fingerprint_follows_the_recipe() -> None:
    """A changed script is another recipe, the same one is the same."""
    assert recipe.fingerprint(JOB.contents, [b"a", b"b"]) == recipe.fingerprint(JOB.contents, [b"a", b"b"])
    assert recipe.fingerprint(JOB.contents, [b"a", b"b"]) != recipe.fingerprint(JOB.contents, [b"a", b"c"])


@pytest.mark.parametrize(
    ("said", "kind", "message", "hint"),
    [
        pytest.param(
            "E: Release file for http://m/dists/testing/InRelease is expired (invalid since 14d).",
            UnavailableError,
            "http://m/dists/testing/InRelease",
            "allow-expired-release = true",
            id="expired",
        ),
        pytest.param(
            "E: Unable to locate package python3.13", UnavailableError, "no package python3.13", "", id="gone"
        ),
        pytest.param(
            "E: The repository 'http://m testing Release' does not have a Release file.",
            UnavailableError,
            "does not hold that release",
            "",
            id="no release",
        ),
        pytest.param("tar: write: No space left on device", Exception, "the disk is full", "TMPDIR", id="disk"),
        pytest.param(
            "unshare() failed: Operation not permitted", Exception, "does not permit", "registry", id="sandbox"
        ),
        pytest.param("E: cannot find newuidmap", Exception, "program newuidmap", "uidmap", id="no program"),
        pytest.param(
            "W: /etc/subuid is empty\nE: failed to parse /etc/subuid and /etc/subgid",
            Exception,
            "subordinate ids",
            "usermod",
            id="no ids",
        ),
        pytest.param("Can't locate Pod/Usage.pm in @INC", Exception, "Perl", "install the package perl", id="perl"),
        pytest.param("E: Could not resolve 'mirror'", Exception, "cannot be reached", "network", id="network"),
        pytest.param("I: ok\nE: strange", Exception, "E: strange", "", id="anything else"),
    ],
)
def test_errors_are_explained(said: str, kind: type[Exception], message: str, hint: str) -> None:
    """Each trouble says what is wrong and what to do; only those of one Python alone are of the milder type."""
    error = debian.explain("Python 3.13", said)
    assert isinstance(error, kind)
    assert isinstance(error, UnavailableError) == (kind is UnavailableError)
    assert message in error.message
    assert hint in error.hint


def test_shipped_files_are_there() -> None:
    """The scripts of the recipe are part of the package."""
    assert debian.current("3.13") == debian.current("3.13") != debian.current("3.11")
    assert b"pyvenv.cfg" in debian.read_shipped("finish.sh")
