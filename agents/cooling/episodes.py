"""Play weeks of a cooled hall side by side, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from agents.cooling.knowledge import Floats
from minesim.control.policy import Policy
from minesim.envs.cooling_core import CoolingCore, CoolingWorld
from minesim.tasks.cooling import LIMITS
from minesim.units import SECONDS_PER_HOUR

USD = ("cooling_usd", "miner_fans_usd", "leakage_usd", "water_usd", "lost_usd", "wear_usd")
MEASURES = {
    "cost_usd": "cost of cooling: its energy, miners' fans, leakage, water, lost hashes, ageing; USD",
    "cooling_kwh": "energy of room fans, pad and coil, kWh",
    "miner_fans_kwh": "energy of the miners' own fans, kWh",
    "pue": "all energy over that of the miners (their fans included)",
    "water_m3": "water drawn, m3",
    "temp_chip_sd_k": "standard deviation of the hottest chip over the week, K",
    "in_range": "share of steps in which no limit was broken",
    "hot_spots": "share of steps with intakes more than the limit apart or a chip over its limit",
    "reaction_min": "mean minutes from a broken limit to the first step without one; 0 where none was broken",
    "violations": "steps in which a limit was broken",
    "lost_share": "hashes lost over those of full load",
    "carbon_kg": "carbon of all energy, kg",
}
"""What is measured of a week."""


def play(
    policy: Policy,
    world: CoolingWorld,
    rows: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.int64],
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Floats]:
    """Run a policy over weeks that begin at the given rows of the climate, all at once.

    Args:
        policy: who decides; it is reset first.
        world: its episodes are the weeks.
        rows: first rows, (W,).
        seeds: of the sensors of each week, (W,).
        on_step: called after each control step.

    Returns:
        Each of :data:`MEASURES`, (W,).
    """
    core = CoolingCore(world, len(rows))
    core.seed(seeds.tolist())
    observation = core.reset(options={"start_row": rows})
    policy.reset()
    steps, dt_h = world.horizon_steps, world.config.dt_s / SECONDS_PER_HOUR
    sums: dict[str, Floats] = {}
    chips, broken, hot = (np.zeros((steps, len(rows))) for _ in range(3))
    full_ths = float(np.sum(core.hall.miners.count * core.hall.miners.hashrate_ths))
    for step in range(steps):
        result = core.step(policy.act(observation))
        observation = result.observation
        for name, value in result.info.items():
            sums[name] = sums.get(name, 0.0) + value
        chips[step], broken[step] = result.info["temp_chip_max_c"], result.cost > 0.0
        hot[step] = result.info[LIMITS[0]] + result.info[LIMITS[1]] > 0.0
        on_step()
    cooling_kwh, miners_kwh = sums["power_cooling_w"] * dt_h / 1e3, sums["power_miners_w"] * dt_h / 1e3
    return {
        "cost_usd": -np.sum([sums[name] for name in USD], axis=0),
        "cooling_kwh": cooling_kwh,
        "miner_fans_kwh": sums["power_miner_fans_w"] * dt_h / 1e3,
        "pue": (cooling_kwh + miners_kwh) / miners_kwh,
        "water_m3": sums["water_kg"] / 1000.0,
        "temp_chip_sd_k": chips.std(axis=0),
        "in_range": 1.0 - broken.mean(axis=0),
        "hot_spots": hot.mean(axis=0),
        "reaction_min": spell_steps(broken) * dt_h * 60.0,
        "violations": broken.sum(axis=0),
        "lost_share": 1.0 - sums["hashrate_ths"] / (full_ths * steps),
        "carbon_kg": sums["carbon_g"] / 1000.0,
    }


def spell_steps(broken: Floats) -> Floats:
    """Mean length of spells of ones in each column of (T, W); 0 where there are none."""
    begins = np.diff(broken, axis=0, prepend=0.0) > 0.0
    count = begins.sum(axis=0)
    return np.where(count > 0, broken.sum(axis=0) / np.maximum(count, 1), 0.0)


def week_rows(world: CoolingWorld, split: str, every: int = 1) -> npt.NDArray[np.int64]:
    """First rows of the whole episodes that fit into a split one after the other, every so many of them.

    A first day of history is left out.
    """
    length = world.rows - 1
    day = round(24.0 * SECONDS_PER_HOUR / world.climate.step_s)
    starts = [np.arange(max(begin, day), end - length + 1, length) for begin, end in world.climate.splits[split]]
    rows = np.concatenate(starts)
    return np.asarray(rows[rows <= world.last_start][::every], np.int64)
