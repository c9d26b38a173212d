"""What counts in requirements files and locks, and what does not."""

import pytest

from dockyard.locks.inputs import canonicalize_lock, logical_lines, normalize_spaces

LOCK = b"""# body: sha256:1

click==8.5.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   -r requirements/base.in
    #   flask
flask==3.1.3 \\
    --hash=sha256:cc
    # via -r requirements/base.in
"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("a\n\n# b\nc # d\n", [(1, "a"), (4, "c")], id="comments and blank lines"),
        pytest.param("a==1 \\\n  --hash=x\nb\n", [(1, "a==1   --hash=x"), (3, "b")], id="continued line"),
        pytest.param("a \\\n# b\nc\n", [(1, "a"), (3, "c")], id="a comment ends a continued line"),
        pytest.param("a \\\n\nc\n", [(1, "a"), (3, "c")], id="a blank line ends a continued line"),
        pytest.param("a # b \\\nc\n", [(1, "a")], id="a comment that is continued swallows the next line"),
        pytest.param("a \\", [(1, "a")], id="the file ends in a continued line"),
        pytest.param("a#b\n", [(1, "a#b")], id="no comment without a space"),
        pytest.param("\r\na\r\nb\r", [(2, "a"), (3, "b")], id="other line ends"),
    ],
)
def test_lines_are_those_that_pip_acts_on(text: str, lines: list[tuple[int, str]]) -> None:
    """Joining and comments follow pip's own rules, odd ones included."""
    assert list(logical_lines(text)) == lines


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("flask>=3,<4", "flask  >= 3 ,\t< 4"),
        ("a[b,c]==1", "a [b, c] == 1"),
        ("a;python_version<'3.9'", "a ; python_version < '3.9'"),
        ("--index-url   https://x/simple", "--index-url https://x/simple"),
    ],
)
def test_spacing_does_not_count(one: str, other: str) -> None:
    """Two spellings of one requirement that differ in spaces alone are the same."""
    assert normalize_spaces(one) == normalize_spaces(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a===1", "a== =1"),
        ("a==1.0", "a==1 .0"),
        ("a>=1", "a> =1"),
        ("a ; x == 'b c'", "a ; x == 'b  c'"),
        ("a ; x not in 'b'", "a ; x notin 'b'"),
        ("a @ https://x/y ; z=='1'", "a @ https://x/y; z=='1'"),
        ("a==1 --hash=sha256:b", "a==1 --hash =sha256:b"),
        ("flask", "fl\u00a0ask"),
    ],
)
def test_spaces_that_change_the_meaning_count(one: str, other: str) -> None:
    """A space inside a version, an operator, a quoted text, an address or an option makes another requirement."""
    assert normalize_spaces(one) != normalize_spaces(other)


def test_a_lock_is_its_logical_lines() -> None:
    """However its hashes are indented."""
    read = canonicalize_lock(LOCK)
    assert read == canonicalize_lock(LOCK.replace(b"    --hash", b"\t--hash"))
    assert read.splitlines()[0] == "click==8.5.1 --hash=sha256:aa --hash=sha256:bb"


def test_a_comment_cannot_swallow_a_hash() -> None:
    """Pip does not continue a comment, so a hash after one stands for itself."""
    assert canonicalize_lock(b"x==1\n# a \\\n    --hash=sha256:bb\n") == "x==1\n--hash=sha256:bb"


@pytest.mark.parametrize("change", [(b"\n", b"\r\n"), (b"# body", b"\xef\xbb\xbf# body"), (b"flask\n", b"flask   \n")])
def test_line_ends_and_marks_of_editors_do_not_count(change: tuple[bytes, bytes]) -> None:
    """CRLF, a byte order mark and trailing spaces in comments leave a lock as it is."""
    assert canonicalize_lock(LOCK.replace(*change)) == canonicalize_lock(LOCK)
