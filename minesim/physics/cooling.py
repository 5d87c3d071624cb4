"""The cooling plant of a room: fans with drives, evaporative pad, DX coil, dampers, dry cooler; altitude and water.

Everything is elementwise over () or (B,), except where a bank of fans adds its own first axis. The plant prepares
supply air (temperature and humidity) and prescribed flows for :mod:`minesim.physics.room_grid`; miners' own fans are
not part of it. A faster room fan costs its cube, and saves recirculation, hence miners' fans (cubic in their own loop
on chip temperature) and leakage: that trade-off arises when plant, room and miners are joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

from minesim.arrays import Array, Namespace
from minesim.errors import ParamsError, explain
from minesim.physics.psychrometrics import (
    density_air_kg_per_m3,
    humidity_ratio,
    pad_fit,
    relative_humidity_pct,
    temp_dewpoint_c,
    temp_wetbulb_at_c,
)
from minesim.physics.room_plan import RoomPlan
from minesim.units import CP_AIR_J_PER_KG_K

DENSITY_RATED_KG_PER_M3: Final = 1.2
"""Air at which fans are rated."""
LATENT_J_PER_KG: Final = 2.45e6
"""Heat of evaporation near 20 C."""
OFF: Final = 99.0
"""A DX set point that no supply air reaches, degC: the coil is off."""


@dataclass(frozen=True)
class PadParams:
    """An evaporative pad with its sump and pumps.

    Attributes:
        face_m2: wetted face, m2.
        depth_m: 0.1 to 0.3 m (range of the fit).
        pump_w: pumps with the whole face wetted, W (assumed 15 W per m2 of face).
        cycles: concentration of the sump's minerals over fresh water before it is bled (assumed 4).
        temp_min_c: outdoor temperature below which the pad stays dry: sprinklers off below 5 C (minerbase).
    """

    face_m2: float
    depth_m: float = 0.15
    pump_w: float = 200.0
    cycles: float = 4.0
    temp_min_c: float = 5.0


@dataclass(frozen=True)
class DxParams:
    """A direct-expansion coil with an air-cooled condenser.

    Attributes:
        capacity_w: total cooling at rating (19.4 C wet bulb at the coil, 35 C outdoors), W.
        cop: at rating, without the supply fan (assumed 3.3).
    """

    capacity_w: float
    cop: float = 3.3


@dataclass(frozen=True)
class FanParams:
    """The room's fans on variable-speed drives.

    Attributes:
        exponent: power over speed; 3 by the affinity law, 2.5 to 3 with real drives (assumed 2.8).
        speed_min: below this share of full speed a fan is off (assumed 0.1).
    """

    exponent: float = 2.8
    speed_min: float = 0.1


@dataclass(frozen=True)
class PlantParams:
    """The cooling plant of a room.

    Attributes:
        fan_flow_m3_per_s, fan_power_w: each fan or bank at full speed and rated density, in the order of the layout.
        fan_is_exhaust: 1 for an exhaust fan, else 0.
        damper_flow_m3_per_s: each recirculation damper fully open.
        fans: behaviour of the drives.
        pad, dx: None if there is none.
    """

    fan_flow_m3_per_s: tuple[float, ...]
    fan_power_w: tuple[float, ...]
    fan_is_exhaust: tuple[float, ...]
    damper_flow_m3_per_s: tuple[float, ...] = ()
    fans: FanParams = FanParams()
    pad: PadParams | None = None
    dx: DxParams | None = None

    def __post_init__(self) -> None:
        """Refuse an impossible plant.

        Raises:
            ParamsError: a size, share or count that cannot be; the field is named.
        """
        counts = {len(self.fan_flow_m3_per_s), len(self.fan_power_w), len(self.fan_is_exhaust)}
        if len(counts) > 1:
            raise ParamsError(explain(f"the plant's fans are listed {sorted(counts)} times", allowed="one length"))
        for part in (self.fans, self.pad, self.dx):
            for field_ in fields(part) if part is not None else ():
                value = getattr(part, field_.name)
                if not math.isfinite(value) or (value <= 0.0 and field_.name not in ("speed_min", "temp_min_c")):
                    what = f"{field_.name} of {type(part).__name__} is {value:g}"
                    raise ParamsError(explain(what, allowed="a positive number"))
        if self.pad is not None and not (0.1 <= self.pad.depth_m <= 0.3 and self.pad.cycles > 1.0):
            raise ParamsError(
                explain(
                    f"the pad is {self.pad.depth_m:g} m deep with {self.pad.cycles:g} cycles of concentration",
                    allowed="0.1 to 0.3 m (range of the fit), more than 1 cycle",
                )
            )


def plant_of(plan: RoomPlan, pad: PadParams | None = None, dx: DxParams | None = None) -> PlantParams:
    """The plant of a layout: its fans and dampers, with a pad or coil if given.

    Args:
        plan: the room.
        pad, dx: what treats the air of its treated openings.

    Raises:
        ParamsError: a pad or coil, but no treated opening for its air.
    """
    if (pad is not None or dx is not None) and not any(opening.treated for opening in plan.openings):
        raise ParamsError(
            explain(
                f"layout {plan.name!r} has a pad or coil but no treated opening",
                allowed="an opening with treated = true",
                fix="Mark the opening behind which it stands.",
            )
        )
    return PlantParams(
        fan_flow_m3_per_s=tuple(fan.flow_m3_per_s for fan in plan.fans),
        fan_power_w=tuple(fan.power_w for fan in plan.fans),
        fan_is_exhaust=tuple(1.0 if fan.kind == "exhaust" else 0.0 for fan in plan.fans),
        damper_flow_m3_per_s=tuple(damper.flow_m3_per_s for damper in plan.dampers),
        pad=pad,
        dx=dx,
    )


class Weather(NamedTuple):
    """Outdoor air: dry bulb degC, relative humidity %, pressure Pa; arrays () or (B,)."""

    temp_c: Array
    rel_humidity_pct: Array
    pressure_pa: Array


class PlantCommand(NamedTuple):
    """What an operator sets.

    Attributes:
        fan_speed: of each fan, 0 to 1, (F,) or (F, B).
        damper: opening of each damper, 0 to 1, (D,) or (D, B).
        pad_duty: wetted share of the pad, 0 to 1, () or (B,).
        temp_dx_set_c: supply temperature that the coil aims for, degC; ``OFF`` for none.
    """

    fan_speed: Array
    damper: Array
    pad_duty: Array
    temp_dx_set_c: Array


class AirTreated(NamedTuple):
    """Air behind a pad or coil, with what it took, () or (B,).

    Attributes:
        temp_c, ratio: dry bulb, degC, and humidity ratio, kg/kg.
        power_w: electrical power.
        water_kg_per_s: water drawn (evaporated and bled); negative where condensate runs off.
        heat_w: heat taken out of the air, sensible and latent, by a coil; 0 for a pad.
    """

    temp_c: Array
    ratio: Array
    power_w: Array
    water_kg_per_s: Array
    heat_w: Array


class PlantOutcome(NamedTuple):
    """What the plant delivers and draws.

    Attributes:
        fan_flow_m3_per_s: (F,) or (F, B).
        damper_flow_m3_per_s: (D,) or (D, B).
        temp_supply_c, ratio_supply: supply air, degC and kg/kg.
        rel_humidity_pct, temp_dewpoint_c: of the supply air.
        rho_cp_j_per_m3_k: heat capacity of the supply air for the room.
        power_fans_w, power_pad_w, power_dx_w: electrical, () or (B,).
        water_kg_per_s: drawn by the pad.
    """

    fan_flow_m3_per_s: Array
    damper_flow_m3_per_s: Array
    temp_supply_c: Array
    ratio_supply: Array
    rel_humidity_pct: Array
    temp_dewpoint_c: Array
    rho_cp_j_per_m3_k: Array
    power_fans_w: Array
    power_pad_w: Array
    power_dx_w: Array
    water_kg_per_s: Array


def fan_power_w(speed: Array, power_max_w: Array, density_kg_per_m3: Array, exponent: float) -> Array:
    """Electrical power of a fan on a variable-speed drive.

    Args:
        speed: 0 to 1.
        power_max_w: at full speed in air of 1.2 kg/m3, W.
        density_kg_per_m3: of the air it moves; thin air takes less power and carries less heat.
        exponent: see :class:`FanParams`.

    >>> fan_power_w(0.5, 1000.0, 1.2, 3.0)
    125.0
    """
    return power_max_w * speed**exponent * (density_kg_per_m3 / DENSITY_RATED_KG_PER_M3)


def evaporative_pad(
    air: Weather, ratio: Array, flow_m3_per_s: Array, duty: Array, pad: PadParams, *, xp: Namespace
) -> AirTreated:
    """Cool air by evaporation, along its line of constant wet bulb.

    The effectiveness is the EnergyPlus fit at the face velocity, which is held to the fit's 1 to 3 m/s (a slower pad
    does better than that). A pad's pressure drop is not modelled: no source was found.

    Args:
        air: before the pad.
        ratio: its humidity ratio, kg/kg.
        flow_m3_per_s: through the pad.
        duty: wetted share of the face, 0 to 1.
        pad: the pad.
        xp: namespace of the arrays.

    References:
        EnergyPlus, evaporative cooler model, direct CELdek pad.
    """
    wet_c = temp_wetbulb_at_c(air.temp_c, ratio, air.pressure_pa, xp=xp)
    saturated = _saturated_ratio(wet_c, air.pressure_pa, xp=xp)
    velocity = xp.clip(flow_m3_per_s / pad.face_m2, 1.0, 3.0)
    share = xp.above(air.temp_c, pad.temp_min_c) * duty * xp.clip(pad_fit(pad.depth_m, velocity), 0.0, 1.0)
    dry_kg_per_s = flow_m3_per_s * density_air_kg_per_m3(air.temp_c, air.pressure_pa)
    evaporated = share * xp.maximum(saturated - ratio, 0.0)
    return AirTreated(
        temp_c=air.temp_c - share * (air.temp_c - wet_c),
        ratio=ratio + evaporated,
        power_w=pad.pump_w * duty * xp.above(air.temp_c, pad.temp_min_c),
        water_kg_per_s=dry_kg_per_s * evaporated * (pad.cycles / (pad.cycles - 1.0)),
        heat_w=0.0 * flow_m3_per_s,
    )


def _saturated_ratio(temp_c: Array, pressure_pa: Array, *, xp: Namespace) -> Array:
    return humidity_ratio(temp_c, 100.0, pressure_pa, xp=xp)


def dx_capacity_share(wetbulb_c: Array, temp_outdoor_c: Array, *, xp: Namespace) -> Array:
    """Capacity of a DX coil over its rating.

    Valid for wet bulbs at the coil of 12.8 to 23.9 C and 18 to 46.1 C outdoors; inputs are held to these ranges.

    References:
        EnergyPlus example file DXCoilSystemAuto, curve of capacity over temperatures.
    """
    x, y = xp.clip(wetbulb_c, 12.78, 23.89), xp.clip(temp_outdoor_c, 18.0, 46.11)
    return 0.766956 + 0.0107756 * x - 4.14703e-5 * x * x + 0.00134961 * y - 2.61144e-4 * y * y + 4.57488e-4 * x * y


def dx_input_share(wetbulb_c: Array, temp_outdoor_c: Array, *, xp: Namespace) -> Array:
    """Electrical input per cooling of a DX coil over its rating: the inverse of its COP map.

    Range as :func:`dx_capacity_share`; below 18 C outdoors the COP is held, which is on the safe side.

    References:
        EnergyPlus example file DXCoilSystemAuto, curve of the energy input ratio over temperatures.
    """
    x, y = xp.clip(wetbulb_c, 12.78, 23.89), xp.clip(temp_outdoor_c, 18.0, 46.11)
    return 0.297145 + 0.0430933 * x - 7.48766e-4 * x * x + 0.00597727 * y + 4.82112e-4 * y * y - 9.56448e-4 * x * y


def dx_coil(
    air: Weather,
    ratio: Array,
    flow_kg_per_s: Array,
    temp_set_c: Array,
    temp_outdoor_c: Array,
    dx: DxParams,
    *,
    xp: Namespace,
) -> AirTreated:
    """Cool air to a set point as far as the capacity goes, with condensate where the coil is below the dew point.

    Args:
        air: before the coil (its relative humidity is not used).
        ratio: its humidity ratio, kg/kg.
        flow_kg_per_s: dry air.
        temp_set_c: supply temperature aimed for, degC.
        temp_outdoor_c: air at the condenser, degC.
        dx: the coil.
        xp: namespace of the arrays.

    References:
        Part load: input grows as 1 / (0.75 + 0.25 load), EnergyPlus example files.
    """
    wet_c = temp_wetbulb_at_c(air.temp_c, ratio, air.pressure_pa, xp=xp)
    aimed_c = xp.minimum(temp_set_c, air.temp_c)
    drop_k = air.temp_c - aimed_c
    condensed = xp.maximum(ratio - _saturated_ratio(aimed_c, air.pressure_pa, xp=xp), 0.0) * xp.above(drop_k, 0.0)
    asked_w = flow_kg_per_s * (CP_AIR_J_PER_KG_K * drop_k + LATENT_J_PER_KG * condensed)
    available_w = dx.capacity_w * dx_capacity_share(wet_c, temp_outdoor_c, xp=xp)
    heat_w = xp.minimum(asked_w, available_w)
    served = heat_w / xp.maximum(asked_w, 1e-6)
    load = heat_w / available_w
    return AirTreated(
        temp_c=air.temp_c - served * drop_k,
        ratio=ratio - served * condensed,
        power_w=heat_w / dx.cop * dx_input_share(wet_c, temp_outdoor_c, xp=xp) / (0.75 + 0.25 * load),
        water_kg_per_s=-flow_kg_per_s * served * condensed,
        heat_w=heat_w,
    )


def recirculation_for(temp_amb_c: Array, temp_hot_c: Array, temp_mixed_c: Array, *, xp: Namespace) -> Array:
    """Share of hot air that warms outdoor air to an intake temperature (winter operation of the dampers).

    Args:
        temp_amb_c, temp_hot_c: the two airs, degC.
        temp_mixed_c: intake wanted, degC.
        xp: namespace of the arrays.

    Returns:
        Share, 0 to 1.

    >>> from minesim.arrays import NUMPY
    >>> round(float(recirculation_for(-10.0, 20.0, 5.0, xp=NUMPY)), 6)
    0.5
    """
    return xp.clip((temp_mixed_c - temp_amb_c) / xp.maximum(temp_hot_c - temp_amb_c, 1e-6), 0.0, 1.0)


@dataclass(frozen=True)
class DryCoolerParams:
    """An air-cooled coil with fans that rejects the heat of liquid-cooled units.

    Attributes:
        flow_m3_per_s: air at full speed.
        power_w: fans at full speed, W.
        coolant_w_per_k: heat capacity rate of the coolant, W/K.
        ntu: transfer units of the air side at full speed (assumed 1.5).
        exponent: heat transfer over flow (assumed 0.6).
        fans: behaviour of the drives.
    """

    flow_m3_per_s: float
    power_w: float
    coolant_w_per_k: float
    ntu: float = 1.5
    exponent: float = 0.6
    fans: FanParams = FanParams()


class DryCoolerOutcome(NamedTuple):
    """Coolant to and from the units, degC, and fan power, W; () or (B,)."""

    temp_supply_c: Array
    temp_return_c: Array
    power_w: Array


def dry_cooler(
    heat_w: Array,
    speed: Array,
    temp_air_c: Array,
    pressure_pa: Array,
    params: DryCoolerParams,
    *,
    xp: Namespace,
) -> DryCoolerOutcome:
    """Coolant temperatures at which a dry cooler rejects a heat, in balance.

    The coolant counts with its mean temperature (its range is small against its distance to the air). A wetted dry
    cooler is one whose air has been through :func:`evaporative_pad`.

    Args:
        heat_w: heat of the units, W.
        speed: of the fans, ``speed_min`` to 1; held to that range.
        temp_air_c: air at the coil, degC.
        pressure_pa: barometric pressure, Pa.
        params: the cooler.
        xp: namespace of the arrays.

    References:
        Effectiveness-NTU with one side of uniform temperature; Incropera, Fundamentals of Heat and Mass Transfer,
        ch. 11.
    """
    turning = xp.clip(speed, params.fans.speed_min, 1.0)
    density = density_air_kg_per_m3(temp_air_c, pressure_pa)
    stream = params.flow_m3_per_s * turning * density * CP_AIR_J_PER_KG_K
    ntu = params.ntu * (turning * density / DENSITY_RATED_KG_PER_M3) ** (params.exponent - 1.0)
    mean_c = temp_air_c + heat_w / (stream * (1.0 - xp.exp(-ntu)))
    half_k = 0.5 * heat_w / params.coolant_w_per_k
    return DryCoolerOutcome(
        temp_supply_c=mean_c - half_k,
        temp_return_c=mean_c + half_k,
        power_w=fan_power_w(turning, params.power_w, density, params.fans.exponent),
    )


def run_plant(plant: PlantParams, command: PlantCommand, weather: Weather, *, xp: Namespace) -> PlantOutcome:
    """Run fans, pad and coil for a control step, in that order through the supply air.

    The pad and the coil treat the air that comes in: what the exhaust fans draw, or what the intake fans push where
    that is more. Fans move a volume that does not depend on density, so that thin or warm air carries less heat and
    takes less fan power.

    Args:
        plant: what there is.
        command: what is set; speeds below ``speed_min`` count as off.
        weather: outdoor air.
        xp: namespace of the arrays.
    """
    pressure_pa = weather.pressure_pa
    density = density_air_kg_per_m3(weather.temp_c, pressure_pa)
    speed = command.fan_speed * xp.above(command.fan_speed, plant.fans.speed_min - 1e-9)

    def each(values: tuple[float, ...], like: Array) -> Array:
        column = xp.asarray(values, like=like)
        return column if like.ndim == 1 else column[:, None]

    flow = speed * each(plant.fan_flow_m3_per_s, speed)
    exhaust = each(plant.fan_is_exhaust, speed)
    drawn = xp.maximum(xp.sum(flow * exhaust, axis=0), xp.sum(flow - flow * exhaust, axis=0))
    ratio = humidity_ratio(weather.temp_c, weather.rel_humidity_pct, pressure_pa, xp=xp)
    nothing = 0.0 * drawn
    temp_c, power_pad, power_dx, water = weather.temp_c + nothing, nothing, nothing, nothing
    ratio = ratio + nothing
    if plant.pad is not None:
        wetted = evaporative_pad(weather, ratio, drawn, command.pad_duty, plant.pad, xp=xp)
        temp_c, ratio, power_pad, water = wetted.temp_c, wetted.ratio, wetted.power_w, wetted.water_kg_per_s
    if plant.dx is not None:
        before = Weather(temp_c, weather.rel_humidity_pct, pressure_pa)
        cooled = dx_coil(before, ratio, drawn * density, command.temp_dx_set_c, weather.temp_c, plant.dx, xp=xp)
        temp_c, ratio, power_dx = cooled.temp_c, cooled.ratio, cooled.power_w
    supply_density = density_air_kg_per_m3(temp_c, pressure_pa)
    power_fans = xp.sum(fan_power_w(speed, each(plant.fan_power_w, speed), supply_density, plant.fans.exponent), axis=0)
    damper = command.damper
    return PlantOutcome(
        fan_flow_m3_per_s=flow,
        damper_flow_m3_per_s=damper * each(plant.damper_flow_m3_per_s, damper),
        temp_supply_c=temp_c,
        ratio_supply=ratio,
        rel_humidity_pct=relative_humidity_pct(temp_c, ratio, pressure_pa, xp=xp),
        temp_dewpoint_c=temp_dewpoint_c(ratio, pressure_pa, xp=xp),
        rho_cp_j_per_m3_k=supply_density * CP_AIR_J_PER_KG_K,
        power_fans_w=power_fans,
        power_pad_w=power_pad,
        power_dx_w=power_dx,
        water_kg_per_s=water,
    )
