"""Schedules of single cohorts against enumeration and a linear program."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minesim.bench.bound_schedule import SwitchCosts, best_schedules

ROWS, AGES = 9, 3


def value_by_hand(
    states: tuple[bool, ...], on: np.ndarray, off: np.ndarray, stop: np.ndarray, start: np.ndarray
) -> float:
    """What one schedule of one cohort earns."""
    total, running, age = 0.0, True, AGES
    for t, state in enumerate(states):
        if running and not state:
            total -= stop[t]
            age = 0
        if not running and state:
            total -= start[t, min(age, AGES) - 1]
        total += on[t] if state else off[t]
        age = age if state else age + 1
        running = state
    return total


@pytest.mark.parametrize("seed", range(4))
def test_best_of_all_schedules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    on, off = rng.normal(size=(ROWS, 1, 1, 2)), 0.1 * rng.normal(size=(ROWS, 1, 1, 2))
    stop, start = rng.random((ROWS, 1, 2)), np.sort(rng.random((ROWS, AGES, 1, 2)), axis=1)
    costs = SwitchCosts(stop, start, np.zeros((ROWS, 1, 1, 2)))
    found = best_schedules(on, off, costs, np.array([1.0]), True)
    best = 0.0
    for m in range(2):
        values = {
            states: value_by_hand(states, on[:, 0, 0, m], off[:, 0, 0, m], stop[:, 0, m], start[:, :, 0, m])
            for states in itertools.product((False, True), repeat=ROWS)
        }
        best += max(values.values())
        assert tuple(found.on[:, 0, 0, m]) == max(values, key=values.__getitem__)
    assert found.value_usd[0, 0] == pytest.approx(best)
    earned = np.where(found.on, on, off).sum() - found.restart_usd[0, 0]
    assert earned == pytest.approx(best)


def test_scales_and_a_standing_start() -> None:
    on, off = np.full((4, 1, 2, 1), -1.0), np.zeros((4, 1, 2, 1))
    on[2:] = 3.0
    costs = SwitchCosts(np.full((4, 1, 1), 1.5), np.full((4, AGES, 1, 1), 1.0), np.zeros((4, 1, 2, 1)))
    running = best_schedules(on, off, costs, np.array([0.0, 1.0]), True)
    # A stop of two rows saves 2 USD and costs 2.5 at scale 1.
    assert running.value_usd[0] == pytest.approx([6.0, 4.0])
    standing = best_schedules(on, off, costs, np.array([0.0, 1.0]), False)
    assert standing.value_usd[0] == pytest.approx([6.0, 5.0])
    assert list(standing.on[:, 0, 1, 0]) == [False, False, True, True]
