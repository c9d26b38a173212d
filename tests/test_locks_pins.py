"""Pins: read from what compilers write, merged from several environments, written in one form."""

from hypothesis import given
from hypothesis import strategies as st

from dockyard.locks.inputs import canonicalize_lock, logical_lines, parse_input
from dockyard.locks.markers import select_environments
from dockyard.locks.pins import Pin, merge_pins, parse_pins, render_pins

AMD, ARM, RISC = "linux/amd64", "linux/arm64", "linux/riscv64"
BY_PIP_TOOLS = """\
blinker==1.9.0 \\
    --hash=sha256:bb \\
    --hash=sha256:aa
    # via
    #   -c production.agreed
    #   flask
coverage[toml]==7.1 ; python_version >= "3.9" \\
    --hash=sha256:cc
    # via -r requirements/test.in (line 2)
tool @ https://host/tool.zip \\
    --hash=sha256:dd
    # via -r requirements/test.in

# The following packages are considered to be unsafe in a requirements file:
Setup_Tools==84 \\
    --hash=sha256:ee
    # via
    #   Pip.Tools
    #   wheel
"""


def test_what_pip_tools_writes_is_read_and_put_in_one_form() -> None:
    """Extras and constraints go, markers stay, names become canonical, hashes are sorted, no package stands apart."""
    assert parse_pins(BY_PIP_TOOLS) == (
        Pin("blinker", "1.9.0", ("sha256:aa", "sha256:bb"), ("flask",), line=1),
        Pin("coverage", "7.1", ("sha256:cc",), ("-r requirements/test.in",), line=7, marker='python_version >= "3.9"'),
        Pin("setup-tools", "84", ("sha256:ee",), ("pip-tools", "wheel"), line=15),
        Pin("tool", "", ("sha256:dd",), ("-r requirements/test.in",), "https://host/tool.zip", line=10),
    )


def test_a_lock_with_both_sides_of_a_merge_keeps_the_first() -> None:
    """Marks of a conflict are passed over, and a package that is there twice counts once."""
    text = "<<<<<<< ours\na==1 \\\n    --hash=sha256:aa\n=======\na==2 \\\n    --hash=sha256:bb\n>>>>>>> theirs\n"
    assert [pin.requirement for pin in parse_pins(text)] == ["a==1"]


def test_a_package_called_via() -> None:
    """It may ask for others as any package may: alone, or in a list of askers."""
    for askers in (("via",), ("a", "via")):
        (pin,) = parse_pins(render_pins((), [Pin("b", "1", ("sha256:00",), askers)]))
        assert pin.via == askers


names = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True)
digests = st.lists(st.from_regex(r"sha256:[0-9a-f]{8}", fullmatch=True), min_size=1, max_size=4, unique=True)
pins = st.builds(
    lambda name, version, hashes, via: Pin(name, version, tuple(sorted(hashes)), tuple(sorted(via))),
    names,
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True),
    digests,
    st.sets(names | st.just("-r requirements/base.in"), max_size=3),
)


@given(st.lists(pins, max_size=6, unique_by=lambda pin: pin.name))
def test_what_is_written_is_read_back(written: list[Pin]) -> None:
    """Writing and reading pins loses nothing, and pip sees one line for each."""
    text = render_pins((), written)
    assert [pin._replace(line=0) for pin in parse_pins(text)] == sorted(written)
    assert len(list(logical_lines(text))) == len(written)
    assert canonicalize_lock(text.encode()).count("--hash=") == sum(len(pin.hashes) for pin in written)


def test_options_come_first() -> None:
    """A lock from another index says so before its pins, as the input does."""
    assert render_pins(["--index-url https://host/simple"], [Pin("a", "1", ("sha256:aa",), ())]) == (
        "--index-url https://host/simple\na==1 \\\n    --hash=sha256:aa\n"
    )


def pin(name: str, version: str = "1") -> Pin:
    """Return a pin that an input asks for."""
    return Pin(name, version, (f"sha256:{version}",), ("-r requirements/test.in",))


def test_pins_that_differ_get_markers() -> None:
    """What is the same everywhere stands without one; versions may differ; hashes and askers are put together."""
    found = {AMD: [pin("a"), pin("b")], ARM: [pin("a"), pin("b", "2"), pin("c")]}
    merged = merge_pins(found, (AMD, ARM, RISC), {})
    assert [(each.requirement, each.marker) for each in merged] == [
        ("a==1", ""),
        ("b==1", 'platform_machine == "x86_64" or platform_machine == "riscv64"'),
        ("b==2", 'platform_machine == "aarch64"'),
        ("c==1", 'platform_machine == "aarch64"'),
    ]
    read = parse_pins(render_pins((), merged))
    assert {each.line_text for each in read} == {each.line_text for each in merged}


def test_a_system_that_shares_the_pins_of_linux_keeps_them() -> None:
    """`uvloop ; sys_platform != "win32"` is resolved for Windows alone, and still counts on a Mac."""
    wanted = parse_input("requirements/test.in", b"uvloop; sys_platform != 'win32'")
    selected = select_environments([wanted], "3.13", (AMD,))
    merged = merge_pins({AMD: [pin("uvloop")], "windows/amd64": []}, (AMD,), selected.same)
    assert [each.marker for each in merged] == ['sys_platform != "win32"']
