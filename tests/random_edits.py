"""Random edits of files that people write: what is left must give a result or a clear error, whatever it is.

Every edit has a number, so that one that fails can be made again alone.
"""

import random
from collections.abc import Iterator, Sequence


def edit_texts(seeds: Sequence[bytes], pieces: Sequence[bytes], count: int) -> Iterator[tuple[int, bytes]]:
    """Yield numbered texts: a seed from which something was taken, or to which a piece or any byte was added."""
    for number in range(count):
        chance = random.Random(number)
        text = chance.choice(seeds)
        for _ in range(chance.randint(1, 4)):
            text = _edit(chance, text, pieces)
        yield number, text


def _edit(chance: random.Random, text: bytes, pieces: Sequence[bytes]) -> bytes:
    at = chance.randint(0, len(text))
    end = min(len(text), at + chance.randint(1, 30))
    kinds = (
        text[:at] + chance.choice(pieces) + text[at:],
        text[:at] + text[end:],
        text[:at] + text[at:end] * 2 + text[end:],
        text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :],
        text[:at],
    )
    return chance.choices(kinds, weights=(6, 3, 2, 2, 1))[0]
