"""Steps of workload that hidden miners go through: what is commanded when, in which air, with which fans."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from agents.pinn.miner_response_hidden import REGIMES
from agents.pinn.miner_response_settings import TICK_S
from agents.pinn.steady import Floats
from minesim.arrays import NUMPY
from minesim.physics.firmware import FirmwareCommand
from minesim.site import Exogenous, weather_terms

WARM_MIN: Final = 40
"""Before a record; standing miners were stopped in this time."""
DRIFT_H: Final = 6.0
HUMIDITY_PCT: Final = 50.0
CHANGE, START, STOP = "change", "start", "stop"
KIND_SHARES: Final = {CHANGE: 0.6, START: 0.2, STOP: 0.2}
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


def weather(plan: Plan, ticks: int, pressure_pa: float, rng: np.random.Generator) -> list[Exogenous]:
    """Outdoor air of each tick: a slow wave and gusts."""
    hours = np.arange(ticks)[:, None] * (TICK_S / 3600.0)
    gusts = np.repeat(0.3 * rng.standard_normal((ticks // 30 + 1, len(plan.kinds))), 30, axis=0)[:ticks]
    amb = plan.amb_c + plan.swing_k * np.sin(2.0 * np.pi * hours / DRIFT_H + plan.phase) + gusts
    wetbulb, ratio = weather_terms(amb, np.full_like(amb, HUMIDITY_PCT), np.full_like(amb, pressure_pa), xp=NUMPY)
    draw = np.full((amb.shape[1], 1), 0.5)
    return [Exogenous(amb[t], wetbulb[t], ratio[t], draw) for t in range(ticks)]


def command(plan: Plan, tick: int, first: int) -> FirmwareCommand:
    """What is commanded at a tick; the last reading before the step is at tick ``first``."""
    after = tick >= first + plan.late
    level = np.where(after, plan.level_after, plan.level_before)
    stands = (plan.kinds == START) & (tick >= plan.stopped_at) & ~after
    run = ~(stands | ((plan.kinds == STOP) & after))
    return FirmwareCommand(run[:, None].astype(float), level[:, None].astype(float), np.ones((len(run), 1)))
