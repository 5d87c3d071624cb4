"""The same twin and the same training on a GPU; skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("rsl_rl")

import torch

from agents.rl.policy import load_policy
from agents.rl.settings import ActionSettings
from agents.rl.training import Training, validation_world
from minesim.envs.torch_batch import TorchBatch
from tests.agents.rl_runs import settings
from tests.twin import generated_world

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_a_gpu_computes_what_a_processor_does(difficulty: str) -> None:
    """From equal states at every step: rounding must not accumulate into another decision."""
    world = generated_world(difficulty=difficulty)
    here, there = (TorchBatch(16, device, world=world, double=True, stagger=False) for device in ("cpu", "cuda"))
    assert torch.equal(here.reset(), there.reset().cpu())
    rng = np.random.default_rng(1)
    for _ in range(60):
        action = torch.as_tensor(rng.uniform(-1.0, 1.0, (16, world.action_size)))
        left, right = here.step(action), there.step(action.cuda())
        for name, value in left.info.items():
            np.testing.assert_allclose(right.info[name].cpu(), value, rtol=1e-9, atol=1e-8, err_msg=name)
        np.testing.assert_allclose(right.observation.cpu(), left.observation, rtol=1e-6, atol=1e-6)
        there.core.restore(_moved(here.core.snapshot()))


def _moved(value: Any) -> Any:
    """A snapshot with its tensors on the GPU."""
    if isinstance(value, torch.Tensor):
        return value.cuda()
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(**{name: _moved(getattr(value, name)) for name in value.__dataclass_fields__})
    if isinstance(value, tuple):
        parts = [_moved(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


@pytest.mark.parametrize("kind", ["direct", "shadow_price", "rule_price"])
def test_training_on_a_gpu_stops_goes_on_and_is_used_on_a_processor(tmp_path: Path, kind: str) -> None:
    actions = ActionSettings(kind=kind, rule="patient" if kind == "rule_price" else "")
    chosen = settings(trainer="batched", actions=actions, yardstick=kind == "rule_price")
    chosen = replace(chosen, trainer=replace(chosen.trainer, device="cuda"))
    first = Training(chosen, tmp_path)
    seen = iter([False, True])
    assert not first.run(lambda: next(seen)).finished
    second = Training(chosen, tmp_path)
    outcome = second.run()
    assert outcome.finished
    assert outcome.steps > first.outcome.steps > 0
    world = validation_world(chosen)
    policy = load_policy(second.folder, world, weights="last")
    observation = np.zeros((2, second.learner.env.env.schema.size), np.float32)
    action = policy.act(observation)
    assert action.shape == (2, world.action_size)
    assert np.isfinite(action).all()
