"""What the engine changes in the network of its host: a bridge, and the firewall rules that a stopped engine leaves.

The bridge is made with ioctls, in address space that nobody else uses: they need no iproute2, which a bare machine
does not have. For the firewall, `iptables-save` before and after go in, and a script comes out.
"""

import contextlib
import ipaddress
import re
import shlex
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fcntl import ioctl
from ipaddress import IPv4Network, ip_network
from itertools import pairwise
from pathlib import Path

from dockyard.errors import EngineError

ADD_BRIDGE, DELETE_BRIDGE = 0x89A0, 0x89A1
SET_FLAGS, SET_ADDRESS, SET_NETMASK, SET_HARDWARE_ADDRESS = 0x8914, 0x8916, 0x891C, 0x8924
ETHERNET = 1
UP, MULTICAST = 0x1, 0x1000
USUAL_MTU = 1500
INSTEAD = "install Docker Engine with buildx and Compose, or set DOCKER_HOST to one that you can reach"
BLOCK = 17
"""Prefix length of the address space one engine takes: a /24 for its bridge and 64 more for networks."""
Network = IPv4Network | ipaddress.IPv6Network
PRIVATE = ("172.16.0.0/12", "10.0.0.0/8", "192.168.0.0/16")


@dataclass(frozen=True)
class Addresses:
    """The engine's address space: the default bridge's network, and where other networks are taken from."""

    bridge: IPv4Network
    pool: IPv4Network

    @property
    def gateway(self) -> str:
        """The bridge's own address."""
        return str(self.bridge[1])


def choose_addresses(list_taken: Iterable[IPv4Network]) -> Addresses:
    """Return the last free block of the private ranges, where other programs look last; raise EngineError (pure)."""
    list_taken = tuple(list_taken)
    for private in map(IPv4Network, PRIVATE):
        for block in reversed(list(private.subnets(new_prefix=BLOCK))):
            if not any(block.overlaps(other) for other in list_taken):
                low, high = block.subnets(prefixlen_diff=1)
                return Addresses(next(low.subnets(new_prefix=24)), high)
    raise EngineError("no private network is free for containers: routes take all of them", INSTEAD)


def parse_routes(table: str) -> Iterator[tuple[str, IPv4Network]]:
    """Yield interface and destination of each route in the text of /proc/net/route."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 7:
            address, mask = (struct.pack("=I", int(columns[index], 16)) for index in (1, 7))
            yield columns[0], IPv4Network((address, int.from_bytes(mask).bit_count()), strict=False)


def parse_name_servers(text: str) -> Iterator[IPv4Network]:
    """Yield the IPv4 name servers in the text of resolv.conf, as networks of one address."""
    for found in re.finditer(r"(?m)^\s*nameserver\s+(\S+)", text):
        with contextlib.suppress(ValueError):
            yield IPv4Network(ipaddress.IPv4Address(found[1]))


def list_taken() -> tuple[IPv4Network, ...]:
    """Return every network that this host routes to or asks for names; a default route takes nothing."""
    known = [network for _, network in parse_routes(read_text("/proc/net/route")) if network.prefixlen]
    return (*known, *parse_name_servers(read_text("/etc/resolv.conf")))


def mtu() -> int:
    """Return the packet size of the default route, which tunnels and clouds make smaller than usual."""
    for interface, network in parse_routes(read_text("/proc/net/route")):
        if network.prefixlen == 0:
            return min(USUAL_MTU, int(read_text(f"/sys/class/net/{interface}/mtu") or USUAL_MTU))
    return USUAL_MTU


def list_interfaces() -> tuple[str, ...]:
    """Return the names of the network interfaces of our own network namespace."""
    return tuple(name for _, name in socket.if_nameindex())


def free_name(existing: Iterable[str]) -> str:
    """Return dockyard0, or the next number that is free."""
    used = set(existing)
    return next(name for number in range(len(used) + 1) if (name := f"dockyard{number}") not in used)


def make_bridge(name: str, addresses: Addresses) -> None:
    """Make a bridge, give it its address and bring it up; raise OSError with nothing left behind."""
    with _control() as control:
        ioctl(control, ADD_BRIDGE, name.encode() + b"\0")
        try:
            ioctl(control, SET_ADDRESS, _address_request(name, addresses.gateway))
            ioctl(control, SET_NETMASK, _address_request(name, str(addresses.bridge.netmask)))
            # A bridge without one of its own takes the lowest of its containers' hardware addresses, another one as
            # they come and go: those that run then send to an address that is gone, for up to half a minute.
            own = b"\x02\x42", socket.inet_aton(addresses.gateway)  # locally administered
            ioctl(control, SET_HARDWARE_ADDRESS, struct.pack("16sH2s4s18x", name.encode(), ETHERNET, *own))
            ioctl(control, SET_FLAGS, struct.pack("16sh22x", name.encode(), UP | MULTICAST))
        except OSError:
            ioctl(control, DELETE_BRIDGE, name.encode() + b"\0")
            raise


def delete_bridge(name: str) -> None:
    """Delete a bridge; nothing happens where there is none of that name."""
    with _control() as control, contextlib.suppress(OSError):
        ioctl(control, SET_FLAGS, struct.pack("16sh22x", name.encode(), 0))
        ioctl(control, DELETE_BRIDGE, name.encode() + b"\0")


def read_bridges(database: Path) -> set[str]:
    """Return the bridges that a daemon noted in its network database, so that a killed one's are known too."""
    return set(re.findall(r'"BridgeName":"([A-Za-z0-9_.-]{1,15})"', read_text(database)))


def _control() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _address_request(name: str, address: str) -> bytes:
    return struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, socket.inet_aton(address))


def read_text(file: str | Path) -> str:
    """Return what is in a file, or '' where it cannot be read: not every kernel has every one."""
    try:
        return Path(file).read_text("utf-8", "replace")
    except OSError:
        return ""


def parse_rules(saved: str) -> dict[str, Counter[str]]:
    """Return what iptables-save prints for each table: its rules, and its chains with their policies, as it has them.

    They are counted, because a table may hold the same rule more than once; the numbers of packets are left out.
    """
    tables: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    for line in saved.splitlines():
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), Counter())
        elif line.startswith((":", "-A ")):
            current[re.sub(r" \[\d+:\d+\]$", "", line)] += 1
    return tables


def undo_rules(saved: str, said: str, bridges: frozenset[str], *, shared: bool = False) -> str:
    """Return the input for `iptables-restore --noflush` that takes away what the engine added, or ''.

    Ours are Docker's chains that were not there before, the rules that lead to them, and the rules for our bridges.
    Rules that stood before, and rules of others, stay; with `shared` another engine still uses Docker's chains.
    """
    before, now = parse_rules(saved), parse_rules(said)
    subnets = tuple(_subnets(now.get("nat", ()), bridges))
    script = []
    for name, table in now.items():
        added = table - before.get(name, Counter())
        chains = [] if shared else [found[1] for line in added if (found := re.match(r":(DOCKER\S*) ", line))]
        if any(line.startswith("-A DOCKER-USER ") and line != "-A DOCKER-USER -j RETURN" for line in table):
            chains = [chain for chain in chains if chain != "DOCKER-USER"]  # people put rules of their own there
        lines = [
            f"-D{line[2:]}"
            for line in added.elements()
            if line.startswith("-A ")
            and line.split()[1] not in chains
            and _is_ours(line, bridges, subnets, shared=shared)
        ]
        lines += [f"{verb} {chain}" for verb in ("-F", "-X") for chain in chains]
        if not shared and ":FORWARD DROP" in added:
            lines.append("-P FORWARD ACCEPT")
        if lines:
            script += [f"*{name}", *lines, "COMMIT"]
    return "".join(f"{line}\n" for line in script)


def _is_ours(rule: str, bridges: frozenset[str], subnets: Iterable[Network], *, shared: bool) -> bool:
    words = _words(rule)
    if not shared and words.get("-j", "").startswith("DOCKER"):
        return True
    if not bridges.isdisjoint((words.get("-i", ""), words.get("-o", ""))):
        return True
    addresses = [ip_network(words[option], strict=False) for option in ("-s", "-d") if option in words]
    return any(address.overlaps(subnet) for address in addresses for subnet in subnets)


def _subnets(rules: Iterable[str], bridges: frozenset[str]) -> Iterator[Network]:
    """Yield the networks that are masqueraded for our bridges: rules for single containers name no bridge."""
    for rule in rules:
        words = _words(rule)
        if words.get("-A") == "POSTROUTING" and words.get("-o") in bridges and "/" in words.get("-s", ""):
            yield ip_network(words["-s"], strict=False)


def _words(rule: str) -> dict[str, str]:
    return dict(pairwise(shlex.split(rule)))
