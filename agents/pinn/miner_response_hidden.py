"""Miners that a network does not know: the twin of a catalog model with other numbers, and their power supply.

A hidden miner is the catalog's with other heat capacities, conductances, flow, leakage and supply. It also has what the
circuit of :mod:`agents.pinn.miner_response_circuit` has not: three boards of unequal silicon, heat transfer by the
effectiveness-NTU law at the air density of its altitude and outdoors, not at the intake; the firmware's start, ramp,
fan loop, switcher and trip in 5 s sub-steps; a supply with quadratic loss and a fan in stages. Circuit and twin share
the two-node idea: real miners will be harder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from agents.pinn.miner_response_settings import TICK_S
from agents.pinn.steady import Floats
from minesim.arrays import NUMPY
from minesim.control.fleet import CohortSpec
from minesim.errors import ParamsError, explain
from minesim.physics import fan, psu
from minesim.physics.firmware import FirmwareParams
from minesim.site import Outcome, PreparedSite, SiteState, initial_state, prepare
from minesim.site_spec import SiteSpec, build_site

SUB_STEPS: Final = 2
LEVELS: Final = 8
"""Presets that a model must have."""
PSU_J_PER_K: Final = 2500.0
PSU_W_PER_K: Final = 19.0
"""About 4 kg that stand 12 K over the intake at 230 W of loss, both assumed (a farm saw its exhaust at 5 K)."""
PSU_STAGES: Final = ((0.0, 0.25), (0.02, 0.6), (0.5, 0.8), (0.8, 1.0))
"""From this share of rated load on, its conductance is this share (a fan in stages, assumed)."""


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


def first_state(site: PreparedSite, hidden: HiddenMiner, level: np.ndarray, amb_c: Floats) -> SiteState:
    """Miners at rest at presets (N,) and outdoor air (N,), degC."""
    silicon = np.array(hidden.boards)[:, None, None] * np.ones((1, len(level), 1))
    bias = np.full((len(level), 1), hidden.power_bias)
    return initial_state(site, amb_c, silicon, bias, preset=level[:, None].astype(float))


def next_psu_c(psu_c: Floats, state: SiteState, outcome: Outcome, site: PreparedSite, hidden: HiddenMiner) -> Floats:
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
