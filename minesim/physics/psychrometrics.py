"""Moist air: density, wet bulb, and what an evaporative pad makes of them."""

from __future__ import annotations

from minesim.arrays import Array, Namespace
from minesim.units import KELVIN_OFFSET_C, R_DRY_AIR_J_PER_KG_K


def density_air_kg_per_m3(temp_c: Array, pressure_pa: Array) -> Array:
    """Density of dry air by the ideal gas law.

    Humidity is neglected (under 2 % at 35 C, 60 %).

    Args:
        temp_c: air temperature, degC, any shape.
        pressure_pa: barometric pressure, Pa, same shape.

    Returns:
        Density, kg/m3, same shape.

    >>> round(float(density_air_kg_per_m3(20.0, 101325.0)), 3)
    1.204
    """
    return pressure_pa / (R_DRY_AIR_J_PER_KG_K * (temp_c + KELVIN_OFFSET_C))


def temp_wetbulb_c(temp_c: Array, rel_humidity_pct: Array, *, xp: Namespace) -> Array:
    """Wet-bulb temperature at sea-level pressure by Stull's fit.

    Valid for 5 to 99 % and -20 to 50 C (error -1.0 to +0.65 K); inputs are held to that range, so that colder air,
    where no pad runs, keeps a finite value. The result never exceeds the dry bulb.

    Args:
        temp_c: dry bulb, degC.
        rel_humidity_pct: relative humidity, %.
        xp: namespace of the arrays.

    Returns:
        Wet bulb, degC, same shape.

    References:
        R. Stull, J. Appl. Meteor. Climatol. 50 (2011) 2267, doi:10.1175/JAMC-D-11-0143.1, equation 1.

    >>> from minesim.arrays import NUMPY
    >>> round(float(temp_wetbulb_c(20.0, 50.0, xp=NUMPY)), 1)
    13.7
    """
    t = xp.clip(temp_c, -20.0, 50.0)
    rh = xp.clip(rel_humidity_pct, 5.0, 99.0)
    wet = (
        t * xp.arctan(0.151977 * xp.sqrt(rh + 8.313659))
        + xp.arctan(t + rh)
        - xp.arctan(rh - 1.676331)
        + 0.00391838 * rh * xp.sqrt(rh) * xp.arctan(0.023101 * rh)
        - 4.686035
    )
    return xp.minimum(wet - t + temp_c, temp_c)


def pad_effectiveness(depth_m: float, face_velocity_ms: float) -> float:
    """Saturation effectiveness of a rigid-media evaporative pad (the EnergyPlus CELdek fit).

    Validity: depth 0.1 to 0.3 m, face velocity 1 to 3 m/s.

    Args:
        depth_m: pad depth, m.
        face_velocity_ms: air velocity at the pad's face, m/s.

    Returns:
        Share of the wet-bulb depression that is reached, 0 to 1.

    References:
        EnergyPlus, evaporative cooler model, direct CELdek pad.

    >>> round(pad_effectiveness(0.15, 1.5), 2)
    0.75
    """
    d, v = depth_m, face_velocity_ms
    effectiveness = (
        0.792714
        + 0.958569 * d
        - 0.25193 * v
        - 1.03215 * d**2
        + 0.0262659 * v**2
        + 0.914869 * d * v
        - 1.48241 * v * d**2
        - 0.018992 * v**3 * d
        + 1.13137 * d**3 * v
        + 0.0327622 * v**3 * d**2
        - 0.145384 * d**3 * v**2
    )
    return min(max(effectiveness, 0.0), 1.0)


def temp_pad_outlet_c(temp_c: Array, wetbulb_c: Array, effectiveness: Array, duty: Array) -> Array:
    """Air temperature after a pad that is wetted for the share ``duty`` of its face.

    Args:
        temp_c: dry bulb before the pad, degC.
        wetbulb_c: wet bulb before the pad, degC.
        effectiveness: saturation effectiveness, 0 to 1.
        duty: wetted share, 0 to 1.

    Returns:
        Temperature, degC.
    """
    return temp_c - duty * effectiveness * (temp_c - wetbulb_c)
