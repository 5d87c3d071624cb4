"""Every recipe and trainer that the command offers is one that can be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hydra")

from hydra import compose, initialize_config_dir

from agents.rl.settings import TrainSettings
from experiments.entry import read_settings
from minesim.errors import ParamsError

CONF = Path(__file__).resolve().parents[2] / "conf" / "train"


def composed(*overrides: str) -> TrainSettings:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read_settings(TrainSettings, compose("train", list(overrides)))


@pytest.mark.parametrize("agent", sorted(path.stem for path in (CONF / "agent").glob("*.yaml")))
def test_recipes_are_valid_and_named_as_their_file(agent: str) -> None:
    chosen = composed(f"agent={agent}")
    assert chosen.agent.name == agent
    assert chosen.agent.repeat(chosen.task.dt_ctrl_s) >= 1
    assert 0.9 < chosen.agent.discount() < 1.0


@pytest.mark.parametrize("trainer", sorted(path.stem for path in (CONF / "trainer").glob("*.yaml")))
def test_trainers_are_valid(trainer: str) -> None:
    assert composed(f"trainer={trainer}").trainer.name == trainer
    assert composed(f"trainer={trainer}", "trainer.device=cuda").trainer.device == "cuda"


def test_the_recurrent_recipe_has_a_memory_and_the_wide_one_the_published_nets() -> None:
    assert composed("agent=ppo_recurrent").agent.lstm_size > 0
    wide = composed("agent=ppo_wide", "trainer=batched")
    assert (wide.agent.envs, wide.agent.nets) == (1024, [256, 128, 64])


def test_what_does_not_go_together_is_an_error() -> None:
    with pytest.raises(ParamsError, match="Take trainer=sb3"):
        composed("agent=ppo_recurrent", "trainer=batched")
    with pytest.raises(ParamsError, match="Did you mean 'batched'"):
        composed("trainer.name=batchd")
