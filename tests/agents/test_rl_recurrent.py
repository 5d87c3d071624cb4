"""Recurrent policies: trained by the same runs, with a memory for each row in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

import torch

from agents.rl.policy import TrainedPolicy, load_policy
from agents.rl.settings import ActionSettings, WarmStart
from agents.rl.training import Training, validation_world
from minesim.errors import ParamsError
from tests.agents.rl_runs import ITERATION, StopAfter, assert_equal, settings, weights

RECIPES: dict[str, dict[str, Any]] = {
    "direct": {},
    "residual": {"actions": ActionSettings(kind="residual", rule="hysteresis_throttle"), "frozen_iterations": 2},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_stopped_run_goes_on_bit_for_bit(recipe: dict[str, Any], tmp_path: Path) -> None:
    wanted = settings(5 * ITERATION, lstm_size=6, **recipe)
    whole = Training(wanted, tmp_path / "whole")
    whole.run()
    parts = tmp_path / "parts"
    Training(wanted, parts).run(StopAfter(2))
    np.random.seed(99)  # noqa: NPY002  another process has other generators
    torch.manual_seed(99)
    rest = Training(wanted, parts)
    assert rest.run().finished
    assert_equal(weights(whole), weights(rest))
    assert "lstm_actor.weight_hh_l0" in weights(rest)


def test_frozen_iterations_leave_the_memory_of_the_policy_alone(tmp_path: Path) -> None:
    begun = Training(settings(ITERATION, lstm_size=6, frozen_iterations=1), tmp_path)
    begun._build(None)
    first = weights(begun)
    begun._iterate()
    second = weights(begun)
    assert torch.equal(first["lstm_actor.weight_hh_l0"], second["lstm_actor.weight_hh_l0"])
    assert not torch.equal(first["lstm_critic.weight_hh_l0"], second["lstm_critic.weight_hh_l0"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("runs") / "recurrent"
    Training(settings(2 * ITERATION, lstm_size=6, learning_rate=1e-2), where).run()
    return where


def load(folder: Path, **agent: Any) -> TrainedPolicy:
    return load_policy(folder, validation_world(settings(lstm_size=6, **agent)), weights="last")


def observations(policy: TrainedPolicy, steps: int, rows: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.0, 1.0, (steps, rows, policy.n_obs)).astype(np.float32)


def test_a_row_remembers_what_it_alone_has_seen(folder: Path) -> None:
    together, alone = load(folder), load(folder)
    seen = observations(together, 6, 3)
    acts = [together.act(rows) for rows in seen]
    for step, rows in enumerate(seen):
        np.testing.assert_allclose(alone.act(rows[1:2]), acts[step][1:2], atol=1e-6)
    fresh = load(folder).act(seen[-1])
    assert np.abs(fresh - acts[-1]).max() > 1e-5, "the past must matter for this test to say anything"


def test_memory_is_that_of_training(folder: Path) -> None:
    policy = load(folder)
    seen = observations(policy, 5, 2)
    state, starts = None, np.ones(2, bool)
    for step, rows in enumerate(seen):
        done = np.array([False, step == 3])
        if step == 3:
            policy.reset(done)
        expected, state = policy.network.predict(rows, state, starts if step == 0 else done, deterministic=True)
        np.testing.assert_allclose(policy.act(rows), np.clip(expected, -1.0, 1.0), atol=1e-6)


def test_a_reset_forgets_the_rows_that_are_done(folder: Path) -> None:
    policy = load(folder)
    seen = observations(policy, 5, 2)
    for rows in seen[:4]:
        policy.act(rows)
    policy.reset(np.array([True, False]))
    act, fresh = policy.act(seen[4]), load(folder).act(seen[4])
    np.testing.assert_allclose(act[0], fresh[0], atol=1e-6)
    assert np.abs(act[1] - fresh[1]).max() > 1e-5
    policy.reset()
    np.testing.assert_allclose(policy.act(seen[4]), fresh, atol=1e-6)


def test_memory_goes_on_at_decisions_only(folder: Path) -> None:
    """Rows of which one begins anew decide at different steps."""
    held, plain, late = load(folder), load(folder), load(folder)
    held.repeat = 3
    seen = observations(plain, 8, 2)
    acts = []
    for step, rows in enumerate(seen):
        if step == 1:
            held.reset(np.array([False, True]))
        acts.append(held.act(rows))
    for step in (0, 3, 6):
        np.testing.assert_allclose(acts[step][:1], plain.act(seen[step, :1]), atol=1e-6)
    for step in (1, 4, 7):
        np.testing.assert_allclose(acts[step][1:], late.act(seen[step, 1:]), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"lstm_size": -1}, "lstm_size is -1"),
        ({"lstm_size": 8, "warm_start": WarmStart(rule="threshold")}, "actions.kind=residual"),
        ({"lstm_size": 8, "trainer": "batched"}, "Take trainer=sb3"),
    ],
)
def test_bad_settings_are_errors(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=match):
        Training(settings(**changes), tmp_path / "run")
