"""What ``minesim envs`` tells must be what the environment does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

import minesim.envs
from minesim.cli import app
from minesim.control.envelope import Limits
from minesim.control.observe import schema
from minesim.envs import describe
from minesim.envs.core import Difficulty, EnvConfig, World, build_world
from minesim.envs.single import HashrateTuningEnv, make_config
from minesim.errors import DataFileError, ParamsError
from minesim.tasks.hashrate import HashrateTask

ENV_ID = "minesim/HashrateTuning-v0"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(make_config(difficulty="hard", task=HashrateTask(reward="weighted")))


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("COLUMNS", "400")
    return CliRunner()


def test_list_shows_ids_sizes_and_options(wide: CliRunner) -> None:
    result = wide.invoke(app, ["envs"])
    assert result.exit_code == 0
    env = gym.make(ENV_ID)
    observations, actions = env.observation_space.shape, env.action_space.shape
    assert observations is not None
    assert actions is not None
    assert ENV_ID in result.output
    assert f"observation: {observations[0]} numbers, action: {actions[0]} numbers" in result.output
    for field in dataclasses.fields(EnvConfig):
        assert field.name in result.output


def test_describe_shows_everything(wide: CliRunner) -> None:
    result = wide.invoke(app, ["envs", "describe", ENV_ID, "--difficulty", "hard"])
    assert result.exit_code == 0
    names = [row[0] for row in describe.channel_rows(schema(16))]
    terms = [row[1] for row in describe.reward_rows()]
    for word in (*names, *terms, *describe.RESET_OPTIONS, *describe.INFO, *EnvConfig.__dataclass_fields__):
        assert word in result.output
    assert "Action: 17 numbers" in result.output
    assert "reserve offer" in result.output
    assert describe.cost_text() in result.output


def test_describe_follows_the_options(wide: CliRunner) -> None:
    result = wide.invoke(app, ["envs", "describe", ENV_ID, "--site", "one_s19j_pro", "--scenario", "generated/tou"])
    assert result.exit_code == 0
    assert "site one_s19j_pro (1 cohorts), scenario generated/tou, tariff tou" in result.output
    assert "Action: 1 numbers" in result.output
    assert "reserve offer for" not in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minesim/HashrateTunin-v0"], f"Did you mean '{ENV_ID}'"),
        ([ENV_ID, "--site", "containr"], "Did you mean 'container'"),
        ([ENV_ID, "--scenario", "ercto"], "Did you mean 'ercot'"),
        ([ENV_ID, "--difficulty", "hrd"], "Did you mean 'hard'"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(wide: CliRunner, arguments: list[str], message: str) -> None:
    result = wide.invoke(app, ["envs", "describe", *arguments])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_every_channel_has_a_meaning_and_no_meaning_is_stale() -> None:
    rows = describe.channel_rows(schema(3))
    assert {row[0] for row in rows} == set(describe.MEANINGS)
    sizes = {"1": 1, "24": 24, "M": 3}
    assert sum(sizes[row[2]] for row in rows) == schema(3).size


def test_one_cohort_has_the_same_rows_as_many() -> None:
    assert describe.channel_rows(schema(1)) == describe.channel_rows(schema(16))


def test_each_row_tells_how_the_number_is_made() -> None:
    rows = {row[0]: row for row in describe.channel_rows(schema(2))}
    assert rows["temp_chip_c"][1:6] == ("cohorts", "M", "degC", "-60 to 150", "x / 100")
    assert rows["price_last_usd_per_mwh"][1:6] == ("market", "1", "USD/MWh", "-2000 to 20000", "symlog(x) / 5")
    assert rows["month_peak_frac"][1:6] == ("site", "1", "1", "0 to 2", "x")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("reserve_price_usd_per_mw_h", "USD/MW and h"),
        ("price_known_h", "h"),
        ("hours_since_change", "h"),
        ("carbon_last_g_per_kwh", "g/kWh"),
        ("energy_kwh", "kWh"),
        ("power_site_kw", "kW"),
        ("hour_cos", "1"),
        ("stops", "1"),
    ],
)
def test_units_follow_from_names(name: str, unit: str) -> None:
    assert describe.unit_of(name) == unit


def test_info_of_a_step_is_what_is_described(world: World) -> None:
    env = HashrateTuningEnv(world=world)
    env.reset(seed=0)
    info = env.step(np.zeros(env.action_space.shape, np.float32))[4]
    terms = {row[1] for row in describe.reward_rows()}
    assert set(info) == set(describe.INFO) | terms


def test_weights_and_cost_are_those_of_the_task() -> None:
    task = HashrateTask(weight_profit=0.5, temp_chip_limit_c=75.0, power_change_limit=0.3)
    assert ("weighted", "reward_profit", "0.5") in [row[:3] for row in describe.reward_rows(task)]
    assert "over 75 degC" in describe.cost_text(task)
    assert "exceeds 0.3 of rated power" in describe.cost_text(task)


@pytest.mark.parametrize("option", describe.RESET_OPTIONS)
def test_reset_takes_each_described_option(world: World, option: str) -> None:
    values = {"start": 96, "split": "test", "month_peak_frac": 0.5, "running": 0}
    HashrateTuningEnv(world=world).reset(seed=0, options={option: values[option]})


def test_reset_takes_no_other_option(world: World) -> None:
    with pytest.raises(ParamsError) as caught:
        HashrateTuningEnv(world=world).reset(options={"zzzz": 1})
    for option in describe.RESET_OPTIONS:
        assert option in str(caught.value)


@pytest.mark.parametrize("described", [EnvConfig, Difficulty, Limits])
def test_every_attribute_has_a_text(described: type) -> None:
    texts = describe.attribute_texts(described)
    assert set(texts) == {field.name for field in dataclasses.fields(described)}
    assert all(texts.values())


def test_attribute_texts_join_lines_and_share_entries() -> None:
    class Example:
        """One line.

        Attributes:
            first, second: a text that goes on
                in the next line.
            third3: ``code``.

        Other words.
        """

    expected = {"first": "a text that goes on in the next line", "third3": "`code`"}
    assert describe.attribute_texts(Example) == expected | {"second": expected["first"]}
    assert describe.attribute_texts(int) == {}


def test_tables_of_a_page_are_renewed_in_place(tmp_path: Path, wide: CliRunner) -> None:
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- table: reset -->\nstale words\n<!-- end -->\nAfter\n", encoding="utf-8")
    assert wide.invoke(app, ["envs", "describe", ENV_ID, "--renew", str(page)]).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("Before\n<!-- table: reset -->\n| option | meaning |\n")
    assert text.endswith("|\n<!-- end -->\nAfter\n")
    assert "stale words" not in text
    assert not describe.renew_page(page)
    assert list(tmp_path.iterdir()) == [page]


def test_an_unknown_table_or_a_missing_page_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: nothing -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(DataFileError, match="no table 'nothing'"):
        describe.renew_page(page)
    with pytest.raises(DataFileError, match="cannot read"):
        describe.renew_page(tmp_path / "absent.md")


def test_ids_are_registered() -> None:
    for env_id in minesim.envs.env_ids():
        assert env_id in gym.registry
