"""How often a rollout is wrong, and how soon it sees a loss: the tables of docs/rollout.md.

python -m tests.benchmarks.rollout_power
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minesim.bridge.rollouts.rollout import Status
from tests.bridge.test_rollout import PLAN, story
from tests.bridge.test_sequential import ever_above_zero

RUNS = 200
DAYS = 90
DRAWS = 2000


def false_alarms() -> None:
    """Share of series without a difference whose interval ever leaves zero on one side, at 45 looks."""
    shape = (DRAWS, 14 + 45)

    def alike(rng: np.random.Generator) -> np.ndarray:
        draw = rng.standard_normal(shape)
        for step in range(1, shape[1]):
            draw[:, step] = 0.3 * draw[:, step - 1] + math.sqrt(1 - 0.3**2) * draw[:, step]
        return draw

    def after(values: Callable[[np.random.Generator], np.ndarray]) -> Callable[[np.random.Generator], np.ndarray]:
        return lambda rng: np.hstack([rng.standard_normal((DRAWS, 14)), values(rng)])

    cases: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
        "normal": lambda rng: rng.standard_normal(shape),
        "Student's t, 3 degrees of freedom": lambda rng: rng.standard_t(3, shape),
        "twice the scatter after": after(lambda rng: 2.0 * rng.standard_normal((DRAWS, 45))),
        "neighbours alike (0.3)": alike,
        "exponential after (rare bad days)": after(lambda rng: 1.0 - rng.exponential(size=(DRAWS, 45))),
        "exponential after (rare good days)": after(lambda rng: rng.exponential(size=(DRAWS, 45)) - 1.0),
        "log-normal after (very rare bad days)": after(lambda rng: math.exp(0.5) - rng.lognormal(size=(DRAWS, 45))),
    }
    for name, draw in cases.items():
        print(f"| {name} | {ever_above_zero(draw(np.random.default_rng(1)), 14, 0.05):.1%} |")


def rollouts() -> None:
    """Where rollouts of 100 miners end after a baseline of 14 days and 76 more, by effect and daily scatter."""
    for sd in (0.0025, 0.005, 0.01, 0.02):
        for effect in (0.0, -PLAN.margin, -0.02):
            ends = []
            for seed in range(RUNS):
                states = story(DAYS, effect=effect, sd=sd, seed=seed)
                ends.append((states[-1].status, len(states)))
            cells = []
            for status in (Status.ROLLED_BACK, Status.COMPLETE):
                days = [day for end, day in ends if end is status]
                cells.append(f"{len(days) / RUNS:.1%}" + (f", day {np.median(days):.0f}" if days else ""))
            print(f"| {sd:.2%} | {effect:.0%} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    false_alarms()
    rollouts()
