"""Snapshots and branches of a core: the same action on the same draws gives the same step, whatever batch it is in."""

from __future__ import annotations

import numpy as np
import pytest

from minesim.envs.core import EnvConfig, SiteCore, StepResult, World, build_world
from minesim.envs.snapshot import CoreSnapshot
from minesim.errors import ParamsError


@pytest.fixture(scope="module")
def world() -> World:
    """The default site with all noise on."""
    return build_world(EnvConfig(split=None, episode_days=1.0, difficulty="hard"))


def actions(world: World, sites: int, step: int) -> np.ndarray:
    return np.random.default_rng(step).uniform(-1.0, 1.0, (sites, world.action_size))


def begun(world: World, sites: int, steps: int) -> SiteCore:
    core = SiteCore(world, sites)
    core.seed(range(sites))
    core.reset(options={"start": [4 * 24 * (b + 1) for b in range(sites)]})
    for step in range(steps):
        core.step(actions(world, sites, step))
    return core


def same(one: StepResult, other: StepResult, rows: list[int] | slice) -> None:
    assert np.array_equal(one.observation[rows], other.observation)
    for name, values in one.info.items():
        assert np.array_equal(np.asarray(values)[rows], other.info[name]), name


def test_a_branch_that_acts_alike_is_the_main_run_bit_for_bit(world: World) -> None:
    core = begun(world, 3, 7)
    fork = core.branch([0, 1, 2])
    for step in range(7, 20):
        action = actions(world, 3, step)
        same(core.step(action), fork.step(action), slice(None))


def test_rows_may_be_picked_and_repeated(world: World) -> None:
    core = begun(world, 3, 7)
    fork = core.branch([2, 0, 2])
    for step in range(7, 16):
        action = actions(world, 3, step)
        main, other = core.step(action), fork.step(action[[2, 0, 2]])
        assert other.info["profit_usd"] == pytest.approx(main.info["profit_usd"][[2, 0, 2]], rel=1e-12)
        assert other.info["power_site_kw"] == pytest.approx(main.info["power_site_kw"][[2, 0, 2]], rel=1e-12)


def test_sites_at_different_steps_go_on_together(world: World) -> None:
    early = begun(world, 2, 5).snapshot().rows([1])
    late = begun(world, 2, 9).snapshot().rows([0])
    fork = SiteCore(world, 2)
    fork.restore(CoreSnapshot.join([early, late]))
    one, two = begun(world, 2, 5), begun(world, 2, 9)
    for step in range(9):
        action = actions(world, 2, 100 + step)
        got = fork.step(action).info["profit_usd"]
        expected = [one.step(action[[0, 0]]).info["profit_usd"][1], two.step(action[[1, 1]]).info["profit_usd"][0]]
        assert got == pytest.approx(expected, rel=1e-12)


def test_a_snapshot_stays_as_it_is_while_the_core_goes_on(world: World) -> None:
    core = begun(world, 2, 4)
    kept = core.snapshot()
    first = [core.step(actions(world, 2, step)).info["profit_usd"] for step in range(6)]
    core.reset(np.array([True, False]))
    core.restore(kept)
    again = [core.step(actions(world, 2, step)).info["profit_usd"] for step in range(6)]
    assert np.array_equal(first, again)


def test_episodes_after_a_restore_are_those_that_would_have_come(world: World) -> None:
    core, other = begun(world, 2, 3), SiteCore(world, 2)
    other.restore(core.snapshot())
    for each in (core, other):
        each.reset()
    assert np.array_equal(core.start_row, other.start_row)
    assert np.array_equal(core.observation(), other.observation())


def test_torch_snapshots(world: World) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    core = SiteCore(world, 2, torch.zeros(1, dtype=torch.float64))
    core.seed([0, 1])
    core.reset()
    fork = core.branch([1, 0])
    action = torch.as_tensor(actions(world, 2, 0))
    main, other = core.step(action), fork.step(action[[1, 0]])
    assert torch.allclose(main.info["profit_usd"][[1, 0]], other.info["profit_usd"], rtol=1e-12)


def test_what_does_not_fit_is_refused(world: World) -> None:
    core = begun(world, 2, 1)
    with pytest.raises(ParamsError, match="snapshot of 1 sites for a core of 2"):
        core.restore(core.snapshot().rows([0]))
    with pytest.raises(ParamsError, match="no snapshots"):
        CoreSnapshot.join([])
