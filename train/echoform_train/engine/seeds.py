"""One seed from several numbers."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def mix_seed(*numbers: int) -> int:
    """Seed in 0..2^32 - 1 from several numbers, so that neighbouring ones give unrelated streams of noise.

    torch's CPU generator reads only the lowest 32 bits of a seed, so that sums or shifts of counters would collide or
    be cut off. Each number passes through splitmix64 (Steele et al., OOPSLA 2014).
    """
    state = 0x632BE59BD9B4E019
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 32
