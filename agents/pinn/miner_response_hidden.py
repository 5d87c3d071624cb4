"""Miners that a network does not know, and the telemetry of their steps of workload, made by the twin.

A hidden miner is the catalog's with other heat capacities, conductances, flow, leakage and supply. It also has what the
circuit of :mod:`agents.pinn.miner_response_circuit` has not: three boards of unequal silicon, of which sensors show the
hottest; heat transfer by the effectiveness-NTU law at the air density of its altitude and outdoors, not at the intake;
the firmware's start, ramp, fan loop, switcher and trip in 5 s sub-steps, while readings come every minute, out of step
with commands; a supply with quadratic loss and a fan in stages. Circuit and twin share the two-node idea: real miners
will be harder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from agents.pinn.miner_response_record import TEMPS, StepRecords
from agents.pinn.miner_response_settings import TICK_S, MinerResponseSettings
from agents.pinn.steady import Floats
from minesim.arrays import NUMPY
from minesim.control.fleet import CohortSpec
from minesim.errors import ParamsError, explain
from minesim.physics import fan, psu
from minesim.physics.firmware import FirmwareCommand, FirmwareParams, effective_preset
from minesim.site import (
    Exogenous,
    Outcome,
    PreparedSite,
    SiteState,
    hashrate_noise,
    initial_state,
    measure,
    prepare,
    transition,
    weather_terms,
)
from minesim.site_spec import SiteSpec, build_site

SUB_STEPS: Final = 2
WARM_MIN: Final = 40
"""Before a record; standing miners were stopped in this time."""
TEMP_NOISE_K: Final = 0.3
OUTLET_NOISE_K: Final = 0.3
INTAKE_NOISE_K: Final = 0.2
POWER_NOISE: Final = 0.005
"""Standard deviations of readings: before rounding to whole degrees; air sensors do not round (assumed)."""
STANDING_DUTY: Final = 0.05
"""Below it a fan counts as standing: the twin gives a standing miner 2 % of its flow."""
PSU_J_PER_K: Final = 2500.0
PSU_W_PER_K: Final = 19.0
"""About 4 kg that stand 12 K over the intake at 230 W of loss, both assumed (a farm saw its exhaust at 5 K)."""
PSU_STAGES: Final = ((0.0, 0.25), (0.02, 0.6), (0.5, 0.8), (0.8, 1.0))
"""From this share of rated load on, its conductance is this share (a fan in stages, assumed)."""
DRIFT_H: Final = 6.0
HUMIDITY_PCT: Final = 50.0
CHANGE, START, STOP = "change", "start", "stop"
KIND_SHARES: Final = {CHANGE: 0.6, START: 0.2, STOP: 0.2}
LEVELS: Final = 8
TRAINED: Final = (1, 2, 4, 6)
INNER: Final = (3, 5)
OUTER: Final = (0, 7)
"""Presets of a model from its lowest (0) to stock (7): of records to learn from, between and beyond them."""
AMBIENT_C: Final = {
    "train": ((4.0, 12.0), (18.0, 26.0)),
    "inner": ((12.0, 18.0),),
    "outer": ((-8.0, 0.0), (30.0, 36.0)),
}
"""Bands of outdoor air, degC; pads are off."""


@dataclass(frozen=True)
class HiddenMiner:
    """How a miner differs from its catalog model: factors, unless said.

    Attributes:
        chip_j, sink_j, chip_sink: of the boards' heat capacities and of the conductance between them.
        ntu, flow: of the air side at full speed.
        switching, leakage, beta: of the chips.
        psu_loss, psu_j, psu_conductance: of the supply.
        boards: leakage of each board.
        power_bias: relative error of the firmware's power estimate.
        pressure_pa: at its altitude, Pa.
    """

    chip_j: float
    sink_j: float
    chip_sink: float
    ntu: float
    flow: float
    switching: float
    leakage: float
    beta: float
    psu_loss: float
    psu_j: float
    psu_conductance: float
    boards: tuple[float, ...]
    power_bias: float
    pressure_pa: float


class FanRegime(NamedTuple):
    """How the fans run: automatic to a chip temperature (degC), or at a fixed duty."""

    target_c: float | None
    duty: float | None


REGIMES: Final = (
    FanRegime(60.0, None),
    FanRegime(70.0, None),
    FanRegime(None, 0.45),
    FanRegime(None, 0.6),
    FanRegime(None, 0.8),
    FanRegime(None, 1.0),
)


def draw_hidden(rng: np.random.Generator) -> HiddenMiner:
    """Draw a miner; the ranges are assumed."""

    def factor(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    return HiddenMiner(
        chip_j=factor(1.0, 3.0),
        sink_j=factor(0.7, 1.6),
        chip_sink=factor(0.75, 1.3),
        ntu=factor(0.75, 1.25),
        flow=factor(0.8, 1.1),
        switching=factor(0.95, 1.05),
        leakage=factor(0.7, 1.4),
        beta=factor(0.8, 1.25),
        psu_loss=factor(0.8, 1.3),
        psu_j=factor(0.7, 1.4),
        psu_conductance=factor(0.7, 1.4),
        boards=tuple(float(x) for x in np.exp(rng.normal(0.0, 0.1, 3))),
        power_bias=float(rng.uniform(-0.05, 0.05)),
        pressure_pa=float(rng.uniform(83e3, 101.3e3)),
    )


def catalog_spec(model: str) -> SiteSpec:
    """One miner in a room without a pad.

    Raises:
        CatalogError: unknown model, or one without an electrical model.
        ParamsError: a model that is not cooled by air or has not the presets that records need.
    """
    spec = SiteSpec("one", (CohortSpec(model, 1),))
    spec = replace(spec, room=replace(spec.room, pad_effectiveness=0.0), sub_steps=SUB_STEPS)
    site = build_site(spec)
    presets, boards = site.curves.preset_power_w.shape[1], site.miners.board_present.shape[0]
    if site.miners.liquid[0] > 0.0 or presets != LEVELS or boards != 3:
        raise ParamsError(
            explain(
                f"{model!r} has {presets} presets and {boards} boards",
                allowed=f"air-cooled models with {LEVELS} presets and 3 boards",
                fix='Take for instance model="Antminer S19j Pro".',
            )
        )
    return spec


def hidden_site(spec: SiteSpec, hidden: HiddenMiner, regime: FanRegime, count: int) -> PreparedSite:
    """The twin of a hidden miner, ``count`` times side by side, each alone in its room."""
    fw = spec.firmware
    if regime.duty is not None:
        fw = _fixed_fans(fw, regime.duty)
    elif regime.target_c is not None:
        fw = replace(fw, fan_target_c=regime.target_c)
    site = build_site(replace(spec, firmware=fw))
    m = site.miners
    miners = replace(
        m,
        chip_j_per_k=m.chip_j_per_k * hidden.chip_j,
        sink_j_per_k=m.sink_j_per_k * hidden.sink_j,
        chip_sink_w_per_k=m.chip_sink_w_per_k * hidden.chip_sink,
        ntu_ref=m.ntu_ref * hidden.ntu,
        flow_max_w_per_k=m.flow_max_w_per_k * hidden.flow,
        board_dyn_w=m.board_dyn_w * hidden.switching,
        board_leak_w=m.board_leak_w * hidden.leakage,
        beta_per_k=m.beta_per_k * hidden.beta,
        psu_standby_w=m.psu_standby_w * hidden.psu_loss,
        psu_linear=m.psu_linear * hidden.psu_loss,
        psu_per_w=m.psu_per_w * hidden.psu_loss,
    )
    return prepare(replace(site, miners=miners), count, float(TICK_S), np.zeros(1))


def _fixed_fans(fw: FirmwareParams, duty: float) -> FirmwareParams:
    return replace(fw, fan_duty_min=duty, fan_duty_boot=duty, fan_integral_per_k_min=0.0, fan_proportional_per_k=0.0)


class Plan(NamedTuple):
    """What is done to N miners: kinds, presets before and after, when standing ones were stopped (ticks of the warm
    time), ticks between the last reading and the step, outdoor air (mean, swing in K, phase) and fan regimes, (N,)."""

    kinds: np.ndarray
    level_before: np.ndarray
    level_after: np.ndarray
    stopped_at: np.ndarray
    late: np.ndarray
    amb_c: Floats
    swing_k: Floats
    phase: Floats
    regime: np.ndarray


def draw_plan(split: str, count: int, sample_ticks: int, rng: np.random.Generator) -> Plan:
    """Draw steps of workload.

    Args:
        split: ``train``, ``inner`` or ``outer``. Unseen presets are those that a change or start leads to, or that a
            stop leaves; in ``outer`` every second step has one, all have unseen air.
        count: how many.
        sample_ticks: ticks between readings.
        rng: of the draws.
    """
    kinds = rng.choice(list(KIND_SHARES), count, p=list(KIND_SHARES.values()))
    unseen = {"train": TRAINED, "inner": INNER, "outer": OUTER}[split]
    target = rng.choice(unseen, count)
    if split == "outer":
        target = np.where(np.arange(count) % 2 == 0, target, rng.choice(TRAINED, count))
    other = np.array([rng.choice([level for level in TRAINED if level != t]) for t in target])
    stop = kinds == STOP
    bands = np.array(AMBIENT_C[split])[rng.integers(0, len(AMBIENT_C[split]), count)]
    return Plan(
        kinds=kinds,
        level_before=np.where(stop, target, other),
        level_after=target,
        stopped_at=rng.integers(0, WARM_MIN * 60 // TICK_S, count),
        late=rng.integers(0, sample_ticks, count),
        amb_c=rng.uniform(bands[:, 0], bands[:, 1]),
        swing_k=rng.uniform(0.0, 3.0, count),
        phase=rng.uniform(0.0, 2.0 * np.pi, count),
        regime=rng.integers(0, len(REGIMES), count),
    )


def record_steps(
    model: str, hidden: HiddenMiner, split: str, count: int, settings: MinerResponseSettings, rng: np.random.Generator
) -> StepRecords:
    """Run the twin through steps of workload and read its instruments; about a second of one core.

    Args:
        model: catalog name.
        hidden: the miner.
        split: see :func:`draw_plan`.
        count: steps.
        settings: lengths and sampling.
        rng: of all draws.
    """
    spec = catalog_spec(model)
    plan = draw_plan(split, count, settings.sample_s // TICK_S, rng)
    parts, order = [], []
    for number, regime in enumerate(REGIMES):
        mine = np.flatnonzero(plan.regime == number)
        if len(mine):
            part = Plan(*(field[mine] for field in plan))
            parts.append(_record(hidden_site(spec, hidden, regime, len(mine)), hidden, part, settings, rng))
            order.append(mine)
    back = np.argsort(np.concatenate(order))
    kinds, inputs, readings, truth = (np.concatenate(arrays)[back] for arrays in zip(*parts, strict=True))
    rated_w = float(build_site(spec).curves.power_rated_w[0])
    return StepRecords(kinds, inputs, readings, truth, settings.before, settings.sample_s, rated_w)


def _record(
    site: PreparedSite, hidden: HiddenMiner, plan: Plan, settings: MinerResponseSettings, rng: np.random.Generator
) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Kinds, inputs, readings and truth of miners whose fans run alike, as in :class:`StepRecords`."""
    count, every = len(plan.kinds), settings.sample_s // TICK_S
    warm = WARM_MIN * 60 // TICK_S
    first = warm + settings.before * every
    ticks = first + settings.after * every
    weather = _weather(plan, ticks, hidden.pressure_pa, rng)
    state = _first_state(site, hidden, plan, weather[0])
    psu_c = plan.amb_c.copy()
    rows = []
    for tick, exog in enumerate(weather):
        command = _command(plan, tick, first, count)
        state, outcome = transition(state, command, exog, site)
        psu_c = _next_psu_c(psu_c, state, outcome, site, hidden)
        if tick >= warm - every:
            rows.append(_seen(state, outcome, psu_c, hidden, site))
    # Means over the interval before each reading, and values at it; the first row closes the first interval.
    names = rows[0].keys()
    seen = {name: np.array([row[name] for row in rows]).reshape(-1, every, count) for name in names}
    mean = {name: seen[name].mean(axis=1).T for name in ("hashrate_ths", "power_w")}
    at = {name: seen[name][:, -1].T for name in names}
    curves = site.params.curves
    level = at["preset"].astype(int)
    hashrate = mean["hashrate_ths"] * hashrate_noise(rng.uniform(size=level.shape))
    share = hashrate / curves.preset_hashrate_ths[0][level]
    intake = at["intake_c"] + INTAKE_NOISE_K * rng.standard_normal(level.shape)
    inputs = np.stack(
        [
            curves.preset_power_w[0][level],
            share,
            (share > 0.0).astype(float),
            at["running"],
            np.where(at["duty"] < STANDING_DUTY, 0.0, at["duty"]),
            intake,
        ],
        axis=-1,
    )
    truth = np.stack([*(at[name] for name in TEMPS), mean["power_w"]], axis=-1)
    noise = rng.standard_normal(truth.shape)
    readings = np.round(truth + TEMP_NOISE_K * noise)
    outlet, power = TEMPS.index("outlet"), len(TEMPS)
    readings[..., outlet] = truth[..., outlet] + OUTLET_NOISE_K * noise[..., outlet]
    readings[..., power] = truth[..., power] * (1.0 + hidden.power_bias + POWER_NOISE * noise[..., power])
    return plan.kinds, inputs[:, 1:], readings, truth


def _weather(plan: Plan, ticks: int, pressure_pa: float, rng: np.random.Generator) -> list[Exogenous]:
    """Outdoor air of each tick: a slow wave and gusts."""
    hours = np.arange(ticks)[:, None] * (TICK_S / 3600.0)
    gusts = np.repeat(0.3 * rng.standard_normal((ticks // 30 + 1, len(plan.kinds))), 30, axis=0)[:ticks]
    amb = plan.amb_c + plan.swing_k * np.sin(2.0 * np.pi * hours / DRIFT_H + plan.phase) + gusts
    wetbulb, ratio = weather_terms(amb, np.full_like(amb, HUMIDITY_PCT), np.full_like(amb, pressure_pa), xp=NUMPY)
    draw = np.full((amb.shape[1], 1), 0.5)
    return [Exogenous(amb[t], wetbulb[t], ratio[t], draw) for t in range(ticks)]


def _first_state(site: PreparedSite, hidden: HiddenMiner, plan: Plan, exog: Exogenous) -> SiteState:
    silicon = np.array(hidden.boards)[:, None, None] * np.ones((1, len(plan.kinds), 1))
    bias = np.full((len(plan.kinds), 1), hidden.power_bias)
    return initial_state(site, exog.temp_amb_c, silicon, bias, preset=plan.level_before[:, None].astype(float))


def _command(plan: Plan, tick: int, first: int, count: int) -> FirmwareCommand:
    after = tick >= first + plan.late
    level = np.where(after, plan.level_after, plan.level_before)
    stands = (plan.kinds == START) & (tick >= plan.stopped_at) & ~after
    run = ~(stands | ((plan.kinds == STOP) & after))
    return FirmwareCommand(run[:, None].astype(float), level[:, None].astype(float), np.ones((count, 1)))


def _seen(
    state: SiteState, outcome: Outcome, psu_c: Floats, hidden: HiddenMiner, site: PreparedSite
) -> dict[str, Floats]:
    """What instruments would show without noise, (N,) each."""
    told = measure(
        0.0 * state.power_bias,
        outcome,
        np.ones_like(state.power_bias),
        0.0,
        site.params.firmware.chip_offset_k,
        xp=NUMPY,
    )
    half_rise_k = outcome.temp_board_c - state.temp_sink_c.max(axis=0)
    seen = {
        "hashrate_ths": told.hashrate_ths,
        "power_w": told.power_w,
        "duty": told.fan_duty,
        "intake_c": told.temp_intake_c[:, None],
        "running": state.firmware.running,
        "preset": effective_preset(state.firmware),
        "chip": state.temp_chip_c.max(axis=0),
        "board": outcome.temp_board_c,
        "outlet": told.temp_intake_c[:, None] + 2.0 * half_rise_k,
        "psu": psu_c[:, None],
    }
    return {name: value[:, 0] for name, value in seen.items()}


def _next_psu_c(psu_c: Floats, state: SiteState, outcome: Outcome, site: PreparedSite, hidden: HiddenMiner) -> Floats:
    """Advance the supply's temperature by a tick, exactly for a constant loss; the twin has no node for it."""
    m = site.miners
    rail = (outcome.hashing > 0.0).astype(float)
    fixed = site.params.off_w + state.firmware.running * site.standing_w - rail * site.params.boot_w
    input_w = outcome.power_w - fixed - fan.fan_power_w(outcome.fan_duty, m.fan_max_w)
    losses = m.psu_standby_w, m.psu_linear, m.psu_per_w
    load_w = psu.dc_load_w(input_w, rail, losses, xp=NUMPY)
    loss_w = psu.loss_w(load_w, rail, losses)[:, 0]
    share = load_w[:, 0] / float(site.params.curves.power_rated_w[0])
    stage = np.select([share >= start for start, _ in PSU_STAGES[::-1]], [part for _, part in PSU_STAGES[::-1]])
    conductance = PSU_W_PER_K * hidden.psu_conductance * stage
    aim = outcome.temp_intake_c + loss_w / conductance
    kept = np.exp(-conductance * TICK_S / (PSU_J_PER_K * hidden.psu_j))
    settled: Floats = aim + (psu_c - aim) * kept
    return settled


def hidden_values(model: str, hidden: HiddenMiner) -> dict[str, float]:
    """What some numbers of the circuit are in truth, for the whole miner, by the names of its values."""
    m = build_site(catalog_spec(model)).miners
    boards = float(m.board_present.sum())
    return {
        "chip_j_per_k": boards * float(m.chip_j_per_k[0]) * hidden.chip_j,
        "sink_j_per_k": boards * float(m.sink_j_per_k[0]) * hidden.sink_j,
        "psu_j_per_k": PSU_J_PER_K * hidden.psu_j,
        "chip_sink_w_per_k": boards * float(m.chip_sink_w_per_k[0]) * hidden.chip_sink,
        "beta_per_k": float(m.beta_per_k[0]) * hidden.beta,
        "leak_w": boards * float(m.board_leak_w[0][-1]) * hidden.leakage * float(np.mean(hidden.boards)),
        "fan_w": float(m.fan_max_w[0]),
    }


def about_hidden(hidden: HiddenMiner) -> dict[str, object]:
    """Its differences, JSON-like."""
    return asdict(hidden)
