"""Random numbers as a function of (seed, time, index), so that row b of a batch is the single site with that seed.

A counter-based hash on 64-bit integers that numpy and torch compute alike on any device: nothing is stored, nothing is
consumed, order does not matter.
"""

from __future__ import annotations

from minesim.arrays import Array

_MASK = 0xFFFFFFFF


def _mix(x: Array) -> Array:
    """Bijective 32-bit mixing (the "lowbias32" multiply-xorshift of C. Wellons, public domain), in int64."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & _MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def uniform(seed: Array, step: Array, index: Array) -> Array:
    """Independent uniform numbers in (0, 1) for each (seed, step, index).

    Args:
        seed: int64, shape (B, 1), each in [0, 2^32).
        step: int64, shape (..., B, 1): number of the control step.
        index: int64, shape (N,): which draw.

    Returns:
        Floating-point array (..., B, N) of values (k + 1/2) / 2^23, exact in single precision too.
    """
    x = _mix((seed & _MASK) ^ 0x9E3779B9)
    x = _mix(x ^ (step & _MASK))
    x = _mix(x ^ (index & _MASK))
    return ((x >> 9) + 0.5) / 8388608.0
