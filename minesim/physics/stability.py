"""What a setting outside the tuned presets risks: errors by margin, lost boards, cold chips, faster ageing.

The share of work lost to errors is :func:`minesim.physics.asic.hw_error_ratio`; here it is told by the **margin** of
the rail over the onset of errors, inverted, and continued into what follows from too many errors. The fit to a measured
sweep and its error on points left out are in :mod:`minesim.tuning.fit_stability`.
"""

from __future__ import annotations

import math
from typing import Final

from minesim.arrays import Array, Namespace
from minesim.physics import asic

COLD_ONSET_C: Final = 10.0
"""Chips colder than this need more rail (threshold voltages rise as silicon cools); assumed."""
COLD_NEED_PER_K: Final = 0.001
"""How much more, relative per K below the onset; assumed, about the usual 1 mV/K of threshold on a supply of 1 V or
less a stage."""
LOST_BOARD_ERROR_RATIO: Final = 0.25
"""Share of lost work at which every second board is given up by the firmware, which restarts the miner; assumed. The
sweep goes on hashing at 76 % of lost work, but a chain of a hundred chips loses its slowest one first."""
LOST_BOARD_WIDTH: Final = 0.03
"""Softness of that limit; assumed."""
OVERLOAD_RATIO: Final = 1.10
"""DC load over rated load at which a supply shuts down; assumed (overcurrent limits of 105 to 130 % are common)."""
AGEING_VOLT_EXPONENT: Final = 8.0
"""Ageing grows as this power of rail over stock rail; assumed (power laws of oxide and carrier wear-out run from about
5 to beyond 20)."""


def margin_rel(
    volt_v: Array,
    needed_v: Array,
    temp_chip_c: Array,
    quality_rel: Array | float,
    temp_ref_c: Array | float,
    *,
    xp: Namespace,
) -> Array:
    """Compute the margin of the rail over the onset of hardware errors, relative to the onset.

    Args:
        volt_v: rail, V.
        needed_v: what median silicon needs at ``temp_ref_c``, V, see :func:`minesim.physics.asic.needed_volt_v`.
        temp_chip_c: chip temperature, degC.
        quality_rel: relative voltage that this board needs beyond the median.
        temp_ref_c: temperature that ``needed_v`` refers to, degC.
        xp: array namespace of the arrays.

    Returns:
        Margin, 1; the broadcast shape. At most 0 where errors are plain, above 0.02 where there are none to speak of.

    >>> from minesim.arrays import NUMPY
    >>> round(float(margin_rel(12.24, 12.0, 65.0, 0.0, 65.0, xp=NUMPY)), 3)
    0.02
    """
    need = 1.0 + quality_rel + cold_need_rel(temp_chip_c, xp=xp)
    warm = 1.0 + asic.HW_ERROR_TEMP_PER_K * (temp_chip_c - temp_ref_c)
    return volt_v / (needed_v * need * warm) - 1.0


def error_ratio_at(margin: Array, *, xp: Namespace) -> Array:
    """Compute the share of work lost to hardware errors at a margin of the rail over their onset.

    Args:
        margin: from :func:`margin_rel`, 1.
        xp: array namespace of ``margin``.

    Returns:
        Ratio in [0, 1].
    """
    return asic.hw_error_ratio(1.0 + margin, 1.0, 0.0, 0.0, 0.0, xp=xp)


def margin_at(error_ratio: Array, *, xp: Namespace) -> Array:
    """Compute the margin at which a share of work is lost: the inverse of :func:`error_ratio_at`.

    Args:
        error_ratio: lost share, strictly between 0 and 1.
        xp: array namespace of ``error_ratio``.

    Returns:
        Margin, 1.

    >>> from minesim.arrays import NUMPY
    >>> round(float(error_ratio_at(margin_at(0.01, xp=NUMPY), xp=NUMPY)), 6)
    0.01
    """
    lack = -asic.HW_ERROR_WIDTH_REL * xp.log(1.0 - error_ratio)
    # log(expm1(x)) without overflow, since the lack may be many times the softness of the onset.
    steps = lack / asic.HW_ERROR_ONSET_REL
    return -asic.HW_ERROR_ONSET_REL * (steps + xp.log(-xp.expm1(-steps)))


def cold_need_rel(temp_chip_c: Array, *, xp: Namespace) -> Array:
    """Compute how much more rail cold chips need, relative; 0 from 10 degC up.

    That boards fail to start in the cold is documented (S19 XP after curtailment, Compass Mining 2023), and a start is
    opened at a raised rail (14.92 V on an S19j Pro). The size is assumed.

    Args:
        temp_chip_c: chip temperature, degC.
        xp: array namespace of ``temp_chip_c``.
    """
    return COLD_NEED_PER_K * xp.maximum(COLD_ONSET_C - temp_chip_c, 0.0)


def lost_board_probability(error_ratio: Array, *, xp: Namespace) -> Array:
    """Compute the chance that the firmware gives a board up within a trial because of its errors.

    Args:
        error_ratio: share of its work that is lost.
        xp: array namespace of ``error_ratio``.

    Returns:
        Probability: 0 without errors, a half at 25 %, under 1e-3 below 4 % (form and size assumed).
    """
    without = 1.0 / (1.0 + math.exp(LOST_BOARD_ERROR_RATIO / LOST_BOARD_WIDTH))
    logistic = 1.0 / (1.0 + xp.exp(-(error_ratio - LOST_BOARD_ERROR_RATIO) / LOST_BOARD_WIDTH))
    return (logistic - without) / (1.0 - without)


def volt_ageing_factor(volt_v: Array, volt_ref_v: Array | float, *, xp: Namespace) -> Array:
    """Compute the ageing rate relative to that at a reference rail, beside that of temperature.

    Args:
        volt_v: rail, V.
        volt_ref_v: rail at which the factor is 1, V.
        xp: array namespace of ``volt_v``.
    """
    return xp.exp(AGEING_VOLT_EXPONENT * xp.log(volt_v / volt_ref_v))
