"""From recorded control steps to the decisions of a learner: what it saw, its numbers, what came of it.

A data set holds actions of the environment, of whoever acted. A learner decides every control period, and its numbers
may mean something else than actions, so both are derived: rewards of a period are summed, and the numbers are those
under which the learner's action map would have asked for what was asked for at the first step of the period.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.baselines.myopic import best_levels
from agents.offline.minari_files import ABOUT, dataset_ids, episodes_of, open_dataset
from agents.offline.settings import LearnerSettings
from agents.rl.actions import knowledge_of
from agents.rl.settings import ActionSettings
from minesim.arrays import NUMPY
from minesim.bench.files import array_hash
from minesim.control.actuate import target_level
from minesim.control.channels import symlog
from minesim.control.observe import schema
from minesim.envs.core import World
from minesim.errors import DataFileError, ParamsError, explain

Floats = NDArray[np.floating]
ToNumbers = Callable[[Floats, Floats], Floats]
"""Observations (N, n_obs) and actions of the environment (N, n_act) -> numbers of the learner (N, n_raw)."""

RATIO_GRID = np.concatenate([[0.0], np.geomspace(50.0, 100_000.0, 4000)])
"""Energy price over hash revenue, (USD/MWh) / (USD per TH/s and day): from 800 J/TH down to what never pays."""
POWER_MATCH = 2e-3
"""Powers closer than this share of rated power are the same."""


@dataclass(frozen=True)
class Decisions:
    """Recorded decisions of a learner.

    Attributes:
        observations: all observations at decision times, (R, n_obs) float32; the one after ``first`` follows it.
        first: row of each decision, (N,).
        numbers: what was decided, (N, n_raw) float32 in [-1, 1].
        rewards: scaled reward until the next decision, (N,) float32.
        profit_usd_per_week: mean profit in each data set, by behaviour.
    """

    observations: NDArray[np.float32]
    first: NDArray[np.int64]
    numbers: NDArray[np.float32]
    rewards: NDArray[np.float32]
    profit_usd_per_week: dict[str, float]

    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        return array_hash(self.observations, self.first, self.numbers, self.rewards)


def read_decisions(root: str | Path, ids: Sequence[str], world: World, agent: LearnerSettings) -> Decisions:
    """Read data sets as decisions.

    Args:
        root: folder of the data sets.
        ids: which of them; empty for all.
        world: site, tariff and control step that the data must be of.
        agent: control period, reward scale and meaning of the numbers.

    Raises:
        DataFileError: missing, damaged, cut off, not written by minesim, or not of the training period.
        ParamsError: data of another scenario, site or control step.
        MissingExtraError: Minari is not installed.
    """
    repeat = agent.network().repeat(world.config.dt_ctrl_s)
    to_numbers = numbers_of(agent.actions, world)
    seen, first, numbers, rewards = [], [], [], []
    profit: dict[str, float] = {}
    rows = 0
    for dataset_id in ids or dataset_ids(root):
        dataset = open_dataset(root, dataset_id)
        about = _fitting(dict(dataset.storage.metadata).get(ABOUT), world, dataset_id)
        earned, steps = 0.0, 0
        for episode in episodes_of(dataset, root):
            count = len(episode.rewards) // repeat
            if count == 0:
                continue
            at = np.arange(count) * repeat
            seen.append(episode.observations[: count * repeat + 1 : repeat])
            first.append(rows + np.arange(count))
            numbers.append(to_numbers(episode.observations[at], episode.actions[at]).astype(np.float32))
            rewards.append(episode.rewards[: count * repeat].reshape(count, repeat).sum(1) * agent.scale())
            rows += count + 1
            earned += float(episode.infos["profit_usd"].sum())
            steps += len(episode.rewards)
        if steps:
            profit[about["behaviour"]] = earned / (steps * world.config.dt_ctrl_s) * 7.0 * 86400.0
    if not first:
        raise DataFileError(
            explain(f"no episode in {str(root)!r} is as long as a decision of {agent.control_period_min:g} min")
        )
    reward = np.concatenate(rewards)
    if agent.reward_clip > 0.0:
        reward = np.clip(reward, -agent.reward_clip, agent.reward_clip)
    return Decisions(
        np.concatenate(seen), np.concatenate(first), np.concatenate(numbers), reward.astype(np.float32), profit
    )


def numbers_of(actions: ActionSettings, world: World) -> ToNumbers:
    """The inverse of an action map of :mod:`agents.rl.actions`, as far as there is one.

    ``direct``: the action itself. ``shadow_price``: the adder at which the myopic rule would ask for the power that was
    asked for; in the middle of all such adders on the learner's scale, or at the jump past it where there is none.

    Raises:
        ParamsError: a kind that has no inverse.
    """
    if actions.kind == "direct":
        return lambda observation, action: action
    if actions.kind == "shadow_price":
        return PriceOfPower(world, actions.price_max_usd_per_mwh, per_cohort=actions.per_cohort)
    raise ParamsError(
        explain(f"actions.kind {actions.kind!r} has no inverse", allowed="direct or shadow_price for recorded data")
    )


class PriceOfPower:
    """Adders to the energy price that explain the power that was asked for.

    The best preset depends on price over hash revenue alone, and its power falls with that ratio, so one table of
    powers over the ratio serves all observations.
    """

    def __init__(self, world: World, price_max_usd_per_mwh: float, *, per_cohort: bool) -> None:
        self.knowledge = knowledge_of(world)
        self.log_max = float(np.log1p(price_max_usd_per_mwh))
        fleet = self.knowledge.fleet
        rated_w = fleet.count * fleet.power_rated_w
        weights = np.diag(np.ones_like(rated_w)) if per_cohort else (rated_w / rated_w.sum())[:, None]
        self.weights = weights
        level = best_levels(RATIO_GRID[:, None], np.ones((len(RATIO_GRID), 1)), fleet, xp=NUMPY)
        # Rising in the reversed order, as searchsorted wants it; tiny wiggles of a table are flattened.
        self.power = np.maximum.accumulate((level @ weights)[::-1], axis=0)

    def __call__(self, observation: Floats, action: Floats) -> Floats:
        """Numbers (N, n_raw)."""
        read, fleet = self.knowledge.schema.read, self.knowledge.fleet
        cohorts = self.knowledge.cohorts
        observation = np.asarray(observation, np.float64)
        running = (read(observation, "level") > 0.0) * 1.0
        asked = target_level(np.asarray(action[:, :cohorts], np.float64), running, fleet.level_min, xp=NUMPY)
        power = asked @ self.weights
        price = read(observation, "price_last_usd_per_mwh")[:, 0]
        revenue = np.maximum(read(observation, "hash_revenue_usd_per_ths_day")[:, 0], 1e-9)
        adders = [self._adder(self.power[:, k], power[:, k], price, revenue) for k in range(power.shape[1])]
        return np.concatenate([np.stack(adders, 1), action[:, cohorts:]], 1)

    def _adder(self, table: Floats, power: Floats, price: Floats, revenue: Floats) -> Floats:
        last = len(table) - 1
        # Entries first..beyond-1 of the reversed table have this power; the ratio falls along it.
        first = np.searchsorted(table, power - POWER_MATCH, side="left")
        beyond = np.searchsorted(table, power + POWER_MATCH, side="right")
        ratio = RATIO_GRID[::-1]
        high, low = ratio[np.minimum(first, last)], ratio[np.clip(beyond - 1, 0, last)]
        above = np.where(first == 0, 1.0, self._scaled(high * revenue - price))
        below = np.where(beyond > last, -1.0, self._scaled(low * revenue - price))
        return 0.5 * (above + below)

    def _scaled(self, adder: Floats) -> Floats:
        scaled: Floats = np.clip(symlog(adder, xp=NUMPY) / self.log_max, -1.0, 1.0)
        return scaled


def _fitting(about: dict[str, Any] | None, world: World, dataset_id: str) -> dict[str, Any]:
    """What data say of themselves, which has to be the training period of this site, tariff and control step."""
    origin = f"data set {dataset_id!r}"
    if about is None:
        raise DataFileError(
            explain("the data do not say what they are of", origin=origin, fix="Write them with minesim data rollouts.")
        )
    if about["split"] != "train":
        raise DataFileError(explain(f"the data are of split {about['split']!r}", allowed="train", origin=origin))
    config = world.config
    wanted = {
        "scenario": config.scenario,
        "site": config.site,
        "limits": config.limits,
        "dt_ctrl_s": config.dt_ctrl_s,
        "channels": [[channel.name, channel.size] for channel in schema(world.cohorts).channels],
        "n_act": world.action_size,
    }
    for name, value in wanted.items():
        if about[name] != value:
            told = "other observation channels" if name == "channels" else f"{name} {about[name]!r}"
            allowed = "those of this version" if name == "channels" else repr(value)
            raise ParamsError(
                explain(f"the data are of {told}", allowed=allowed, origin=origin, fix="Write data for this site.")
            )
    return about
