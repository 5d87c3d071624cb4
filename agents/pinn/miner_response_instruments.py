"""Instruments of a hidden miner: what they would show, and what telemetry reports of it.

Sensors show the hottest chip and board. Temperatures come with noise and in whole degrees, those of air with noise
alone, power with the bias of the firmware's estimate.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from agents.pinn.miner_response_record import INPUTS, PART, TEMPS, part_before
from agents.pinn.steady import Floats
from minesim.arrays import NUMPY
from minesim.physics.firmware import effective_preset
from minesim.site import Outcome, PreparedSite, SiteState, hashrate_noise, measure

TEMP_NOISE_K: Final = 0.3
OUTLET_NOISE_K: Final = 0.3
INTAKE_NOISE_K: Final = 0.2
POWER_NOISE: Final = 0.005
"""Standard deviations of readings: before rounding to whole degrees; air sensors do not round (assumed)."""
STANDING_DUTY: Final = 0.05
"""Below it a fan counts as standing: the twin gives a standing miner 2 % of its flow."""


def shown(state: SiteState, outcome: Outcome, psu_c: Floats, site: PreparedSite) -> dict[str, Floats]:
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


def reported(
    rows: list[dict[str, Floats]],
    every: int,
    before: int,
    power_bias: float,
    site: PreparedSite,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """Telemetry of what instruments showed at each tick.

    Args:
        rows: of :func:`shown`, a whole number of samples; the first sample only closes the first interval.
        every: ticks of a sample.
        before: number of the interval of the step.
        power_bias: relative error of the firmware's power estimate.
        site: whose.
        rng: of the noise.

    Returns:
        Inputs, readings and truth as in :class:`agents.pinn.miner_response_record.StepRecords`.
    """
    seen = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    seen = {name: values.reshape(-1, every, values.shape[-1]) for name, values in seen.items()}
    mean = {name: seen[name].mean(axis=1).T for name in ("hashrate_ths", "power_w")}
    at = {name: values[:, -1].T for name, values in seen.items()}
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
            np.zeros_like(share),
        ],
        axis=-1,
    )[:, 1:]
    near = hashrate[:, before : before + 3] / curves.preset_hashrate_ths[0].max()
    inputs[:, before, PART] = part_before(near)
    for name in ("share", "rail"):
        # After the step the interval was like the next one; until then, like the one before.
        inputs[:, before, INPUTS.index(name)] = inputs[:, before + 1, INPUTS.index(name)]
    truth = np.stack([*(at[name] for name in TEMPS), mean["power_w"]], axis=-1)
    noise = rng.standard_normal(truth.shape)
    readings = np.round(truth + TEMP_NOISE_K * noise)
    outlet, power = TEMPS.index("outlet"), len(TEMPS)
    readings[..., outlet] = truth[..., outlet] + OUTLET_NOISE_K * noise[..., outlet]
    readings[..., power] = truth[..., power] * (1.0 + power_bias + POWER_NOISE * noise[..., power])
    return inputs, readings, truth
