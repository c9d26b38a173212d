"""The markers of a lock: where it is resolved, and where a pin counts."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.markers import Marker

from dockyard.locks.inputs import InputError, parse_input
from dockyard.locks.markers import HERE, Selection, holds_on, list_environments, select_environments, write_marker

AMD, ARM, RISC = "linux/amd64", "linux/arm64", "linux/riscv64"


def select(*lines: str, platforms: Sequence[str] = ()) -> Selection:
    """Return where a lock for Python 3.13 with these lines is resolved."""
    return select_environments([parse_input("requirements/test.in", "\n".join(lines).encode())], "3.13", platforms)


@pytest.mark.parametrize(
    ("line", "platforms", "needed", "perhaps"),
    [
        pytest.param("flask", (), (HERE,), (AMD, ARM), id="no marker"),
        pytest.param("flask", (AMD, ARM), (AMD,), (ARM,), id="no marker, platforms"),
        pytest.param("a; python_version < '3.12'", (), (HERE,), (AMD, ARM), id="decided by the Python"),
        pytest.param("a; implementation_name == 'cpython'", (), (HERE,), (AMD, ARM), id="CPython"),
        pytest.param("a; platform_machine == 'aarch64'", (), (AMD, ARM), (), id="machine"),
        pytest.param("a; platform_machine == 'aarch64'", (AMD, ARM, RISC), (AMD, ARM), (RISC,), id="one of three"),
        pytest.param("a; platform_machine == 'aarch64'", (ARM,), (ARM, "macos/arm64", "windows/amd64"), (), id="all"),
        pytest.param("a; sys_platform == 'linux'", (AMD,), (AMD, "macos/arm64", "windows/amd64"), (), id="Linux"),
        pytest.param("a; sys_platform != 'win32'", (AMD,), (AMD, "windows/amd64"), (), id="not Windows"),
        pytest.param("a; os_name == 'nt'", (AMD,), (AMD, "windows/amd64"), (), id="Windows"),
        pytest.param("a; platform_system == 'Darwin'", (AMD,), (AMD, "macos/arm64"), (), id="macOS"),
        pytest.param(
            "a; sys_platform == 'darwin' and platform_machine == 'x86_64'", (AMD,), (AMD, "macos/amd64"), (), id="a Mac"
        ),
        pytest.param("a @ https://h/a.whl ; os_name == 'nt'", (AMD,), (AMD, "windows/amd64"), (), id="address"),
        pytest.param("https://h/a-1-py3-none-any.whl ; os_name == 'nt'", (AMD,), (AMD, "windows/amd64"), (), id="bare"),
        pytest.param("a==1 ; os_name == 'nt' --hash=sha256:" + "0" * 64, (AMD,), (AMD, "windows/amd64"), (), id="hash"),
    ],
)
def test_a_lock_is_resolved_where_its_inputs_say_something_else(
    line: str, platforms: tuple[str, ...], needed: tuple[str, ...], perhaps: tuple[str, ...]
) -> None:
    """Each kind of marker: decided by the Python, or resolved per platform."""
    found = select("click", line, platforms=platforms)
    assert (found.needed, found.perhaps) == (needed, perhaps)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("a; platform_release >= '6'", "platform_release differs between hosts"),
        ("a; 'Ubuntu' in platform_version", "platform_version differs between hosts"),
        ("a; python_full_version < '3.13.4'", "holds for some releases of Python 3.13 only"),
        ("a; os_name ~= 'nt'", "Undefined"),
        ("a b", "not a requirement: 'a b'"),
        ("a; os_nam == 'nt'", "not a requirement"),
        ("a>=", "not a requirement"),
    ],
)
def test_a_marker_that_no_lock_can_keep_is_refused(line: str, wrong: str) -> None:
    """Nothing is left out without a word: the line, the reason and the way out."""
    with pytest.raises(InputError) as caught:
        select("click", line, platforms=(AMD, ARM))
    assert caught.value.problem.line == 2
    assert wrong in caught.value.problem.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "a; platform_machine == 'armv7l'",
        "a; sys_platform == 'freebsd14'",
        "a==1; platform_python_implementation == 'PyPy' --hash=sha256:" + "0" * 64,
        "a; extra == 'test'",
    ],
)
def test_a_marker_that_holds_nowhere_is_told_and_passed_over(line: str, caplog: pytest.LogCaptureFixture) -> None:
    """What another tool exported is taken as it is: no platform is resolved for such a line, and it is not silent."""
    with caplog.at_level("WARNING", logger="dockyard"):
        assert select("click", line, platforms=(AMD, ARM)) == select("click", platforms=(AMD, ARM))
    assert caplog.messages[0].startswith("requirements/test.in:2: a")
    assert "is in no lock: its marker holds nowhere that locks are made for (linux/amd64" in caplog.messages[0]


def test_a_machine_that_the_settings_name_is_resolved_for() -> None:
    """What nobody else builds for is a platform like any other."""
    assert select("a; platform_machine == 's390x'", platforms=(AMD, "linux/s390x")).needed == (AMD, "linux/s390x")


names = sorted(list_environments((AMD, ARM, RISC)))


@given(st.lists(st.sampled_from(names), min_size=1, unique=True), st.data())
def test_a_marker_holds_exactly_where_it_should(among: list[str], data: st.DataObject) -> None:
    """For every choice among every set of environments: in those, and in no other."""
    chosen = data.draw(st.lists(st.sampled_from(among), min_size=1, unique=True))
    known = list_environments((AMD, ARM, RISC))
    marker = Marker(write_marker(chosen, among, (AMD, ARM, RISC))) if set(chosen) != set(among) else None
    for name in among:
        assert (marker is None or marker.evaluate(known[name].markers)) == (name in chosen)


def test_a_pin_counts_on_a_platform() -> None:
    """As an installer on that platform reads its marker."""
    assert holds_on("", ARM, "3.13")
    assert holds_on('platform_machine == "aarch64"', "linux/arm64/v8", "3.13")
    assert not holds_on('sys_platform == "win32"', ARM, "3.13")
