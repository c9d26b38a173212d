"""Which firewall rules a stopped engine leaves behind: `iptables-save` before and after in, a script out."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from itertools import pairwise


@dataclass
class Table:
    """One table as iptables-save prints it: chain names with their policies, and rules as (chain, rest)."""

    policies: dict[str, str] = field(default_factory=dict)
    rules: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Cleanup:
    """What is known when an engine has stopped; `shared` says that another engine still uses Docker's chains."""

    before: str
    now: str
    bridges: frozenset[str]
    shared: bool = False


def parse(saved: str) -> dict[str, Table]:
    """Return the tables in the text that iptables-save prints."""
    tables: dict[str, Table] = {}
    current = Table()
    for line in saved.splitlines():
        if line.startswith("*"):
            current = tables.setdefault(line[1:].strip(), Table())
        elif found := re.match(r":(\S+) (\S+)", line):
            current.policies[found[1]] = found[2]
        elif found := re.match(r"-A (\S+) ?(.*)", line):
            current.rules.append((found[1], found[2]))
    return tables


def undo(cleanup: Cleanup) -> str:
    """Return the input for `iptables-restore --noflush` that takes away what the engine added, or ''.

    Ours are Docker's chains that were not there before, the rules that lead to them, and the rules for our
    bridges. Rules that stood before, and rules of others, stay.
    """
    before, now = parse(cleanup.before), parse(cleanup.now)
    subnets = frozenset(_subnets(now, cleanup.bridges))
    script = []
    for name, table in now.items():
        lines = tuple(_undo_table(before.get(name, Table()), table, cleanup, subnets))
        if lines:
            script += [f"*{name}", *lines, "COMMIT"]
    return "".join(f"{line}\n" for line in script)


def keep(saved: str) -> str:
    """Return the part of a saved firewall that `undo` compares with: policies and Docker's own chains and rules."""
    wanted = (line for line in saved.splitlines() if line[:1] in {"*", ":"} or "DOCKER" in line or line == "COMMIT")
    return "".join(f"{line}\n" for line in wanted)


def _undo_table(before: Table, now: Table, cleanup: Cleanup, subnets: frozenset[str]) -> Iterator[str]:
    doomed = () if cleanup.shared else tuple(_doomed(before, now))
    known = Counter(before.rules)
    for chain, rule in now.rules:
        known[chain, rule] -= 1
        if known[chain, rule] >= 0 or chain in doomed:
            continue
        if _is_ours(rule, cleanup, subnets):
            yield f"-D {chain} {rule}"
    yield from (f"-F {chain}" for chain in doomed)
    yield from (f"-X {chain}" for chain in doomed)
    policy = before.policies.get("FORWARD", "ACCEPT")
    if not cleanup.shared and now.policies.get("FORWARD", policy) != policy:
        yield f"-P FORWARD {policy}"


def _doomed(before: Table, now: Table) -> Iterator[str]:
    for chain in now.policies:
        if chain.startswith("DOCKER") and chain not in before.policies:
            rules = [rule for owner, rule in now.rules if owner == chain]
            if chain != "DOCKER-USER" or rules in ([], ["-j RETURN"]):
                yield chain


def _is_ours(rule: str, cleanup: Cleanup, subnets: frozenset[str]) -> bool:
    words = _words(rule)
    if not cleanup.shared and words.get("-j", "").startswith("DOCKER"):
        return True
    if not cleanup.bridges.isdisjoint((words.get("-i", ""), words.get("-o", ""))):
        return True
    return any(_within(words.get(option, ""), subnets) for option in ("-s", "-d"))


def _subnets(tables: dict[str, Table], bridges: frozenset[str]) -> Iterator[str]:
    """Yield the networks that are masqueraded for our bridges: rules for single containers name no bridge."""
    for chain, rule in tables.get("nat", Table()).rules:
        words = _words(rule)
        if chain == "POSTROUTING" and words.get("-o") in bridges and "/" in words.get("-s", ""):
            yield words["-s"]


def _within(address: str, subnets: Iterable[str]) -> bool:
    try:
        asked = ip_network(address, strict=False)
    except ValueError:
        return False
    return any(asked.version == network.version and asked.overlaps(network) for network in map(ip_network, subnets))


def _words(rule: str) -> dict[str, str]:
    words = shlex.split(rule)
    return dict(pairwise(words))
