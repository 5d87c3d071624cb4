"""Energy is neither made nor lost, and the integration converges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import minesim.site as site_module
from minesim.control.fleet import CohortSpec
from minesim.envs import core as core_module
from minesim.site import Outcome
from minesim.site_spec import SiteSpec, site_spec
from tests.twin import core_of, generated_world


def _mixed_boards() -> SiteSpec:
    """Three and four boards, air and liquid side by side."""
    return SiteSpec(
        "mixed",
        (
            CohortSpec("Antminer S19j Pro (104T)", 40),
            CohortSpec("Antminer L3+", 30),
            CohortSpec("Antminer S21 Hydro", 10),
        ),
    )


@pytest.mark.parametrize("site", ["container", _mixed_boards()], ids=["container", "mixed boards"])
def test_energy_balance_over_a_week_of_random_actions(site: str | SiteSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the miners draw equals heat out plus heat stored, to 1e-6 of it over a week and 1e-9 in every step."""
    world = generated_world(difficulty="hard", limits="free", site=site)
    outcomes: list[Outcome] = []

    def spy(*args: object) -> object:
        result = site_module.transition(*args)
        outcomes.append(result[1])
        return result

    monkeypatch.setattr(core_module, "transition", spy)
    core = core_of(world, 2, seed=1)
    rng = np.random.default_rng(0)
    electrical_j = out_j = stored_j = np.zeros(2)
    for _ in range(world.horizon_steps):
        core.step(rng.uniform(-1.0, 1.0, (2, world.action_size)))
        last = outcomes.pop()
        drawn_j = last.power_miners_w * world.config.dt_ctrl_s
        np.testing.assert_allclose(last.heat_out_j + last.heat_stored_j, drawn_j, rtol=1e-9, atol=1e-3)
        electrical_j, out_j = electrical_j + drawn_j, out_j + last.heat_out_j
        stored_j = stored_j + last.heat_stored_j
    assert world.horizon_steps == 7 * 288
    np.testing.assert_allclose(out_j + stored_j, electrical_j, rtol=1e-6)
    assert np.all(np.abs(stored_j) < 0.01 * electrical_j), "a week's energy leaves, it is not stored"


def test_halving_the_sub_step_halves_the_error() -> None:
    """Backward Euler with lagged leakage is of first order in time: a cold start from one site, three resolutions."""

    def temperatures(sub_steps: int) -> np.ndarray:
        world = generated_world(
            difficulty="easy", limits="free", site=replace(site_spec("container"), sub_steps=sub_steps)
        )
        core = core_of(world, 1, seed=2, start=0, running=0.0)
        for _ in range(4):
            core.step(np.ones((1, world.action_size)))
        # Temperatures half-way through the warm-up, where they change fastest.
        return np.asarray(core.state.temp_sink_c[:, 0])

    coarse, middle, fine = temperatures(10), temperatures(20), temperatures(40)
    ratio = np.abs(coarse - middle).max() / np.abs(middle - fine).max()
    assert 1.5 < ratio < 3.0
