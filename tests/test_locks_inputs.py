"""Requirements files: what they include, and what no lock can hold."""

from pathlib import Path

import pytest

from dockyard.locks.inputs import InputError, make_loader, read_closure


def read(root: Path, files: dict[str, str | bytes], purpose: str = "test") -> list[str]:
    """Return the paths of a purpose's closure among files in the requirements folder."""
    for name, text in files.items():
        place = root / "requirements" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [file.path for file in read_closure(purpose, make_loader(str(root)))]


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
        pytest.param({"test.in": "-e .\n"}, "test.in:1: -e .: a folder or local file has no hash", id="editable"),
        pytest.param({"test.in": "./libs/a\n"}, "has no hash to lock", id="folder"),
        pytest.param({"test.in": "a @ file:///x.whl\n"}, "has no hash to lock", id="local file"),
        pytest.param({"test.in": "a @ git+https://x/y@main\n"}, "a checkout has no hash", id="checkout"),
        pytest.param({"test.in": "-c https://x/limits.txt\n"}, "can change unseen", id="address"),
        pytest.param({"test.in": "-r ../../../x.in\n"}, "is outside the project", id="outside"),
        pytest.param(
            {"test.in": "-r=a.in\n", "a.in": "x\n"}, "-r requirements/=a.in: there is no such file", id="equals"
        ),
        pytest.param({"test.in": "-r /etc/x.in\n"}, "is an absolute path", id="absolute"),
    ],
)
def test_a_bad_input_is_named_with_file_and_line(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    """Whatever cannot be locked says where it is, what it is, and what to do."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, files)
    assert message in caught.value.message
    assert caught.value.message.startswith("requirements/")
    assert caught.value.hint


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
        read_closure("test", make_loader(str(tmp_path)))
