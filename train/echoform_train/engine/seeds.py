"""Seeds of random generators made from several numbers."""

from __future__ import annotations

from collections.abc import Sequence

from echoform_train.engine.errors import UserError

_MASK = (1 << 64) - 1


def mix_seed(*numbers: int) -> int:
    """Mix several numbers into one seed, so that neighbouring numbers give unrelated streams of noise.

    torch's CPU generator reads only the lowest 32 bits of a seed, so sums or shifts of counters would collide or be cut
    off.

    Args:
        numbers: Any integers, for example the seed of a run and a counter; their order matters.

    Returns:
        A seed in 0..2^32 - 1.

    Source: the output function of splitmix64 for each number (Steele et al., OOPSLA 2014).
    """
    state = 0x632BE59BD9B4E019
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 32


def check_different(flag: str, seeds: Sequence[int]) -> None:
    """Refuse a seed that is given twice: it gives the same numbers again, which would pass for a second measurement.

    Raises:
        UserError: If one is.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{flag} must be different seeds, got {' '.join(map(str, seeds))}")
