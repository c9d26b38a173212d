"""What counts in requirements files and locks, and what does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_lock_is_read_the_same_way_quickly_and_slowly() -> None:
    """The quick way for a lock as Dockyard writes it gives what the careful way gives for any other layout."""
    careful = canonicalize_lock(LOCK.replace(b"    --hash", b"\t--hash"))
    assert canonicalize_lock(LOCK) == careful
    assert careful.splitlines()[0] == "click==8.5.1 --hash=sha256:aa --hash=sha256:bb"


def test_a_comment_cannot_swallow_a_hash() -> None:
    """Pip does not continue a comment, so a hash after one stands for itself."""
    assert canonicalize_lock(b"x==1\n# a \\\n    --hash=sha256:bb\n") == "x==1\n--hash=sha256:bb"


@given(st.integers(0, len(LOCK)), st.sampled_from(["", " ", "\\", "#", "\n", "x", "\t", "\r", "\x0c", "    --hash="]))
def test_every_edit_of_a_lock_reads_as_pip_would_read_it(at: int, inserted: str) -> None:
    """With anything put anywhere, both ways of reading agree; the careful one is pip's."""
    edited = LOCK.decode()[:at] + inserted + LOCK.decode()[at:]
    lines = [" ".join(line.text.split()) for line in logical_lines(edited.replace("\r\n", "\n"))]
    assert [" ".join(line.split()) for line in canonicalize_lock(edited.encode()).split("\n")] == lines


@pytest.mark.parametrize("change", [(b"\n", b"\r\n"), (b"# body", b"\xef\xbb\xbf# body"), (b"flask\n", b"flask   \n")])
def test_line_ends_and_marks_of_editors_do_not_count(change: tuple[bytes, bytes]) -> None:
    """CRLF, a byte order mark and trailing spaces in comments leave a lock as it is."""
    assert canonicalize_lock(LOCK.replace(*change)) == canonicalize_lock(LOCK)
