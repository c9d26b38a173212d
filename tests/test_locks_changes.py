"""What changed between two sets of locks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockyard.locks.pins import Pin
from dockyard.locks.plan import Change, classify_step, compare_locks


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("1.2.3", "2.0.0", "major"),
        ("1.2.3", "1.3.0", "minor"),
        ("1.2.3", "1.2.4", "patch"),
        ("1.2", "1.2.1", "patch"),
        ("1.2.3.4", "1.2.3.5", "patch"),
        ("1.2.4", "1.2.3", "patch back"),
        ("1.0rc1", "1.0", "other"),
        ("1.0", "1.0.0.post1", "other"),
        ("2024.1", "1!1.0", "major"),
        ("https://h/a.zip", "1.0", "other"),
        ("", "1.0", "added"),
        ("1.0", "", "removed"),
    ],
)
def test_a_step_has_a_size(before: str, after: str, expected: str) -> None:
    """The first number that differs says how far a step goes, and whether it goes back."""
    assert classify_step(before, after) == expected


def test_one_step_in_many_locks_is_one_change() -> None:
    """Locks that take the same step share a row; who asks for it is gathered from all of them."""
    old = {"a.txt": [Pin("x", "1.0", (), ("p",))], "b.txt": [Pin("x", "1.0", (), ("q",))], "c.txt": []}
    new = {
        "a.txt": [Pin("x", "1.1", (), ("p",))],
        "b.txt": [Pin("x", "1.1", (), ("q",))],
        "c.txt": [Pin("y", "2", (), ())],
    }
    assert compare_locks(old, new) == (
        Change("x", "1.0", "1.1", ("a.txt", "b.txt"), ("p", "q")),
        Change("y", "", "2", ("c.txt",), ()),
    )
    assert [each.step for each in compare_locks(old, new)] == ["minor", "added"]
    assert compare_locks(new, old)[-1].step == "removed"


@given(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["1", "2"]))))
def test_nothing_differs_from_itself(versions: dict[str, dict[str, str]]) -> None:
    """Locks compared with themselves have no change."""
    pins = {path: [Pin(name, version, (), ()) for name, version in held.items()] for path, held in versions.items()}
    assert compare_locks(pins, pins) == ()
