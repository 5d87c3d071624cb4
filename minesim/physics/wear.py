"""Wear as expected cost: Arrhenius ageing, solder cycling by depth of cooling, and cold restarts that fail."""

from __future__ import annotations

from minesim.arrays import Array, Namespace
from minesim.units import BOLTZMANN_EV_PER_K, KELVIN_OFFSET_C


def arrhenius_factor(temp_c: Array, temp_ref_c: float, activation_ev: float, *, xp: Namespace) -> Array:
    """Ageing rate relative to a reference temperature.

    Args:
        temp_c: temperature of the part, degC.
        temp_ref_c: where the factor is 1, degC.
        activation_ev: activation energy, eV (0.7 for integrated circuits: FIDES handbook form).
        xp: namespace of the arrays.

    Returns:
        Factor, 1 at the reference.

    >>> from minesim.arrays import NUMPY
    >>> round(float(arrhenius_factor(70.0, 60.0, 0.7, xp=NUMPY)), 1)
    2.0
    """
    scale = activation_ev / BOLTZMANN_EV_PER_K
    return xp.exp(scale / (temp_ref_c + KELVIN_OFFSET_C) - scale / (temp_c + KELVIN_OFFSET_C))


def cycling_damage(depth_k: Array, depth_ref_k: float = 45.0, exponent: float = 1.9, *, xp: Namespace) -> Array:
    """Solder damage of one thermal cycle relative to a cycle of the reference depth (Coffin-Manson).

    Args:
        depth_k: temperature swing of the cycle, K.
        depth_ref_k: where the damage is 1, K (a full stop: 45 K, site-specific assumption).
        exponent: 1.9 for SAC solder (ESA-style handbook form; 2.65 for a lead-free variant).
        xp: namespace of the arrays.

    Returns:
        Damage relative to the reference cycle.

    >>> from minesim.arrays import NUMPY
    >>> round(float(cycling_damage(20.0, xp=NUMPY)), 2)
    0.21
    """
    return xp.exp(exponent * xp.log(xp.maximum(depth_k, 1e-3) / depth_ref_k))


def restart_failure_probability(
    temp_board_c: Array, base: float, cold_scale_k: float, temp_ref_c: float, *, xp: Namespace
) -> Array:
    """Chance that a miner does not come back from a stop, growing with the depth of cooling.

    That cold restarts fail is documented (many S19 XP found no chips after curtailment, Compass Mining 2023); the
    numbers and the form are assumed.

    Args:
        temp_board_c: board temperature at the start, degC.
        base: chance at ``temp_ref_c`` (assumed).
        cold_scale_k: kelvins of cooling for a factor e (assumed).
        temp_ref_c: reference, degC.
        xp: namespace of the arrays.

    Returns:
        Probability, at most 0.05.
    """
    return xp.minimum(base * xp.exp(xp.minimum((temp_ref_c - temp_board_c) / cold_scale_k, 30.0)), 0.05)
