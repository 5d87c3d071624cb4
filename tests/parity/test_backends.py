"""One text of physics: numpy = torch, one site = a row of a batch, same seed = same bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest

from tests.twin import core_of, generated_world

torch = pytest.importorskip("torch")


def _flat(record: Any) -> dict[str, np.ndarray]:
    if is_dataclass(record):
        parts = {f.name: _flat(getattr(record, f.name)) for f in fields(record)}
        return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
    return {"": np.asarray(record)}


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
@pytest.mark.parametrize("limits", ["free", "bridge"])
def test_numpy_equals_torch_to_1e_12_in_a_step(difficulty: str, limits: str) -> None:
    world = generated_world(difficulty=difficulty, limits=limits)
    left = core_of(world, 3, seed=5, start=4 * 24 * 20)
    right = core_of(world, 3, seed=5, like=torch.zeros(1, dtype=torch.float64), start=4 * 24 * 20)
    rng = np.random.default_rng(1)
    for _ in range(40):
        action = rng.uniform(-1.0, 1.0, (3, world.action_size))
        a = left.step(action)
        b = right.step(torch.as_tensor(action))
        for name, value in a.info.items():
            np.testing.assert_allclose(np.asarray(b.info[name]), value, rtol=1e-12, atol=1e-9, err_msg=name)
        for name, value in _flat(left.state).items():
            np.testing.assert_allclose(_flat(right.state)[name], value, rtol=1e-11, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(np.asarray(b.observation), a.observation, rtol=1e-6, atol=1e-6)
        # Every step is compared from equal states: rounding must not accumulate into another decision.
        right.state, right.history = _to_torch(left.state, right.state), _to_torch(left.history, right.history)
        right.meter = _to_torch(left.meter, right.meter)
        right.telemetry = _to_torch(left.telemetry, right.telemetry)


def _to_torch(source: Any, like: Any) -> Any:
    if is_dataclass(source):
        return type(source)(
            **{f.name: _to_torch(getattr(source, f.name), getattr(like, f.name)) for f in fields(source)}
        )
    return torch.as_tensor(np.array(source), dtype=like.dtype)


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_one_site_equals_a_row_of_the_batch(difficulty: str) -> None:
    world = generated_world(difficulty=difficulty)
    batch = core_of(world, 5, seed=20)
    singles = [core_of(world, 1, seed=20 + b) for b in range(5)]
    rng = np.random.default_rng(2)
    for _ in range(150):
        action = rng.uniform(-1.0, 1.0, (5, world.action_size))
        together = batch.step(action)
        for b, single in enumerate(singles):
            alone = single.step(action[b : b + 1])
            np.testing.assert_array_equal(alone.observation[0], together.observation[b])
            assert alone.reward[0] == pytest.approx(together.reward[b], rel=1e-12, abs=1e-12)
            assert alone.info["profit_usd"][0] == pytest.approx(together.info["profit_usd"][b], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_a_lone_site_shows_the_arrays_of_a_batch_of_one(difficulty: str) -> None:
    """It is computed without a batch axis; what a core shows and takes has it all the same."""
    world = generated_world(difficulty=difficulty)
    batch, lone = core_of(world, 2, seed=30), core_of(world, 1, seed=30)
    rng = np.random.default_rng(6)
    for _ in range(30):
        action = rng.uniform(-1.0, 1.0, (2, world.action_size))
        together, alone = batch.step(action), lone.step(action[:1])
        for name, value in alone.info.items():
            assert value.shape == (1,), name
            np.testing.assert_allclose(value, together.info[name][:1], rtol=1e-11, atol=1e-11, err_msg=name)
        for part in ("state", "history", "meter", "telemetry"):
            mine, row = _flat(getattr(lone, part)), _flat(getattr(batch, part))
            for name, value in row.items():
                first = value[:, :1] if value.ndim == 3 else value[:1]
                np.testing.assert_allclose(mine[name], first, rtol=1e-11, atol=1e-10, err_msg=f"{part} {name}")
                assert mine[name].shape == first.shape, f"{part} {name}"
        # Reading and writing back changes nothing.
        lone.state, lone.history, lone.meter, lone.telemetry = lone.state, lone.history, lone.meter, lone.telemetry


_SCRIPT = """
import hashlib, numpy as np
from minesim.envs.batch import HashrateTuningVectorEnv
env = HashrateTuningVectorEnv(3, difficulty="hard", episode_days=1)
obs, _ = env.reset(seed=11)
rng, digest = np.random.default_rng(3), hashlib.sha256(obs.tobytes())
for _ in range(320):
    obs, reward, _, _, infos = env.step(rng.uniform(-1, 1, env.action_space.shape))
    digest.update(obs.tobytes() + reward.tobytes() + infos["profit_usd"].tobytes())
print(digest.hexdigest())
"""


def test_same_seed_gives_the_same_bytes_in_a_second_process() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 2 * hashlib.sha256().digest_size


def test_rows_are_independent_of_each_other() -> None:
    """Another action in row 0 leaves the other rows untouched, also when row 0 is reset."""
    world = generated_world(difficulty="hard")
    left, right = core_of(world, 4, seed=7), core_of(world, 4, seed=7)
    rng = np.random.default_rng(4)
    for step in range(60):
        action = rng.uniform(-1.0, 1.0, (4, world.action_size))
        other = action.copy()
        other[0] = -1.0
        a, b = left.step(action), right.step(other)
        np.testing.assert_array_equal(a.observation[1:], b.observation[1:])
        if step == 30:
            right.reset(np.array([True, False, False, False]))


def test_single_precision_stays_close_for_a_day() -> None:
    world = generated_world(difficulty="easy", limits="free")
    exact = core_of(world, 2, seed=3)
    single = core_of(world, 2, seed=3, like=torch.zeros(1, dtype=torch.float32))
    for _ in range(288):
        action = np.ones((2, world.action_size))
        a, b = exact.step(action), single.step(torch.as_tensor(action))
        np.testing.assert_allclose(np.asarray(b.info["power_site_kw"]), a.info["power_site_kw"], rtol=1e-4)
