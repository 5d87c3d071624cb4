from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from minesim.control.fleet import CohortSpec
from minesim.envs import render, render_parts
from minesim.envs.core import SiteCore, World, build_world
from minesim.envs.render import BOOTING, HASHING, OFF, RAMPING, SILENT, TRIPPED, cohort_views, draw_site
from minesim.envs.single import HashrateTuningEnv, make_config
from minesim.errors import MissingExtraError, TelemetryError
from minesim.site_spec import SiteSpec

SHAPE = (render_parts.HEIGHT_PX, render_parts.WIDTH_PX, 3)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(make_config())


@pytest.fixture
def env(world: World) -> HashrateTuningEnv:
    made = HashrateTuningEnv(render_mode="rgb_array", world=world)
    made.reset(seed=3)
    return made


def steps(env: HashrateTuningEnv, count: int, action: float) -> None:
    for _ in range(count):
        env.step(np.full(env.action_space.shape, action, np.float32))


def test_fresh_site_is_drawn_without_a_day(env: HashrateTuningEnv) -> None:
    image = env.render()
    assert image.shape == SHAPE
    assert image.dtype == np.uint8
    assert 0.02 < (image < 250).any(axis=-1).mean() < 0.9


def test_drawing_changes_nothing_in_the_run(env: HashrateTuningEnv, world: World) -> None:
    other = HashrateTuningEnv(world=world)
    other.reset(seed=3)
    pictures = [env.render(), env.render()]
    assert np.array_equal(*pictures)
    for level in (1.0, -1.0, 0.2):
        if level < 0.0:
            assert not np.array_equal(pictures[0], env.render())
        action = np.full(env.action_space.shape, level, np.float32)
        drawn, plain = env.step(action), other.step(action)
        assert np.array_equal(drawn[0], plain[0])
        assert drawn[1] == plain[1]


def test_the_day_keeps_one_day(env: HashrateTuningEnv) -> None:
    steps(env, 300, 0.5)
    assert len(env._day) == 288


def test_state_of_a_cohort_follows_the_firmware(env: HashrateTuningEnv) -> None:
    steps(env, 2, 1.0)
    assert {view.state for view in cohort_views(env.core)} == {HASHING}
    steps(env, 1, -1.0)
    stopped = cohort_views(env.core)
    assert {view.state for view in stopped} == {OFF}
    assert max(view.level_set for view in stopped) == 0.0
    assert max(view.level for view in stopped) < 0.02
    steps(env, 1, 1.0)
    # The ramp admits a part of the fleet at a time.
    assert {view.state for view in cohort_views(env.core)} == {OFF, RAMPING}


def test_each_state_is_named_and_drawn(env: HashrateTuningEnv) -> None:
    before = env.render()
    memory, telemetry = env.core.state.firmware, env.core.telemetry
    wait_s, tripped, running = (np.array(part) for part in (memory.wait_s, memory.tripped, memory.running))
    age_s = np.array(telemetry.age_s)
    wait_s[0, :2] = 60.0, -1.0
    tripped[0, 2] = 1.0
    running[0, 3] = 0.0
    age_s[0, 4] = 1e6
    firmware = replace(memory, wait_s=wait_s, tripped=tripped, running=running)
    env.core.state = replace(env.core.state, firmware=firmware)
    env.core.telemetry = replace(telemetry, age_s=age_s)
    assert [view.state for view in cohort_views(env.core)] == [BOOTING, RAMPING, TRIPPED, OFF, SILENT] + [HASHING] * 11
    after = env.render()
    changed = (before != after).any(axis=-1)
    # Boxes stand in a grid of four by four from x = 26 to 640 and y = 86 to 626.
    for box in range(5):
        x, y = 26 + 153 * (box % 4), 86 + 135 * (box // 4)
        assert changed[y : y + 135, x : x + 153].any(), box
    assert not changed[356:626, 26:640].any()


@pytest.mark.parametrize("cohorts", [1, 37, 1000])
def test_any_number_of_cohorts_is_drawn(cohorts: int) -> None:
    models = ("S19j Pro", "S19 Pro", "S19 XP", "S19k Pro", "S21", "T21", "S17 Pro", "S19 (95T)", "T17", "S17+")
    spec = SiteSpec("many", tuple(CohortSpec(models[i * i % len(models)], 2) for i in range(cohorts)))
    core = SiteCore(build_world(make_config(site=spec)), 1)
    core.seed([0])
    core.reset()
    core.step(np.linspace(-1.0, 1.0, cohorts)[None])
    assert len(cohort_views(core)) == cohorts
    assert draw_site(core, []).shape == SHAPE


def test_many_models_are_merged_into_a_few_patches() -> None:
    views = [render.CohortView(f"model {m}", 1 + m, HASHING, 1.0, 1.0, 70.0) for m in range(20)]
    groups = render._groups(views)
    assert len(groups) == render.PATCHES_MAX
    assert groups[0][0] == "model 19"
    assert sum(len(group) for _, group in groups) == len(views)


def test_a_price_spike_and_a_negative_price_are_drawn(env: HashrateTuningEnv) -> None:
    steps(env, 4, 1.0)
    day = [dict(record) for record in env._day]
    calm = draw_site(env.core, day)
    day[1]["energy_price_usd_per_mwh"] = 8995.0
    day[2]["energy_price_usd_per_mwh"] = -40.0
    assert not np.array_equal(calm, draw_site(env.core, day))


def test_a_torch_batch_is_drawn() -> None:
    torch = pytest.importorskip("torch")
    core = SiteCore(build_world(make_config(site="one_s19j_pro")), 2, torch.zeros(1))
    core.seed([0, 1])
    core.reset()
    assert draw_site(core, []).shape == SHAPE


def test_render_before_reset_says_what_to_do(world: World) -> None:
    env = HashrateTuningEnv(render_mode="rgb_array", world=world)
    with pytest.raises(TelemetryError, match="Call reset before render"):
        env.render()


def test_without_a_render_mode_nothing_is_drawn(world: World) -> None:
    env = HashrateTuningEnv(world=world)
    env.reset(seed=0)
    assert env.render() is None


def test_missing_matplotlib_names_the_extra(env: HashrateTuningEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"minesim\[report\]"):
        env.render()


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys; from minesim.envs.single import HashrateTuningEnv;"
        "assert 'matplotlib' not in sys.modules;"
        "env = HashrateTuningEnv(render_mode='rgb_array', site='one_s19j_pro'); env.reset(seed=0); env.render();"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
