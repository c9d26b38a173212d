"""One lock for several platforms: resolved for each of them, and installed on each by another program."""

import platform
import sys
from pathlib import Path

import pytest

from dockyard.errors import DockyardError
from dockyard.locks.check import check_project, lock_path
from dockyard.locks.plan import Wish
from dockyard.process import Command, capture

from .package_index import Index, serving
from .test_locks import RESOLVERS, Yard, stocked, tools, yard

__all__ = ["tools", "yard"]

AMD, ARM = "linux/amd64", "linux/arm64"
MACHINES = {AMD: "x86_64", ARM: "aarch64"}
OTHER = ARM if platform.machine() == "x86_64" else AMD


def varied(python: str) -> Index:
    """Return an index whose packages differ between platforms, by their own markers and by their wheels."""
    index, tag = stocked(), f"cp{python.replace('.', '')}"
    index.add("compass", "1.0")
    index.add("rigging", "1.0", f'compass ; platform_machine == "{MACHINES[OTHER]}"')
    index.add_wheels("keel", "1.0", *(f"{tag}-{tag}-manylinux2014_{machine}" for machine in MACHINES.values()))
    index.add_wheels("keel", "2.0", f"{tag}-{tag}-manylinux2014_{platform.machine()}")
    index.add_wheels("porthole", "3.0", f"{tag}-{tag}-win_amd64")
    index.add("winch", "1.0", 'porthole ; sys_platform == "win32"', "compass")
    return index


def entries(yard: Yard, purpose: str = "production") -> list[str]:
    """Return the pins of a lock with their markers."""
    text = (yard.settings.root / lock_path(yard.settings.python, purpose)).read_text()
    return [line.removesuffix(" \\") for line in text.splitlines() if line[:1].isalpha()]


def installed(yard: Yard, name: str) -> str:
    """Return what uv would install of the lock on a platform by its own reckoning; every hash is checked."""
    command = Command(
        (
            *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--dry-run"),
            *("--no-config", "--no-cache", "--require-hashes", "--no-deps", "--only-binary", ":all:"),
            *("--python-version", yard.settings.python, "--python-platform", name),
            *("--target", str(yard.settings.root.parent / "nothing")),
            *("-r", str(yard.settings.root / lock_path(yard.settings.python, "production"))),
        ),
        cwd=yard.settings.root,
    )
    done = capture(command)
    return done.stdout + done.stderr


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_one_lock_serves_two_platforms(yard: Yard, resolver: str) -> None:
    """A line for one machine, a package's own marker, and a version that one machine has no wheel of."""
    with serving(varied(yard.settings.python)) as index:
        yard.settings = yard.with_settings(resolver=resolver, platforms=(AMD, ARM))
        line = f'speed ; platform_machine == "{MACHINES[OTHER]}"\n'
        yard.write(index, production=f"-r base.in\nserver\nkeel\nrigging\n{line}")
        yard.lock()
        here, there = (f'platform_machine == "{machine}"' for machine in (platform.machine(), MACHINES[OTHER]))
        assert entries(yard) == [
            f"compass==1.0 ; {there}",
            f"keel==1.0 ; {there}",
            f"keel==2.0 ; {here}",
            "rigging==1.0",
            "router==1.5",
            "server==3.0",
            f"speed==1.2.3 ; {there}",
            "webapp==1.1",
        ]
        assert check_project(yard.settings) == ()
        before = yard.tree()
        yard.lock(Wish(everything=True))
        assert yard.tree() == before
        own = installed(yard, f"{platform.machine()}-manylinux_2_28")
        other = installed(yard, f"{MACHINES[OTHER]}-manylinux_2_28")
        assert "keel==2.0" in own
        assert "compass" not in own
        assert "speed" not in own
        assert {"keel==1.0", "compass==1.0", "speed==1.2.3"} <= set(other.split())


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_line_for_another_system_is_kept_with_its_marker(yard: Yard, resolver: str) -> None:
    """./bootstrap installs the lock there: with what the package needs there, and nothing of it here."""
    with serving(varied(yard.settings.python)) as index:
        yard.settings = yard.with_settings(resolver=resolver, hashes="platform", platforms=(AMD,))
        lines = 'winch ; sys_platform == "win32"\nspeed ; sys_platform == "linux"\n'
        yard.write(index, base=f"webapp>=1\n{lines}", production="-r base.in\nserver\n", build="router\n")
        yard.lock()
        windows, linux = 'sys_platform == "win32"', 'sys_platform == "linux"'
        assert entries(yard) == [
            f"compass==1.0 ; {windows}",
            f"porthole==3.0 ; {windows}",
            "router==1.5",
            "server==3.0",
            f"speed==1.2.3 ; {linux}",
            "webapp==1.1",
            f"winch==1.0 ; {windows}",
        ]
        assert check_project(yard.settings) == ()
        assert "porthole" not in installed(yard, "x86_64-manylinux_2_28")
        assert "porthole==3.0" in installed(yard, "windows")


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_machine_is_told_apart_where_no_platforms_are_named(yard: Yard, resolver: str) -> None:
    """A lock for any Linux made on one machine has what another one needs."""
    with serving(varied(yard.settings.python)) as index:
        yard.settings = yard.with_settings(resolver=resolver, platforms=())
        yard.write(index, base=f'webapp\nspeed ; platform_machine == "{MACHINES[OTHER]}"\n')
        yard.lock()
    assert f'speed==1.2.3 ; platform_machine == "{MACHINES[OTHER]}"' in entries(yard)


@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_hash_in_an_input_is_the_only_one_in_the_lock(yard: Yard, resolver: str) -> None:
    """Of a wheel and a source archive the one that is named."""
    with serving(stocked()) as index:
        wheel = next(file for file in index.files if file.name == "router-1.5-py3-none-any.whl")
        yard.write(index, base=f"webapp\nrouter==1.5 --hash=sha256:{wheel.digest}\n")
        yard.lock(resolver=resolver)
        assert yard.pins("production")["router"].hashes == (f"sha256:{wheel.digest}",)
        yard.write(index, base=f"webapp\nrouter==1.5 --hash=sha256:{'0' * 64}\n")
        before = yard.tree()
        with pytest.raises(DockyardError):
            yard.lock(resolver=resolver)
        assert yard.tree() == before
