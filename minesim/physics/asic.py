"""Chip and hashboard electrical physics: hashrate, switching power, leakage, the firmware's rail, hardware errors.

Coefficients are per miner (all boards and chips together) unless an argument says otherwise; formulas are elementwise
and broadcast, so the same lines serve one miner, cohorts of shape (M,) and batches of shape (B, M) or (B, M, K).
"""

from __future__ import annotations

from typing import Final

from minesim.arrays import Array, Namespace

HW_ERROR_WIDTH_REL: Final = 0.09
"""Relative lack of voltage over which the share of good work falls to 1/e. Fitted to a public single-chip
voltage/frequency sweep (dr0ther/Bitaxebench, GPL-3.0 data, not included): 54 points, median error 0.6 points of
hashrate, worst 19."""
HW_ERROR_ONSET_REL: Final = 0.004
"""Softness of the onset of errors, relative to voltage; assumed, finer than the sweep's 25 mV steps resolve."""
HW_ERROR_TEMP_PER_K: Final = 0.0005
"""Growth of the needed voltage with chip temperature, relative per K; assumed."""


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


def leakage_growth(temp_chip_c: Array, beta_per_k: Array | float, temp_ref_c: Array | float, *, xp: Namespace) -> Array:
    """Compute leakage relative to that at the reference temperature, ``exp(beta (T - T_ref))``.

    Valid between about 0 and 100 degC chip temperature; a local fit, not a device model.

    Args:
        temp_chip_c: chip temperature, degC.
        beta_per_k: growth with temperature, 1/K.
        temp_ref_c: reference chip temperature, degC.
        xp: array namespace of ``temp_chip_c``.

    Returns:
        Factor, the broadcast shape.
    """
    return leakage_growth_from_0c(temp_chip_c - temp_ref_c, beta_per_k, xp=xp)


def leakage_growth_from_0c(temp_chip_c: Array, beta_per_k: Array | float, *, xp: Namespace) -> Array:
    """Compute leakage relative to that at 0 degC, ``exp(beta T)``, for a caller whose constants refer to 0 degC.

    Args:
        temp_chip_c: chip temperature, degC.
        beta_per_k: growth with temperature, 1/K.
        xp: array namespace of ``temp_chip_c``.

    Returns:
        Factor, the broadcast shape.
    """
    return xp.exp(beta_per_k * temp_chip_c)


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
    return g_w_per_v2 * volt_v * volt_v * leakage_growth(temp_chip_c, beta_per_k, temp_ref_c, xp=xp)


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


def needed_volt_v(
    freq_mhz: Array,
    volt_floor_v: Array | float,
    freq_knee_mhz: Array | float,
    volt_per_mhz: Array | float,
    freq_knee2_mhz: Array | float,
    volt_per_mhz2: Array | float,
    volt_guard_rel: Array | float,
    *,
    xp: Namespace,
) -> Array:
    """Compute the rail below which median silicon starts to make errors, at the reference temperature.

    The firmware's rail curve without its floor, less a guard band: the sweep of :data:`HW_ERROR_WIDTH_REL` shows the
    onset rising by 0.22 % per 1 % of frequency, LuxOS raises its rail by 0.24 % (S19j Pro at stock).

    Args:
        freq_mhz: chip clock, MHz.
        volt_floor_v, freq_knee_mhz, volt_per_mhz, freq_knee2_mhz, volt_per_mhz2: see :func:`rail_volt_v`.
        volt_guard_rel: margin of the firmware's rail over the onset, relative.
        xp: array namespace of ``freq_mhz``.

    Returns:
        Voltage in V, the broadcast shape.
    """
    rise = volt_per_mhz * (freq_mhz - freq_knee_mhz)
    change = (volt_per_mhz2 - volt_per_mhz) * xp.maximum(freq_mhz - freq_knee2_mhz, 0.0)
    return (1.0 - volt_guard_rel) * (volt_floor_v + rise + change)


def hw_error_ratio(
    volt_v: Array,
    needed_v: Array,
    temp_chip_c: Array,
    quality_rel: Array | float,
    temp_ref_c: Array | float,
    *,
    xp: Namespace,
) -> Array:
    """Compute the share of hashing work that is lost to hardware errors.

    With enough voltage it is negligible; once the rail is short by a few permille it rises steeply:
    ``1 - exp(-lack / 0.09)``, the lack relative to the voltage needed.

    Args:
        volt_v: rail, V.
        needed_v: what median silicon needs at this frequency and ``temp_ref_c``, V, see :func:`needed_volt_v`.
        temp_chip_c: chip temperature, degC.
        quality_rel: silicon quality, the relative voltage that this board needs beyond the median; 0.02 is poor, -0.02
            good (two chips of the sweep differ by about 0.03).
        temp_ref_c: temperature that ``needed_v`` refers to, degC.
        xp: array namespace of the arrays.

    Returns:
        Ratio in [0, 1], the broadcast shape; good hashrate is ``hashrate_ths (1 - ratio)``.

    >>> from minesim.arrays import NUMPY
    >>> round(float(hw_error_ratio(0.91 * 12.0, 12.0, 65.0, 0.0, 65.0, xp=NUMPY)), 3)
    0.632
    """
    onset_v = needed_v * (1.0 + quality_rel) * (1.0 + HW_ERROR_TEMP_PER_K * (temp_chip_c - temp_ref_c))
    steps = (1.0 - volt_v / onset_v) / HW_ERROR_ONSET_REL
    lack = HW_ERROR_ONSET_REL * (xp.maximum(steps, 0.0) + xp.log(1.0 + xp.exp(-xp.abs(steps))))
    return 1.0 - xp.exp(-lack / HW_ERROR_WIDTH_REL)
