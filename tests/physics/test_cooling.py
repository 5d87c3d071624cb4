"""The cooling plant: known psychrometric answers, balances, monotonic maps, the trade-off of fans and leakage."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minesim.arrays import NUMPY, torch_namespace
from minesim.catalog.layouts import layout
from minesim.errors import ParamsError
from minesim.physics import cooling
from minesim.physics.cooling import (
    OFF,
    DryCoolerParams,
    DxParams,
    PadParams,
    PlantCommand,
    Weather,
    dry_cooler,
    dx_coil,
    evaporative_pad,
    plant_of,
    run_plant,
)
from minesim.physics.psychrometrics import (
    density_air_kg_per_m3,
    humidity_ratio,
    pressure_at_altitude_pa,
    relative_humidity_pct,
    temp_dewpoint_c,
    temp_wetbulb_at_c,
)
from minesim.physics.room_grid import advance, inlet_temps_c, room_model, set_air

SEA = 101325.0


def weather(temp_c: float, humidity: float, pressure_pa: float = SEA) -> Weather:
    return Weather(np.asarray(temp_c), np.asarray(humidity), np.asarray(pressure_pa))


# --- moist air


@pytest.mark.parametrize(
    ("temp_c", "humidity", "wet_c", "dew_c", "ratio"),
    # Psychrometric chart at sea level.
    [(30.0, 50.0, 22.0, 18.4, 0.0133), (35.0, 40.0, 23.95, 19.4, 0.0141), (25.0, 50.0, 17.9, 13.9, 0.0099)],
)
def test_moist_air_reads_as_on_the_chart(
    temp_c: float, humidity: float, wet_c: float, dew_c: float, ratio: float
) -> None:
    w = humidity_ratio(temp_c, humidity, SEA, xp=NUMPY)
    assert w == pytest.approx(ratio, abs=1e-4)
    assert temp_wetbulb_at_c(temp_c, w, SEA, xp=NUMPY) == pytest.approx(wet_c, abs=0.15)
    assert temp_dewpoint_c(w, SEA, xp=NUMPY) == pytest.approx(dew_c, abs=0.15)
    assert relative_humidity_pct(temp_c, w, SEA, xp=NUMPY) == pytest.approx(humidity, rel=1e-9)


@given(temp_c=st.floats(-20.0, 50.0), humidity=st.floats(2.0, 100.0), pressure_pa=st.floats(70e3, 104e3))
@settings(max_examples=200, deadline=None)
def test_wet_bulb_lies_between_dew_point_and_dry_bulb(temp_c: float, humidity: float, pressure_pa: float) -> None:
    w = humidity_ratio(temp_c, humidity, pressure_pa, xp=NUMPY)
    wet_c = float(temp_wetbulb_at_c(temp_c, w, pressure_pa, xp=NUMPY))
    dew_c = float(temp_dewpoint_c(w, pressure_pa, xp=NUMPY))
    assert dew_c - 0.02 <= wet_c <= temp_c + 1e-9
    saturated = float(humidity_ratio(wet_c, 100.0, pressure_pa, xp=NUMPY))
    left = (2501.0 - 2.326 * wet_c) * saturated - 1.006 * (temp_c - wet_c)
    assert left == pytest.approx(w * (2501.0 + 1.86 * temp_c - 4.186 * wet_c), abs=3e-3)


def test_thin_air_has_a_lower_wet_bulb_and_carries_less() -> None:
    high_pa = pressure_at_altitude_pa(1650.0)
    assert high_pa == pytest.approx(83.0e3, rel=0.01)
    low, high = (temp_wetbulb_at_c(35.0, humidity_ratio(35.0, 20.0, p, xp=NUMPY), p, xp=NUMPY) for p in (SEA, high_pa))
    assert 0.3 < low - high < 1.5
    assert density_air_kg_per_m3(35.0, high_pa) / density_air_kg_per_m3(35.0, SEA) == pytest.approx(high_pa / SEA)


# --- pad

PAD = PadParams(face_m2=20.0)


def test_a_pad_reaches_the_share_of_the_wet_bulb_depression_that_the_table_gives() -> None:
    # 0.15 m at 1.5 m/s: 0.75; at 2.5 m/s: 0.68.
    air = weather(38.0, 20.0)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    wet_c = temp_wetbulb_at_c(air.temp_c, ratio, SEA, xp=NUMPY)
    for flow, share in ((30.0, 0.75), (50.0, 0.68)):
        after = evaporative_pad(air, ratio, np.asarray(flow), np.asarray(1.0), PAD, xp=NUMPY)
        assert (38.0 - after.temp_c) / (38.0 - wet_c) == pytest.approx(share, abs=0.006)
        half = evaporative_pad(air, ratio, np.asarray(flow), np.asarray(0.5), PAD, xp=NUMPY)
        assert 38.0 - half.temp_c == pytest.approx(0.5 * (38.0 - after.temp_c))


@given(temp_c=st.floats(6.0, 48.0), humidity=st.floats(3.0, 100.0), flow=st.floats(5.0, 80.0), duty=st.floats(0.0, 1.0))
@settings(max_examples=150, deadline=None)
def test_a_pad_keeps_the_enthalpy_of_air_and_water_and_counts_the_water(
    temp_c: float, humidity: float, flow: float, duty: float
) -> None:
    air = weather(temp_c, humidity)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    after = evaporative_pad(air, ratio, np.asarray(flow), np.asarray(duty), PAD, xp=NUMPY)
    gained = float(after.ratio - ratio)
    # The air's enthalpy grows only by that of the water, which is as warm as the wet bulb, kJ/kg. At 48 C and 3 % the
    # fit of the wet bulb and the bend of the line leave 0.158 at worst, as much as 0.16 K of air.
    before_kj, after_kj = (
        1.006 * t + w * (2501.0 + 1.86 * t) for t, w in ((temp_c, ratio), (after.temp_c, after.ratio))
    )
    wet_c = temp_wetbulb_at_c(air.temp_c, ratio, SEA, xp=NUMPY)
    assert after_kj - before_kj == pytest.approx(4.186 * wet_c * gained, abs=0.16)
    assert relative_humidity_pct(after.temp_c, after.ratio, SEA, xp=NUMPY) <= 101.0
    dry = flow * density_air_kg_per_m3(temp_c, SEA)
    assert float(after.water_kg_per_s) == pytest.approx(dry * gained * 4.0 / 3.0, rel=1e-9)


def test_evaporating_a_kilowatt_hour_takes_a_litre_and_a_half() -> None:
    # Evaporation alone takes 1.47 L/kWh; the bleed adds a third.
    air = weather(38.0, 20.0)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    after = evaporative_pad(air, ratio, np.asarray(30.0), np.asarray(1.0), PAD, xp=NUMPY)
    cooling_kw = 30.0 * density_air_kg_per_m3(38.0, SEA) * 1.006 * (38.0 - after.temp_c)
    assert float(after.water_kg_per_s) * 3600.0 / cooling_kw * 0.75 == pytest.approx(1.47, rel=0.05)


def test_a_pad_stays_dry_in_the_cold() -> None:
    air = weather(4.0, 40.0)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    after = evaporative_pad(air, ratio, np.asarray(30.0), np.asarray(1.0), PAD, xp=NUMPY)
    assert (float(after.temp_c), float(after.water_kg_per_s), float(after.power_w)) == (4.0, 0.0, 0.0)


# --- coil


def test_a_coil_is_itself_at_its_rating() -> None:
    # Curves are scaled to 1 at 19.4 C wet bulb and 35 C outdoors.
    assert cooling.dx_capacity_share(np.asarray(19.44), np.asarray(35.0), xp=NUMPY) == pytest.approx(1.0, abs=0.01)
    assert cooling.dx_input_share(np.asarray(19.44), np.asarray(35.0), xp=NUMPY) == pytest.approx(1.0, abs=0.01)


def test_a_hotter_day_costs_more_and_gives_less_cooling() -> None:
    outdoors = np.linspace(20.0, 46.0, 14)
    assert (np.diff(cooling.dx_input_share(np.asarray(18.0), outdoors, xp=NUMPY)) > 0.0).all()
    assert (np.diff(cooling.dx_capacity_share(np.asarray(18.0), outdoors, xp=NUMPY)) < 0.0).all()


@given(
    temp_c=st.floats(15.0, 48.0),
    humidity=st.floats(5.0, 95.0),
    set_c=st.floats(5.0, 45.0),
    flow=st.floats(0.0, 60.0),
    capacity_kw=st.floats(10.0, 1000.0),
)
@settings(max_examples=200, deadline=None)
def test_a_coil_balances_and_keeps_to_its_capacity(
    temp_c: float, humidity: float, set_c: float, flow: float, capacity_kw: float
) -> None:
    air, dx = weather(temp_c, humidity), DxParams(capacity_kw * 1e3)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    after = dx_coil(air, ratio, np.asarray(flow), np.asarray(set_c), air.temp_c, dx, xp=NUMPY)
    taken = flow * (1006.0 * (temp_c - after.temp_c) + 2.45e6 * (ratio - after.ratio))
    assert float(after.heat_w) == pytest.approx(float(taken), rel=1e-6, abs=1e-3)
    assert min(set_c, temp_c) - 1e-9 <= after.temp_c <= temp_c + 1e-9
    assert after.heat_w <= dx.capacity_w * 1.25
    if after.heat_w > 1.0:
        assert 1.2 < after.heat_w / after.power_w < 6.0
    else:
        assert after.power_w < 1.0


def test_a_cold_coil_dries_muggy_air_to_saturation_and_the_condensate_counts() -> None:
    air = weather(30.0, 80.0)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    after = dx_coil(air, ratio, np.asarray(5.0), np.asarray(14.0), air.temp_c, DxParams(1e6), xp=NUMPY)
    assert relative_humidity_pct(after.temp_c, after.ratio, SEA, xp=NUMPY) == pytest.approx(100.0)
    assert float(after.water_kg_per_s) == pytest.approx(-5.0 * (0.0216 - 0.0100), abs=2e-3)
    assert after.heat_w > 2.2 * 5.0 * 1006.0 * 16.0
    dry = dx_coil(
        weather(30.0, 20.0), 0.3 * ratio, np.asarray(5.0), np.asarray(14.0), air.temp_c, DxParams(1e6), xp=NUMPY
    )
    assert float(dry.water_kg_per_s) == 0.0


def test_a_coil_at_part_load_is_less_efficient() -> None:
    air, dx = weather(35.0, 20.0), DxParams(200e3)
    ratio = humidity_ratio(air.temp_c, air.rel_humidity_pct, SEA, xp=NUMPY)
    cops = []
    for set_c in (34.0, 31.0, 26.0):
        after = dx_coil(air, ratio, np.asarray(15.0), np.asarray(set_c), air.temp_c, dx, xp=NUMPY)
        cops.append(float(after.heat_w / after.power_w))
    assert cops == sorted(cops)
    assert cops[0] < 0.9 * cops[2]


# --- dry cooler


def test_a_dry_cooler_needs_less_approach_with_more_air_and_more_in_thin_air() -> None:
    params = DryCoolerParams(flow_m3_per_s=120.0, power_w=40e3, coolant_w_per_k=300e3)
    heat = np.asarray(1.9e6)
    results = [
        dry_cooler(heat, np.asarray(s), np.asarray(30.0), np.asarray(SEA), params, xp=NUMPY) for s in (0.4, 0.7, 1.0)
    ]
    supplies = [float(r.temp_supply_c) for r in results]
    assert supplies == sorted(supplies, reverse=True)
    assert results[2].temp_return_c - results[2].temp_supply_c == pytest.approx(1.9e6 / 300e3)
    assert results[1].power_w / results[2].power_w == pytest.approx(0.7**2.8)
    thin = dry_cooler(heat, np.asarray(1.0), np.asarray(30.0), np.asarray(83e3), params, xp=NUMPY)
    assert thin.temp_supply_c > supplies[2] + 1.0
    mean_c = 0.5 * (results[2].temp_supply_c + results[2].temp_return_c)
    stream = 120.0 * density_air_kg_per_m3(30.0, SEA) * 1006.0
    ntu = 1.5 * (density_air_kg_per_m3(30.0, SEA) / 1.2) ** -0.4
    assert stream * (1.0 - math.exp(-ntu)) * (mean_c - 30.0) == pytest.approx(1.9e6)


# --- the whole plant


def command(fans: int, dampers: int, speed: float = 1.0, pad: float = 0.0, set_c: float = OFF) -> PlantCommand:
    return PlantCommand(np.full(fans, speed), np.zeros(dampers), np.asarray(pad), np.asarray(set_c))


def test_the_plant_of_a_container_on_a_hot_dry_day() -> None:
    plan = layout("container_40ft")
    plant = plant_of(plan, PadParams(face_m2=28.0), DxParams(100e3))
    bare = run_plant(plant, command(4, 2), weather(40.0, 15.0), xp=NUMPY)
    assert float(bare.temp_supply_c) == 40.0
    assert bare.fan_flow_m3_per_s.sum() == pytest.approx(46.0)
    assert float(bare.power_fans_w) == pytest.approx(4 * 2500.0 * density_air_kg_per_m3(40.0, SEA) / 1.2)
    wet = run_plant(plant, command(4, 2, pad=1.0), weather(40.0, 15.0), xp=NUMPY)
    assert 24.0 < wet.temp_supply_c < 28.0
    assert 50.0 < wet.rel_humidity_pct < 80.0
    assert wet.temp_dewpoint_c < wet.temp_supply_c
    assert 0.3 < wet.water_kg_per_s < 0.6
    both = run_plant(plant, command(4, 2, pad=1.0, set_c=20.0), weather(40.0, 15.0), xp=NUMPY)
    assert both.temp_supply_c < wet.temp_supply_c - 1.0
    assert 15e3 < both.power_dx_w < 50e3
    slow = run_plant(plant, command(4, 2, speed=0.05), weather(40.0, 15.0), xp=NUMPY)
    assert float(slow.power_fans_w) == 0.0
    assert slow.fan_flow_m3_per_s.sum() == 0.0


def test_a_pad_treats_what_comes_in_by_whichever_fans_move_more() -> None:
    pad = PadParams(face_m2=10.0)
    drawn = replace(plant_of(layout("container_40ft"), pad), damper_flow_m3_per_s=())
    pushed = replace(drawn, fan_is_exhaust=(0.0, 0.0, 0.0, 1.0))
    water = [
        float(run_plant(plant, command(4, 0, 0.5, pad=1.0), weather(35.0, 20.0), xp=NUMPY).water_kg_per_s)
        for plant in (drawn, pushed, replace(pushed, fan_is_exhaust=(0.0, 0.0, 0.0, 0.0)))
    ]
    assert water[0] == pytest.approx(water[2])
    assert 0.75 * water[0] < water[1] < 0.85 * water[0]  # three quarters of the air, at a better effectiveness


def test_batch_and_torch_agree_with_one_site() -> None:
    torch = pytest.importorskip("torch")
    plant = plant_of(layout("hall"), PadParams(face_m2=120.0), DxParams(300e3))
    rng = np.random.default_rng(0)
    speeds, dampers = rng.uniform(0.0, 1.0, (8, 5)), rng.uniform(0.0, 1.0, (4, 5))
    pad, set_c = rng.uniform(0.0, 1.0, 5), rng.uniform(15.0, 30.0, 5)
    air = Weather(rng.uniform(-5.0, 45.0, 5), rng.uniform(10.0, 90.0, 5), rng.uniform(80e3, 102e3, 5))
    batch = run_plant(plant, PlantCommand(speeds, dampers, pad, set_c), air, xp=NUMPY)
    tensors = [torch.as_tensor(a) for a in (speeds, dampers, pad, set_c)]
    wide = run_plant(plant, PlantCommand(*tensors), Weather(*(torch.as_tensor(a) for a in air)), xp=torch_namespace())
    for ours, theirs in zip(batch, wide, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-10, atol=1e-12)
    for b in range(5):
        one = PlantCommand(speeds[:, b], dampers[:, b], np.asarray(pad[b]), np.asarray(set_c[b]))
        lone = run_plant(plant, one, Weather(*(np.asarray(a[b]) for a in air)), xp=NUMPY)
        for ours, theirs in zip(batch, lone, strict=True):
            np.testing.assert_allclose(theirs, np.asarray(ours)[..., b], rtol=1e-10, atol=1e-12)


def test_an_impossible_plant_is_refused() -> None:
    plan = layout("container_40ft")
    for pad, message in (
        (PadParams(face_m2=-1.0), r"face_m2 of PadParams is -1"),
        (PadParams(face_m2=10.0, depth_m=0.5), r"the pad is 0.5 m deep"),
        (PadParams(face_m2=10.0, cycles=1.0), r"1 cycles"),
    ):
        with pytest.raises(ParamsError, match=message):
            plant_of(plan, pad)
    with pytest.raises(ParamsError, match=r"cop of DxParams is nan"):
        plant_of(plan, dx=DxParams(1e5, math.nan))
    with pytest.raises(ParamsError, match=r"'hydro_row' has a pad or coil but no treated opening"):
        plant_of(layout("hydro_row"), PadParams(face_m2=10.0))
    with pytest.raises(ParamsError, match=r"listed \[3, 4\] times"):
        replace(plant_of(plan), fan_power_w=(1.0, 2.0, 3.0))


# --- joined with the room


def site_watts(room_speed: float, temp_c: float) -> tuple[float, float]:
    """Fans of room and miners plus leakage of a container's 200 miners, W, and the hottest chip, degC.

    Each group's fans hold 70 C at the chip (40 K over the intake at full speed and 3.3 kW, a rise that goes with
    1 / speed^0.7); leakage is 25 % of power at 70 C and grows by 2 % a kelvin: a caricature of a miner, for its shape.
    """
    plan = layout("container_40ft")
    plant, model = plant_of(plan), room_model(plan, 8, 4)
    out = run_plant(plant, command(4, 2, room_speed), weather(temp_c, 30.0), xp=NUMPY)
    miners = np.array([g.miners for g in plan.groups])
    speed, chip_c = np.full(16, 0.7), np.full(16, 70.0)
    for _ in range(200):
        leakage = 0.25 * 3300.0 * np.exp(0.02 * (chip_c - 70.0))
        power = 0.75 * 3300.0 + leakage
        flows = np.concatenate([miners * 0.175 * speed, out.fan_flow_m3_per_s, np.zeros(2)])
        _, equations, factor = set_air(model, flows, float(out.rho_cp_j_per_m3_k), math.inf, xp=NUMPY)
        air = advance(model, equations, factor, np.zeros((8, 4)), miners * power, float(out.temp_supply_c), temp_c)
        rise = 40.0 * power / 3300.0 / speed**0.7
        chip_c = 0.5 * chip_c + 0.5 * np.minimum(inlet_temps_c(model, equations, air.air_c) + rise, 110.0)
        speed = np.clip(speed * np.exp(0.03 * (chip_c - 70.0)), 0.1, 1.0)
    fans_w = (miners * 80.0 * speed**3).sum()
    return float(out.power_fans_w + fans_w + (miners * leakage).sum()), float(chip_c.max())


def test_room_fans_miner_fans_and_leakage_trade_off_inside_the_range() -> None:
    speeds = (0.3, 0.45, 0.6, 0.75, 1.0)
    mild = [site_watts(s, 15.0)[0] for s in speeds]
    assert mild.index(min(mild)) in (1, 2, 3)
    assert mild[-1] > min(mild) + 1000.0
    assert mild[0] > min(mild) + 1000.0
    hot = [site_watts(s, 28.0) for s in speeds]
    assert [w for w, _ in hot].index(min(w for w, _ in hot)) >= mild.index(min(mild))
    assert [c for _, c in hot] == sorted((c for _, c in hot), reverse=True)


def test_dampers_warm_a_winter_intake_to_what_the_mixing_asks_for() -> None:
    plan = layout("container_40ft")
    model, heat = room_model(plan, 16, 8), np.array([g.miners * g.power_w for g in plan.groups])
    miners = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    fans, dampers = np.full(4, 1.0 * miners.sum() / 4), np.full(2, 0.0)

    def settle(fans: Any, dampers: Any) -> tuple[float, float]:
        flows = np.concatenate([miners, fans, dampers])
        _, equations, factor = set_air(model, flows, 1.33 * 1006.0, math.inf, xp=NUMPY)
        air = advance(model, equations, factor, np.zeros((16, 8)), heat, -15.0, -15.0).air_c
        return float(np.average(inlet_temps_c(model, equations, air), weights=miners)), float(air[:, 4:].mean())

    cold_c, _ = settle(fans, dampers)
    assert cold_c < -14.0
    # What the dampers return, the fans need not exhaust.
    share = 0.4
    inlet_c, hot_c = settle((1.0 - share) * fans, np.full(2, share * miners.sum() / 2))
    assert cooling.recirculation_for(-15.0, hot_c, inlet_c, xp=NUMPY) == pytest.approx(share, abs=0.04)
