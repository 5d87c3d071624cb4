"""Moist air: density, humidity, wet bulb, dew point, and what an evaporative pad makes of them.

Humidity ratios are kg of water per kg of dry air. Saturation is over liquid water, also below freezing.
"""

from __future__ import annotations

from typing import Final

from minesim.arrays import Array, Namespace
from minesim.units import CP_AIR_J_PER_KG_K, KELVIN_OFFSET_C, PRESSURE_SEA_LEVEL_PA, R_DRY_AIR_J_PER_KG_K

MASS_RATIO_WATER_AIR: Final = 0.621945
"""Molar mass of water over that of dry air."""
MAGNUS_SLOPE: Final = 17.625
MAGNUS_OFFSET_C: Final = 243.04
NEWTON_STEPS: Final = 6


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
    return float(min(max(pad_fit(depth_m, face_velocity_ms), 0.0), 1.0))


def pad_fit(depth_m: float, face_velocity_ms: Array) -> Array:
    """The polynomial of :func:`pad_effectiveness`, elementwise and without limits."""
    d, v = depth_m, face_velocity_ms
    return (
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


def pressure_at_altitude_pa(altitude_m: float) -> float:
    """Pressure of the standard atmosphere.

    Args:
        altitude_m: above sea level, m; up to 11 km.

    References:
        ICAO standard atmosphere; ASHRAE Fundamentals, ch. 1, equation 3.

    >>> round(pressure_at_altitude_pa(1650.0))
    83011
    """
    return float(PRESSURE_SEA_LEVEL_PA * (1.0 - 2.25577e-5 * altitude_m) ** 5.2559)


def pressure_saturation_pa(temp_c: Array, *, xp: Namespace) -> Array:
    """Saturation pressure of water vapour by the Magnus form.

    Within 0.4 % from -40 to 50 C; beyond, inputs are held to -60 and 95 C.

    Args:
        temp_c: temperature, degC.
        xp: namespace of the arrays.

    References:
        O. Alduchov, R. Eskridge, J. Appl. Meteor. 35 (1996) 601, equation 21.

    >>> from minesim.arrays import NUMPY
    >>> round(float(pressure_saturation_pa(20.0, xp=NUMPY)))
    2333
    """
    t = xp.clip(temp_c, -60.0, 95.0)
    return 610.94 * xp.exp(MAGNUS_SLOPE * t / (t + MAGNUS_OFFSET_C))


def humidity_ratio(temp_c: Array, rel_humidity_pct: Array, pressure_pa: Array, *, xp: Namespace) -> Array:
    """Water per dry air, kg/kg.

    Args:
        temp_c: dry bulb, degC.
        rel_humidity_pct: relative humidity, %.
        pressure_pa: barometric pressure, Pa.
        xp: namespace of the arrays.

    >>> from minesim.arrays import NUMPY
    >>> round(float(humidity_ratio(35.0, 40.0, 101325.0, xp=NUMPY)), 4)
    0.0141
    """
    vapour_pa = 0.01 * rel_humidity_pct * pressure_saturation_pa(temp_c, xp=xp)
    return MASS_RATIO_WATER_AIR * vapour_pa / (pressure_pa - vapour_pa)


def pressure_vapour_pa(ratio: Array, pressure_pa: Array) -> Array:
    """Vapour pressure at a humidity ratio, Pa."""
    return pressure_pa * ratio / (MASS_RATIO_WATER_AIR + ratio)


def relative_humidity_pct(temp_c: Array, ratio: Array, pressure_pa: Array, *, xp: Namespace) -> Array:
    """Relative humidity at a humidity ratio, %; above 100 where water would fall out."""
    return 100.0 * pressure_vapour_pa(ratio, pressure_pa) / pressure_saturation_pa(temp_c, xp=xp)


def temp_dewpoint_c(ratio: Array, pressure_pa: Array, *, xp: Namespace) -> Array:
    """Temperature at which water starts to fall out, degC.

    Args:
        ratio: humidity ratio, kg/kg; held to 1e-6 or more.
        pressure_pa: barometric pressure, Pa.
        xp: namespace of the arrays.

    >>> from minesim.arrays import NUMPY
    >>> round(float(temp_dewpoint_c(0.0141, 101325.0, xp=NUMPY)), 1)
    19.4
    """
    log_ratio = xp.log(pressure_vapour_pa(xp.maximum(ratio, 1e-6), pressure_pa) / 610.94)
    return MAGNUS_OFFSET_C * log_ratio / (MAGNUS_SLOPE - log_ratio)


def heat_capacity_air_j_per_m3_k(temp_c: Array, pressure_pa: Array) -> Array:
    """Heat capacity of dry air by volume.

    Args:
        temp_c: dry bulb, degC.
        pressure_pa: barometric pressure, Pa.

    >>> round(float(heat_capacity_air_j_per_m3_k(20.0, 101325.0)))
    1211
    """
    return density_air_kg_per_m3(temp_c, pressure_pa) * CP_AIR_J_PER_KG_K


def temp_wetbulb_at_c(temp_c: Array, ratio: Array, pressure_pa: Array, *, xp: Namespace) -> Array:
    """Wet bulb at any pressure from the psychrometric equation, by Newton steps from the dry bulb.

    The equation is increasing and convex, so the steps come down to the root from above; six leave less than 0.001 K
    from -20 to 50 C. At sea level :func:`temp_wetbulb_c` is cheaper.

    Args:
        temp_c: dry bulb, degC.
        ratio: humidity ratio, kg/kg.
        pressure_pa: barometric pressure, Pa.
        xp: namespace of the arrays.

    References:
        ASHRAE Fundamentals, ch. 1, equation 33 (above freezing).

    >>> from minesim.arrays import NUMPY
    >>> round(float(temp_wetbulb_at_c(30.0, humidity_ratio(30.0, 50.0, 101325.0, xp=NUMPY), 101325.0, xp=NUMPY)), 1)
    22.0
    """
    wet_c = temp_c
    for _ in range(NEWTON_STEPS):
        saturated_pa = pressure_saturation_pa(wet_c, xp=xp)
        dry_pa = pressure_pa - saturated_pa
        saturated = MASS_RATIO_WATER_AIR * saturated_pa / dry_pa
        growth = MAGNUS_SLOPE * MAGNUS_OFFSET_C / ((wet_c + MAGNUS_OFFSET_C) * (wet_c + MAGNUS_OFFSET_C))
        slope = saturated * growth * pressure_pa / dry_pa
        latent = 2501.0 - 2.326 * wet_c
        error = latent * saturated - 1.006 * (temp_c - wet_c) - ratio * (2501.0 + 1.86 * temp_c - 4.186 * wet_c)
        wet_c = wet_c - error / (latent * slope - 2.326 * saturated + 1.006 + 4.186 * ratio)
    return xp.minimum(wet_c, temp_c)
