"""Fan affinity laws and the firmware's fan loop on chip temperature."""

from __future__ import annotations

from minesim.arrays import Array, Namespace


def fan_power_w(duty: Array, power_max_w: Array) -> Array:
    """Electrical power of fans at a speed fraction (affinity law: cube of speed).

    Variable-speed drives in practice follow an exponent of 2.5 to 3.

    Args:
        duty: speed as a fraction of full speed, 0 to 1.
        power_max_w: power at full speed, W.

    Returns:
        Power, W.

    >>> fan_power_w(0.5, 80.0)
    10.0
    """
    return power_max_w * duty * duty * duty


def log_duty_step(
    log_duty: Array,
    temp_chip_max_c: Array,
    temp_chip_before_c: Array,
    temp_target_c: Array,
    gain_integral_per_k: float,
    gain_proportional_per_k: float,
    log_duty_min: Array,
    log_duty_max: Array | float = 0.0,
    *,
    xp: Namespace,
) -> Array:
    """Advance the firmware's fan loop by one sub-step.

    Proportional-integral control in velocity form on the logarithm of the speed: because the rise of the chip over the
    intake goes roughly as 1/flow, equal factors of speed move the temperature by equal amounts, and one pair of gains
    is stable from crawl to full speed. The proportional part acts on the rise since the last sub-step, so that a miner
    that heats up at its start is caught before it trips.

    Args:
        log_duty: natural logarithm of the duty.
        temp_chip_max_c: hottest chip, degC.
        temp_chip_before_c: the same one sub-step earlier, degC.
        temp_target_c: set point of the firmware's automatic fan mode, degC.
        gain_integral_per_k: relative speed change per kelvin of deviation and sub-step.
        gain_proportional_per_k: relative speed change per kelvin of rise.
        log_duty_min, log_duty_max: logarithms of the lowest and highest duty.
        xp: namespace of the arrays.

    Returns:
        New logarithm of the duty, between the two bounds.
    """
    rise_k = temp_chip_max_c - temp_chip_before_c
    error_k = temp_chip_max_c - temp_target_c
    moved = log_duty + gain_integral_per_k * error_k + gain_proportional_per_k * rise_k
    return xp.minimum(xp.maximum(moved, log_duty_min), log_duty_max)
