"""A trained policy as ONNX gives what torch gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import agents.rl.export as exporting
from agents.baselines.named import named_rule
from agents.rl.checkpoint import save_weights
from agents.rl.export import OBSERVATIONS, TOLERANCE, export_policy
from agents.rl.policy import BEST, load_policy
from agents.rl.settings import ActionSettings, AgentSettings, TaskSettings, TrainerSettings, TrainSettings, WarmStart
from agents.rl.training import Training, training_world
from minesim.control.bundle import make_policy
from minesim.control.observe import schema
from minesim.envs.core import World
from minesim.errors import ParamsError
from minesim.promote.source import POLICY_FILE, Exported

MakeRun = Callable[..., tuple[Path, World]]


@pytest.fixture(scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A run of one iteration whose weights are then drawn at random, so that its actions go everywhere."""
    torch.set_num_threads(1)

    def make(site: str = "container", scenario: str = "generated", **agent: Any) -> tuple[Path, World]:
        recipe = {"envs": 2, "n_steps": 4, "batch_size": 8, "epochs": 1, "nets": [16, 16], "control_period_min": 15.0}
        settings = TrainSettings(
            task=TaskSettings(episode_days=1.0 / 24.0),
            agent=AgentSettings(**{**recipe, **agent}),
            trainer=TrainerSettings(steps=24, evaluate_every=0, checkpoint_every=10**6),
            scenario=scenario,
            site=site,
            out=str(tmp_path_factory.mktemp("train")),
        )
        training = Training(settings, judge=None)
        training.run()
        drawn = torch.Generator().manual_seed(1)
        weights = {
            name: value
            + torch.randn(value.shape, generator=drawn) * (0.3 if ("policy" in name or "action" in name) else 0)
            for name, value in training.network.state_dict().items()
        }
        save_weights(training.folder / BEST, weights)
        return training.folder, training_world(settings, "medium")

    return make


RESERVE = {"scenario": "generated/mixed?level=medium"}
"""A tariff whose action has a number more."""


def assert_equal(found: Exported, folder: Path, world: World, ties: int) -> None:
    """Fail unless the file acts as torch does, decided and held, on 10,000 observations each.

    At most in ``ties`` of them two presets that earn the same to the last bit may change places.
    """
    assert found.figures["onnx_max"] <= TOLERANCE
    low, high = schema(world.cohorts).bounds()
    seen = np.random.default_rng(7).uniform(low, high, (OBSERVATIONS, len(low))).astype(np.float32)
    policy, torchs = deployed(found, world), load_policy(folder, world)
    actions = []
    for batch in (seen, seen[::-1], seen * 0.5, seen):  # decided, held, held, decided anew
        wanted, got = torchs.act(batch), policy.act(batch)
        assert (np.abs(got - wanted).max(axis=1) > TOLERANCE).sum() <= ties
        actions.append(got)
    assert np.ptp(actions[0], axis=0).min() > 0.1, "a policy that does nothing proves nothing"


def deployed(found: Exported, world: World) -> Any:
    return make_policy(
        "ppo",
        found.policy,
        {POLICY_FILE: found.file},
        world.cohorts,
        world.params.curves,
        world.scenario.tariff.reserve is not None,
        named_rule,
    )


@pytest.mark.parametrize(
    "kind",
    [
        {"actions": ActionSettings("residual", rule="peak_avoiding", scale=0.5), "activation": "relu"},
        {"actions": ActionSettings("shadow_price")},
        {"actions": ActionSettings("shadow_price", per_cohort=True), "normalise_observations": False, **RESERVE},
    ],
    ids=["residual", "price", "price_per_cohort_and_reserve"],
)
def test_file_equals_torch(make_run: MakeRun, kind: dict[str, Any]) -> None:
    folder, world = make_run(**kind)
    found = export_policy(folder, world)
    assert_equal(found, folder, world, ties=2 if kind["actions"].kind == "shadow_price" else 0)
    assert found.policy.hold_steps == 3
    assert str(Path.cwd()).encode() not in found.file
    assert b"site-packages" not in found.file


def test_a_warm_start_with_reserve_in_32_and_in_8_bits(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, world = make_run(
        warm_start=WarmStart("peak_avoiding", days=0.1, envs=2, epochs=1),
        actions=ActionSettings("direct"),
        nets=[64, 64],
        **RESERVE,
    )
    assert world.action_size == world.cohorts + 1
    full = export_policy(folder, world)
    assert_equal(full, folder, world, ties=0)

    monkeypatch.setattr(exporting, "_export", lambda trained: full.file)
    short = export_policy(folder, world, int8=True)
    assert len(short.file) < 0.6 * len(full.file)
    assert short.policy.precision == "int8"
    assert 0.0 < short.figures["int8_mean"] < short.figures["int8_max"]
    seen = np.random.default_rng(0).uniform(-1, 1, (1000, schema(world.cohorts).size)).astype(np.float32)
    gap = np.abs(deployed(full, world).act(seen) - deployed(short, world).act(seen))
    assert 0.0 < gap.mean() < 0.2

    # A file of other weights than those that were judged.
    weights = torch.load(folder / BEST, weights_only=True)
    save_weights(folder / BEST, {**weights, "action_net.bias": weights["action_net.bias"] + 0.01})
    with pytest.raises(ParamsError, match="differs from torch"):
        export_policy(folder, world)


def test_equal_policies_are_equal_files(make_run: MakeRun) -> None:
    folder, world = make_run(site="one_s19j_pro", actions=ActionSettings("direct"))
    assert export_policy(folder, world).file == export_policy(folder, world).file


def test_a_policy_with_memory_is_refused(make_run: MakeRun) -> None:
    folder, world = make_run(site="one_s19j_pro", lstm_size=4)
    with pytest.raises(ParamsError, match="recurrent"):
        export_policy(folder, world)
