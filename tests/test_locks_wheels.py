"""Which hashes a lock keeps for certain platforms, and what it says is built from source."""

import os
import platform as running
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import parse_tag, sys_tags
from packaging.utils import parse_wheel_filename

from dockyard.errors import DockyardError
from dockyard.locks.pins import Pin, list_tags, narrow_hashes

AMD, ARM, RISC = "linux/amd64", "linux/arm64", "linux/riscv64"
SDIST = "sail-1.0.tar.gz"
PLATFORMS = {
    AMD: ["manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64", "manylinux_2_36_x86_64"],
    ARM: ["manylinux_2_17_aarch64.manylinux2014_aarch64", "manylinux_2_34_aarch64"],
    RISC: ["manylinux_2_31_riscv64"],
}
FITTING = ["cp313-cp313", "cp38-abi3", "cp313-none", "py3-none", "cp313-abi3"]
ELSEWHERE = ["musllinux_1_2_x86_64", "win_amd64", "macosx_11_0_arm64", "manylinux_2_37_x86_64", "manylinux1_aarch64"]
OTHER_PYTHONS = ["cp312-cp312", "cp313-cp313t", "cp314-abi3", "pp311-pypy311_pp73", "py2-none"]


def wheel(tag: str) -> str:
    """Return the name of a wheel with a tag."""
    return f"sail-1.0-{tag}.whl"


def narrow(names: Sequence[str], *platforms: str) -> tuple[set[str], list[str]]:
    """Return which of some files a lock for Python 3.13 keeps, and what it has built."""
    files = {f"sha256:{number}": name for number, name in enumerate(names)}
    pin = Pin("sail", "1.0", tuple(files), ())
    kept, sources = narrow_hashes([pin], files, "2.36", "3.13", platforms)
    assert [each._replace(hashes=()) for each in kept] == [pin._replace(hashes=())]
    return {files[digest] for digest in kept[0].hashes}, sources


fitting = {
    platform: st.builds(
        lambda python, name: wheel(f"{python}-{name}"), st.sampled_from(FITTING), st.sampled_from(names)
    )
    for platform, names in PLATFORMS.items()
}
unfitting = st.one_of(
    st.builds(lambda python, name: wheel(f"{python}-{name}"), st.sampled_from(FITTING), st.sampled_from(ELSEWHERE)),
    st.builds(
        lambda python, name: wheel(f"{python}-{name}"),
        st.sampled_from(OTHER_PYTHONS),
        st.sampled_from(["manylinux_2_17_x86_64", "manylinux_2_17_aarch64", "any"]),
    ),
    st.sampled_from(["sail-1.0-py3.13.egg", "sail-1.0.win-amd64.exe", "sail.whl", ""]),
)
anywhere = st.sampled_from([wheel("py3-none-any"), wheel("py2.py3-none-any"), wheel("cp313-none-any")])
offers = st.lists(st.one_of(*fitting.values(), unfitting, anywhere, st.just(SDIST)), unique=True)
chosen = st.lists(st.sampled_from([AMD, ARM, RISC]), min_size=1, unique=True)


@given(names=offers, platforms=chosen)
def test_what_is_kept_is_what_a_platform_installs_or_must_build(names: list[str], platforms: list[str]) -> None:
    """Exactly the wheels whose tags meet those of a platform; the sdist too where a platform has no wheel."""
    known = {platform: list_tags("3.13", platform, "2.36") for platform in platforms}

    def installs(name: str, platform: str) -> bool:
        well_named = name.endswith(".whl") and name.count("-") >= 4
        return well_named and not known[platform].isdisjoint(parse_wheel_filename(name)[3])

    lacking = [platform for platform in platforms if not any(installs(name, platform) for name in names)]
    if lacking and SDIST not in names:
        with pytest.raises(DockyardError, match=f"neither a wheel for Python 3.13 on {lacking[0]}"):
            narrow(names, *platforms)
        return
    kept, sources = narrow(names, *platforms)
    wheels = {name for name in names if any(installs(name, platform) for platform in platforms)}
    assert kept == wheels | ({SDIST} if lacking else set())
    assert sources == ([f"sail on {', '.join(lacking)}"] if lacking else [])


@pytest.mark.parametrize("platform", [AMD, ARM, RISC])
@given(data=st.data(), noise=st.lists(unfitting, unique=True))
def test_the_only_file_that_installs_is_never_dropped(platform: str, data: st.DataObject, noise: list[str]) -> None:
    """Among whatever else an index offers, and nothing of that is kept."""
    only = data.draw(st.one_of(fitting[platform], anywhere))
    assert narrow([*noise, only, SDIST], platform) == ({only}, [])


@given(names=offers, platforms=chosen)
def test_to_narrow_again_changes_nothing(names: list[str], platforms: list[str]) -> None:
    """A lock made from what a lock holds is that lock."""
    kept, sources = narrow([*names, SDIST], *platforms)
    assert narrow(sorted(kept), *platforms) == (kept, sources)


@given(names=offers, platforms=chosen)
def test_a_platform_more_takes_no_hash_away(names: list[str], platforms: list[str]) -> None:
    """What one platform installs does not depend on the others."""
    whole = narrow([*names, SDIST], *platforms)[0]
    assert set().union(*(narrow([*names, SDIST], platform)[0] for platform in platforms)) == whole


def test_this_interpreter_installs_what_the_tags_say() -> None:
    """They are those that packaging finds for a running CPython, in every order."""
    machine = {"x86_64": AMD, "aarch64": ARM}.get(running.machine())
    if machine is None or sys.abiflags or running.libc_ver()[0] != "glibc":
        pytest.skip("another machine, C library or kind of Python")
    glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1]
    python = ".".join(map(str, sys.version_info[:2]))
    assert list_tags(python, machine, glibc) == frozenset(sys_tags())


@pytest.mark.parametrize(
    ("platform", "tag"),
    [
        ("linux/amd64/v3", "cp313-cp313-manylinux1_x86_64"),
        ("linux/arm64/v8", "cp313-cp313-manylinux2014_aarch64"),
        ("linux/arm/v7", "cp313-cp313-manylinux2014_armv7l"),
        ("linux/arm/v6", "cp313-cp313-linux_armv6l"),
        ("linux/386", "cp313-cp313-manylinux2010_i686"),
        ("linux/ppc64le", "cp313-cp313-manylinux_2_28_ppc64le"),
        ("linux/s390x", "cp313-cp313-manylinux2014_s390x"),
    ],
)
def test_a_platform_has_a_machine(platform: str, tag: str) -> None:
    """Docker's names of machines are others than Python's."""
    assert parse_tag(tag) <= list_tags("3.13", platform, "2.36")


def test_what_cannot_be_installed_is_named_with_a_way_out() -> None:
    """Package, platform, Python, and what to do."""
    with pytest.raises(DockyardError) as caught:
        narrow([wheel("cp313-cp313-manylinux_2_17_x86_64")], AMD, ARM)
    assert caught.value.message == ("sail==1.0 has neither a wheel for Python 3.13 on linux/arm64 nor a source archive")
    assert "take linux/arm64 out of platforms" in caught.value.hint


def test_another_c_library_is_refused() -> None:
    """Without glibc no manylinux wheel fits, and nobody says which others do."""
    with pytest.raises(DockyardError, match="no glibc"):
        narrow_hashes([], {}, "", "3.13", (AMD,))
