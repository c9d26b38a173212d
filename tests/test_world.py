"""What git, the host's certificates and pip's configuration say."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from packaging.version import Version

from dockyard.errors import DockyardError
from dockyard.git import Git, newest, read_git
from dockyard.host import ca_bundle, count_certificates, read_bundle, read_pip_settings

GitCommand = Callable[..., str]
FAKE_GPG = """\
#!/bin/sh
case "$*" in *--verify*)
    echo "gpg: Good signature" >&2
    echo "[GNUPG:] GOODSIG me me"
    exit
esac
cat > /dev/null
printf -- '-----BEGIN PGP SIGNATURE-----\\n\\nx\\n-----END PGP SIGNATURE-----\\n'
printf '\\n[GNUPG:] SIG_CREATED D\\n' >&2
"""


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitCommand:
    """Return a function that runs git in a fresh repository, free of the configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.invalid")
        monkeypatch.setenv(f"GIT_{role}_DATE", "1700000000 +0000")

    def run(*arguments: str) -> str:
        done = subprocess.run(("git", *arguments), cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run("init", "--quiet", "--initial-branch=main")
    return run


@pytest.mark.parametrize(
    ("git", "version"),
    [
        (Git("a" * 40, 1, tag="v1.2.3"), "1.2.3"),
        (Git("a" * 40, 1, tag="v1.2.3", dirty=True, described="v1.2.3-0-gaa"), "1.2.3+gaaaaaaaaaaaa.dirty"),
        (Git("a" * 40, 1, described="1.2.3-14-gaa"), "1.2.3+14.gaaaaaaaaaaaa"),
        (Git("a" * 40, 1, described="v1.2-rc1-2-gaa"), "1.2-rc1+2.gaaaaaaaaaaaa"),
        (Git("a" * 40, 1, described="v1.2+eu-2-gaa", dirty=True), "1.2+eu.2.gaaaaaaaaaaaa.dirty"),
        (Git("a" * 40, 1, described="v2-2-gaa"), "0.0.0+gaaaaaaaaaaaa"),
        (Git("a" * 40, 1), "0.0.0+gaaaaaaaaaaaa"),
        (Git("a" * 40, 1, tag="nightly"), "0.0.0+gaaaaaaaaaaaa"),
    ],
)
def test_the_version_of_a_project(git: Git, version: str) -> None:
    """On a tag it is that, else the last one with what is behind it: valid by PEP 440, above the tag, no guess."""
    assert git.project_version == version
    assert Version(version).public in {"1.2.3", "1.2rc1", "1.2", "0.0.0"}


@pytest.mark.host
@pytest.mark.processes
class TestGit:
    """A real repository in each state that matters."""

    def test_a_clean_commit(self, git: GitCommand, tmp_path: Path) -> None:
        """Commit, time and branch are read."""
        git("commit", "--allow-empty", "--message=one")
        assert read_git(tmp_path) == Git(git("rev-parse", "HEAD"), 1_700_000_000, "main", None, False)

    @pytest.mark.parametrize("change", ["untracked", "edited", "staged"])
    def test_changes_make_it_dirty(self, git: GitCommand, tmp_path: Path, change: str) -> None:
        """Whatever is not committed counts: an untracked file gets into an image too."""
        (tmp_path / "file").write_text("one")
        if change != "untracked":
            git("add", "file")
        git("commit", "--allow-empty", "--message=one")
        (tmp_path / "file").write_text("two")
        if change == "staged":
            git("add", "file")
        found = read_git(tmp_path)
        assert found is not None
        assert found.dirty

    def test_ignored_files_are_clean(self, git: GitCommand, tmp_path: Path) -> None:
        """What git ignores does not count."""
        (tmp_path / ".gitignore").write_text("junk\n")
        git("add", ".gitignore")
        git("commit", "--message=one")
        (tmp_path / "junk").write_text("x")
        assert read_git(tmp_path).dirty is False  # type: ignore[union-attr]

    def test_a_detached_head(self, git: GitCommand, tmp_path: Path) -> None:
        """There is a commit and no branch."""
        git("commit", "--allow-empty", "--message=one")
        git("checkout", "--quiet", "--detach")
        found = read_git(tmp_path)
        assert found is not None
        assert found.branch is None

    def test_the_highest_version_tag(self, git: GitCommand, tmp_path: Path) -> None:
        """Of several tags on the commit, the highest version counts, and no other word does."""
        git("commit", "--allow-empty", "--message=one")
        for tag in ("v1.9.0", "v1.10.0rc1", "v1.10.0", "nightly"):
            git("tag", tag)
        assert read_git(tmp_path).tag == "v1.10.0"  # type: ignore[union-attr]

    def test_how_far_behind_a_version(self, git: GitCommand, tmp_path: Path) -> None:
        """The last version tag counts, and no other word does."""
        git("commit", "--allow-empty", "--message=one")
        git("tag", "v1.2")
        git("commit", "--allow-empty", "--message=two")
        git("tag", "nightly")
        found = read_git(tmp_path)
        assert found is not None
        assert found.project_version == f"1.2+1.g{found.commit[:12]}"

    def test_signatures_in_the_log(self, git: GitCommand, tmp_path: Path) -> None:
        """A person who signs commits and has git show signatures gets the same answer."""
        program = tmp_path / "gpg"
        program.write_text(FAKE_GPG)
        program.chmod(0o755)
        git("config", "gpg.program", str(program))
        git("config", "log.showSignature", "true")
        git("commit", "--allow-empty", "--message=one", "--gpg-sign=me")
        assert "Good signature" in git("log", "-1", "--format=%H")
        assert read_git(tmp_path) is not None

    def test_no_commit_yet(self, git: GitCommand, tmp_path: Path) -> None:
        """An empty repository has nothing to say."""
        assert read_git(tmp_path) is None

    def test_no_repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Outside of any, neither."""
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert read_git(tmp_path) is None

    def test_nobody_is_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder in no repository is told without git."""
        monkeypatch.delenv("GIT_DIR", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert read_git(tmp_path) is None

    def test_no_git(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where git is not installed, a build goes on without."""
        (tmp_path / ".git").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path))
        assert read_git(tmp_path) is None


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], None),
        (["latest", "v1"], None),
        (["v1.2", "1.10"], "1.10"),
        (["v2.0.0rc2", "v2.0.0"], "v2.0.0"),
        (["v2.0.0", "v2.0.0rc2"], "v2.0.0"),
        (["v2.0.0", "v2.0.1-dev.1"], "v2.0.1-dev.1"),
        (["v1.0+b.2", "v1.0"], "v1.0+b.2"),
    ],
)
def test_newest(tags: list[str], expected: str | None) -> None:
    """Versions are compared number by number, and a release is above its candidates."""
    assert newest(tags) == expected


@pytest.mark.parametrize(
    ("tag", "version"),
    [("v1.2.3", "1.2.3"), ("1.2", "1.2"), ("v1.0rc1", "1.0rc1"), ("v1", None), ("x1.2", None), (None, None)],
)
def test_version(tag: str | None, version: str | None) -> None:
    """A version has a dot, and may have a v."""
    assert Git("0" * 40, 0, tag=tag).version == version


def test_ca_bundle_order(tmp_path: Path) -> None:
    """What a person sets for Python comes first, a file that is not there is passed over, then the system's."""
    first, second, system = (tmp_path / name for name in ("first", "second", "system"))
    for file in (first, second, system):
        file.write_text("")
    files = (str(tmp_path / "absent"), str(system))
    assert ca_bundle({"REQUESTS_CA_BUNDLE": str(second), "SSL_CERT_FILE": str(first)}, files) == first
    assert ca_bundle({"REQUESTS_CA_BUNDLE": str(second), "SSL_CERT_FILE": str(tmp_path / "absent")}, files) == second
    assert ca_bundle({"SSL_CERT_FILE": str(tmp_path)}, files) == system
    assert ca_bundle({}, ()) is None


def test_a_bundle_that_cannot_be_read(tmp_path: Path) -> None:
    """What builds, locks and verify are to trust is told by its name, and none is nothing to trust."""
    with pytest.raises(DockyardError, match=rf"^{tmp_path}: the certificates cannot be read: Is a directory$"):
        read_bundle(tmp_path)
    assert read_bundle(None) == b""


CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBgDCCASegAwIBAgIBATAKBggqhkjOPQQDAjAwMREwDwYDVQQKDAhEb2NreWFy
ZDEbMBkGA1UEAwwSRG9ja3lhcmQgVGVzdCBSb290MB4XDTI2MDEwMTAwMDAwMFoX
DTMwMDEwMTAwMDAwMFowMDERMA8GA1UECgwIRG9ja3lhcmQxGzAZBgNVBAMMEkRv
Y2t5YXJkIFRlc3QgUm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJEQXB+w
wGoPWWKaSDDzxEEqKa70Eyn95urdTTvt1QVnXz4Rfy9axVssyExjE/yFWV1qA9TW
sEFOqULQPA62YCajMjAwMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFJzoc91t
IVkOL8/i+wbcYYR47skXMAoGCCqGSM49BAMCA0cAMEQCIDdddNUN6O2RVpcwqgde
ekzJnInYYAXqr/lU/ls98U5dAiBpPnEeKg2LyIkBPoFwgmloA7aGiNppSrIRf/8b
mNhqbw==
-----END CERTIFICATE-----
"""


def test_certificates(tmp_path: Path) -> None:
    """All are counted, whatever stands between them."""
    assert count_certificates(put(tmp_path / "ca", f"# a comment\n{CERTIFICATE}\n{CERTIFICATE}")) == 2


@pytest.mark.parametrize(
    "text", ["", "not a certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_certificates_that_are_none(tmp_path: Path, text: str) -> None:
    """Something else is an OSError, as a missing file is."""
    with pytest.raises(OSError):  # noqa: PT011 - ssl has many of them
        count_certificates(put(tmp_path / "ca", text))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home; its machine has the configuration etc/pip.conf below it."""
    return tmp_path


def read_settings(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return what a build gets."""
    return read_pip_settings(environment, home, home / "etc" / "pip.conf")


def put(file: Path, text: str) -> Path:
    """Write a file and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_pip_conf_of_a_plain_host(home: Path) -> None:
    """Nothing set, nothing passed on."""
    assert read_settings({"XDG_CONFIG_DIRS": str(home)}, home) == {}


def test_pip_conf_user_beats_machine(home: Path) -> None:
    """Files are read in pip's own order, and credentials are part of it: the result is a secret."""
    put(home / "xdg" / "pip" / "pip.conf", "[global]\nindex-url = https://all/\ntrusted-host = all\n")
    put(home / "etc" / "pip.conf", "[global]\nindex-url = https://machine/\n")
    put(home / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://me:pw%40@mine/simple\n")
    written = read_settings({"XDG_CONFIG_DIRS": str(home / "xdg")}, home)
    assert written == {"index-url": "https://me:pw%40@mine/simple", "trusted-host": "all"}


def test_pip_conf_environment_beats_files(home: Path) -> None:
    """A variable wins over any file."""
    put(home / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://mine/\n")
    environment = {"PIP_INDEX_URL": "https://other/", "XDG_CONFIG_DIRS": str(home)}
    assert read_settings(environment, home) == {"index-url": "https://other/"}


def test_pip_conf_named_file(home: Path) -> None:
    """PIP_CONFIG_FILE stands in for the user's files, while the machine's stay; /dev/null turns all off."""
    put(home / "etc" / "pip.conf", "[global]\ntrusted-host = machine\n")
    put(home / ".config" / "pip" / "pip.conf", "[global]\nextra-index-url = https://mine/\n")
    named = put(home / "named", "[global]\nindex-url = https://named/\n")
    environment = {"PIP_CONFIG_FILE": str(named), "XDG_CONFIG_DIRS": str(home)}
    assert read_settings(environment, home) == {"index-url": "https://named/", "trusted-host": "machine"}
    assert read_settings({"PIP_CONFIG_FILE": os.devnull}, home) == {}


def test_pip_conf_leaves_out_what_a_container_cannot_reach(home: Path) -> None:
    """Folders of this machine are of no use in a build."""
    put(home / ".pip" / "pip.conf", "[global]\nindex-url = file:///x\nextra-index-url =\n  file:///a\n  https://b/\n")
    assert read_settings({"XDG_CONFIG_DIRS": str(home)}, home) == {"extra-index-url": "https://b/"}


@pytest.mark.parametrize("text", ["no section\n", "[global\n", "[global]\nindex-url = a\nindex-url = b\n", "\xff"])
def test_pip_conf_that_cannot_be_read(home: Path, text: str) -> None:
    """A broken file is pip's to complain about: the others count."""
    (home / ".config" / "pip").mkdir(parents=True)
    (home / ".config" / "pip" / "pip.conf").write_bytes(text.encode("latin-1"))
    put(home / ".pip" / "pip.conf", "[global]\nindex-url = https://legacy/\n")
    assert read_settings({"XDG_CONFIG_DIRS": str(home)}, home) == {"index-url": "https://legacy/"}
