"""Chip and hashboard electrical physics: hashrate, switching power, leakage, the firmware's rail, hardware errors.

Coefficients are per miner (all boards and chips together) unless an argument says otherwise; formulas are elementwise
and broadcast, so the same lines serve one miner, cohorts of shape (M,) and batches of shape (B, M) or (B, M, K).
"""

from __future__ import annotations

from minesim.arrays import Array, Namespace


def hashrate_ths(freq_mhz: Array, chips: Array | float, ths_per_mhz_chip: Array | float) -> Array:
    """Compute the error-free hashrate in TH/s: MHz x chips x TH/s per MHz and chip.

    Args:
        freq_mhz: chip clock, MHz.
        chips: number of hashing chips, 1.
        ths_per_mhz_chip: cores per chip x 1e-6, TH/s per MHz and chip.

    Returns:
        Hashrate in TH/s, the broadcast shape.

    References:
        HashCore documentation (theoretical hashrate = frequency x cores / 1000); live payloads agree to 0.1 %.

    >>> round(hashrate_ths(545.0, 378, 0.514e-3), 1)
    105.9
    """
    return freq_mhz * chips * ths_per_mhz_chip


def dynamic_power_w(freq_mhz: Array, volt_v: Array, c_w_per_mhz_v2: Array | float) -> Array:
    """Compute switching power ``c f V^2`` in W (DC side).

    Args:
        freq_mhz: chip clock, MHz.
        volt_v: rail voltage, V.
        c_w_per_mhz_v2: effective switched capacitance, W per MHz and V^2.

    Returns:
        Power in W, the broadcast shape.

    References:
        Rabaey, Chandrakasan, Nikolic, Digital Integrated Circuits, 2nd ed., ch. 5.

    >>> dynamic_power_w(500.0, 2.0, 0.5)
    1000.0
    """
    return c_w_per_mhz_v2 * freq_mhz * volt_v * volt_v


def leakage_power_w(
    volt_v: Array,
    temp_chip_c: Array,
    g_w_per_v2: Array | float,
    beta_per_k: Array | float,
    temp_ref_c: Array | float,
    *,
    xp: Namespace,
) -> Array:
    """Compute leakage ``g V^2 exp(beta (T - T_ref))`` in W (DC side).

    Valid between about 0 and 100 degC chip temperature; the exponential is a local fit, not a device model.

    Args:
        volt_v: rail voltage, V.
        temp_chip_c: chip temperature, degC.
        g_w_per_v2: leakage conductance at ``temp_ref_c``, W per V^2.
        beta_per_k: growth with temperature, 1/K.
        temp_ref_c: reference chip temperature, degC.
        xp: array namespace of ``temp_chip_c``.

    Returns:
        Power in W, the broadcast shape.
    """
    return g_w_per_v2 * volt_v * volt_v * xp.exp(beta_per_k * (temp_chip_c - temp_ref_c))


def rail_volt_v(
    freq_mhz: Array,
    volt_floor_v: Array | float,
    freq_knee_mhz: Array | float,
    volt_per_mhz: Array | float,
    freq_knee2_mhz: Array | float,
    volt_per_mhz2: Array | float,
    *,
    xp: Namespace,
) -> Array:
    """Compute the rail voltage that the firmware sets for a frequency.

    Constant at the floor up to the first knee, then rising at ``volt_per_mhz``, and beyond the second knee at
    ``volt_per_mhz2``. LuxOS sets 11.88 V and then 6 mV per MHz (live S19j Pro and S19k Pro tables).

    Args:
        freq_mhz: chip clock, MHz.
        volt_floor_v: rail below the first knee, V.
        freq_knee_mhz, freq_knee2_mhz: where the rail starts to rise, and where its slope changes, MHz.
        volt_per_mhz, volt_per_mhz2: slope between the knees and beyond the second, V per MHz.
        xp: array namespace of ``freq_mhz``.

    Returns:
        Rail voltage in V, the broadcast shape.
    """
    rise = volt_per_mhz * xp.maximum(freq_mhz - freq_knee_mhz, 0.0)
    change = (volt_per_mhz2 - volt_per_mhz) * xp.maximum(freq_mhz - freq_knee2_mhz, 0.0)
    return volt_floor_v + rise + change
