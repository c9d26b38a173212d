"""Say why a package is locked: the chains of requirements that lead to it (pure)."""

from collections.abc import Iterator, Mapping

from dockyard.locks.pins import Pin, canonical_name


def chains(name: str, pins: Mapping[str, Pin]) -> tuple[tuple[str, ...], ...]:
    """Return every shortest way from an input to a package: ('requirements/base.in', 'flask', 'click').

    `pins` is one lock by package name. Of two ways from one input the shorter counts.
    """
    found: dict[str, tuple[str, ...]] = {}
    level: list[tuple[str, ...]] = [(canonical_name(name),)]
    seen = {canonical_name(name)}
    while level:
        following: list[tuple[str, ...]] = []
        for chain in level:
            for asker in _askers(chain[0], pins):
                if asker.startswith("-"):
                    found.setdefault(asker[3:], (asker[3:], *chain))
                elif asker not in seen:
                    seen.add(asker)
                    following.append((asker, *chain))
        level = following
    return tuple(found[start] for start in sorted(found))


def _askers(name: str, pins: Mapping[str, Pin]) -> Iterator[str]:
    if name in pins:
        yield from pins[name].via
