"""Requirements files: what they include, and what no lock can hold."""

from pathlib import Path

import pytest

from dockyard.locks.inputs import InputError, parse_input, read_closure


def read(root: Path, files: dict[str, str | bytes], purpose: str = "test") -> list[str]:
    """Return the paths of a purpose's closure among files in the requirements folder."""
    for name, text in files.items():
        place = root / "requirements" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [file.path for file in read_closure(root, purpose, {})]


def test_a_closure_holds_every_included_file_once(tmp_path: Path) -> None:
    """Files come in the order in which pip reads them, through -r and -c, however these are written."""
    files = {
        "test.in": "-r base.in\n--constraint=limits/old.txt\n-cother.txt\n",
        "base.in": "--requirement 'more.in'\nflask\n",
        "more.in": "click\n",
        "limits/old.txt": "-r ../more.in\n",
        "other.txt": "idna<4\n",
    }
    assert read(tmp_path, dict(files)) == [
        f"requirements/{name}" for name in ("test.in", "base.in", "more.in", "limits/old.txt", "other.txt")
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"test.in": "# nothing\n"}, "test.in:1: asks for nothing", id="empty"),
        pytest.param({"test.in": "a\nb\xe9\n".encode("latin-1")}, "test.in:2: byte 0xe9 is not UTF-8", id="encoding"),
        pytest.param(
            {"test.in": "a\n\n-r bas.in\n"}, "test.in:3: -r requirements/bas.in: there is no such file", id="missing"
        ),
        pytest.param({"other.in": "a\n"}, "test.in:1: there is no such file", id="no purpose"),
        pytest.param({"test.in": "-r test.in\n"}, "requirements/test.in -> requirements/test.in", id="itself"),
        pytest.param(
            {"test.in": "-r a.in\n", "a.in": "x\n-c test.in\n"}, "a.in:2: the files include one another", id="circle"
        ),
        pytest.param({"test.in": "-e .\n"}, "test.in:1: -e .: a folder has no hash", id="editable"),
        pytest.param({"test.in": "./libs/a\n"}, "has no hash to lock", id="folder"),
        pytest.param({"test.in": "a @ file:///x.whl\n"}, "has no hash to lock", id="local file"),
        pytest.param({"test.in": "a @ git+https://x/y@main\n"}, "a checkout has no hash", id="checkout"),
        pytest.param({"test.in": "-c https://x/limits.txt\n"}, "can change unseen", id="address"),
        pytest.param({"test.in": "-r ../../../x.in\n"}, "is outside the project", id="outside"),
        pytest.param(
            {"test.in": "-r=a.in\n", "a.in": "x\n"}, "-r requirements/=a.in: there is no such file", id="equals"
        ),
        pytest.param({"test.in": "-r /etc/x.in\n"}, "-r /etc/x.in: is outside the project", id="absolute"),
    ],
)
def test_a_bad_input_is_named_with_file_and_line(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    """Whatever cannot be locked says where it is, what it is, and what to do."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, files)
    assert message in caught.value.message
    assert caught.value.message.startswith("requirements/")
    assert caught.value.hint


HASH = f"sha256:{'8a' * 32}"


@pytest.mark.parametrize(
    "line",
    [
        "flask",
        "Flask[async,dotenv] >= 3 , < 4, != 3.1",
        "flask (>=3)",
        "flask~=3.0; python_version < '3.12' and sys_platform == 'linux'",
        "flask===3.0.0",
        "flask @ https://host/flask-3.0-py3-none-any.whl",
        "flask[async]@https://host/a/flask-3.0.tar.gz ; os_name == 'posix'",
        "https://host/flask-3.0-py3-none-any.whl",
        "flask @ ${MIRROR}/flask-3.0.tar.gz",
        f"six==1.16.0 --hash={HASH}",
        f"six==1.16.0 --hash={HASH} --hash {HASH}",
        "--index-url https://host/simple",
        "-ihttps://host/simple",
        "--extra-index-url=https://host/more",
        "-i https://host/simple --extra-index-url 'https://host/more' --pre",
        "--find-links https://host/wheels/",
        "--find-links ${WHEELS}",
        "--trusted-host host",
        "--no-binary :all:",
        "--only-binary=flask,click",
        "--prefer-binary",
        "--pre",
        "--all-releases click",
        "--only-final :all:",
        "--no-index",
    ],
)
def test_what_a_lock_can_hold_is_taken(line: str) -> None:
    """Each row of the reference's table that is kept: requirements of every form, and options of pip."""
    (read_line,) = parse_input("requirements/test.in", line.encode()).lines
    assert read_line.number == 1


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("-e ./libs/a", "a folder has no hash"),
        ("--editable=git+https://host/a", "a folder has no hash"),
        ("-e.", "a folder has no hash"),
        (".", "a folder or local file"),
        ("..", "a folder or local file"),
        ("./libs/a[extra]", "a folder or local file"),
        ("libs/a", "a folder or local file"),
        ("/srv/wheels/a-1-py3-none-any.whl", "a folder or local file"),
        ("a-1-py3-none-any.whl", "a folder or local file"),
        ("A-1.0.TAR.GZ", "a folder or local file"),
        ("a-1.zip[extra] ; python_version > '3'", "a folder or local file"),
        ("file:///srv/a-1.tar.gz", "a folder or local file"),
        ("a @ file:///srv/a-1.tar.gz", "a folder or local file"),
        ("a @ ./a-1.tar.gz", "a folder or local file"),
        ("a@a-1.tar.gz", "a folder or local file"),
        ("git+https://host/a.git@main", "a checkout has no hash"),
        ("git+ssh://git@host/team/a.git@v1", "a checkout has no hash"),
        ("a @ git+ssh://git@host/team/a.git", "git+ssh://git@host/team/a.git: a checkout has no hash"),
        ("a @ git+https://me:secret@host/a", "git+https://***@host/a: a checkout has no hash"),
        ("hg+https://host/a", "a checkout has no hash"),
        ("svn+https://host/a", "a checkout has no hash"),
        ("a @ bzr+https://host/a", "a checkout has no hash"),
        ("--find-links ./wheels", "an index or a folder of files on this machine"),
        ("-f wheels", "an index or a folder of files on this machine"),
        ("-i file:///srv/simple", "an index or a folder of files on this machine"),
        ("--extra-index-url=../index", "an index or a folder of files on this machine"),
        ("--pre --find-links wheels", "an index or a folder of files on this machine"),
        ("--index-url", "its value is missing"),
        ("--require-hashes", "every lock has hashes"),
        ("--no-require-hashes", "every lock has hashes"),
        ("--use-feature fast-deps", "no such option can stand in a lock"),
        ("--extra-index https://host/simple", "no such option"),
        ("--prerelease allow", "no such option"),
        ("a --config-settings=x=y", "--config-settings=x=y: no lock can hold this option"),
        ("a -C x=y", "-C: no lock can hold this option"),
        (f"a==1 --hash={HASH} --global-option=x", "no lock can hold this option"),
        ("a==1 --hash=sha512:00", "only sha256"),
        ("a==1 --hash=sha256:8a", "only sha256"),
    ],
)
def test_what_no_lock_can_hold_is_refused_with_the_way_out(line: str, wrong: str) -> None:
    """Each row of the table that is refused, told as what it is: before who may read it, and never left out."""
    with pytest.raises(InputError) as caught:
        parse_input("requirements/test.in", f"flask\n{line}\n".encode())
    assert caught.value.problem.line == 2
    assert wrong in caught.value.problem.message
    assert caught.value.hint
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "address", ["https://me:secret@host/x", "https://secret@host/x", "https://${USER}:secret@host/x"]
)
def test_a_password_in_an_input_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    """A credential in a file under version control is an error whose message does not show it."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, {"test.in": f"--index-url {address}\na\n"})
    assert "user name or password" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_password_from_the_environment_is_welcome(tmp_path: Path) -> None:
    """A variable in an address is how pip itself keeps a password out of the file."""
    assert read(tmp_path, {"test.in": "--index-url https://${USER}:${WORD}@host/x\na\n"})


def test_an_unreadable_input_says_why(tmp_path: Path) -> None:
    """A folder in the place of a file is told as the operating system tells it."""
    (tmp_path / "requirements" / "test.in").mkdir(parents=True)
    with pytest.raises(InputError, match=r"test\.in:1: cannot be read: Is a directory"):
        read_closure(tmp_path, "test", {})
