"""Networks that estimate a room's field: the balance and its unknowns, the contract, stops, DeepXDE without traces."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from agents.fields.hidden import RoomKey, hidden_room
from agents.fields.methods import method
from agents.pinn import field_run
from agents.pinn.coefficients import detached
from agents.pinn.field_method import FieldNetwork, prior_scale
from agents.pinn.field_settings import FieldSettings, presets
from agents.pinn.field_task import draw_member, field_task
from agents.pinn.settings import FitSettings
from experiments.entry import read_settings
from minesim.arrays import torch_namespace
from minesim.errors import ParamsError
from minesim.physics.room_grid import factorise, right_hand_side

SMALL = FieldSettings(nx=8, ny=4, widths=[32, 32], references=3, members=2, steps=200, batch=8)
TRAIN, FORECAST = 36, 12


def never() -> bool:
    return False


def quiet(*told: object) -> None:
    del told


@pytest.fixture(scope="module")
def room():
    torch.set_num_threads(1)
    return hidden_room(RoomKey("container_40ft", "easy", 0), TRAIN, FORECAST, 8)


@pytest.fixture(scope="module")
def task(room):
    return field_task(room.record, SMALL)


def solved(task, balance, structure, index):
    """Rise over outdoors that balances, (C, B)."""
    grid = (SMALL.nx, SMALL.ny, len(index))
    supply = task.supply_rise_k[index]
    right = right_hand_side(balance.model, balance.equations, structure.reshape(grid), balance.heat_w, supply, 0.0)
    return factorise(balance.model, balance.equations, xp=torch_namespace()).solve(right).reshape(task.cells, -1)


def test_balance_has_no_residual_at_its_own_solution_and_its_answer_is_nearly_that_of_other_unknowns(task):
    index, none = torch.arange(0, TRAIN, 5), torch.zeros(len(task.coefficients.unknowns))
    structure = torch.full((task.cells, len(index)), 3.0)
    nominal = task.coefficients.balance(none, index)
    rise = solved(task, nominal, structure, index)
    assert task.missed_k(nominal, rise, structure, index).abs().max() < 1e-3
    other = task.coefficients.balance(none + 0.3, index)  # every unknown 0.3 standard deviations away
    wanted = solved(task, other, structure, index) - rise
    answered = -task.missed_k(other, rise, structure, index)
    assert (answered - wanted).square().mean().sqrt() < 0.35 * wanted.square().mean().sqrt()


def test_unknowns_see_readings_and_never_the_residual(task):
    network = task.network(0)
    index, structure = torch.arange(8), task.structure_rise_k(network)
    member = draw_member(task, True, np.random.default_rng(0))
    data, inside, wall, prior, answer = task.losses(
        network.unknowns, index, network(index.float()[:, None]), structure, member
    )
    for term in (data, inside, wall):
        (grad,) = torch.autograd.grad(term, network.unknowns, retain_graph=True, allow_unused=True)
        assert grad is None or not grad.any()
    (grad,) = torch.autograd.grad(prior + answer, network.unknowns, retain_graph=True)
    assert grad.abs().min() > 0.0 or (grad != 0).float().mean() > 0.8
    weights = torch.autograd.grad(answer, list(network.trunk.parameters()), allow_unused=True)
    assert all(part is None for part in weights)  # and the network never sees the answer


def test_detached_balance_has_the_same_numbers(task):
    unknowns = torch.zeros(len(task.coefficients.unknowns), requires_grad=True)
    balance = task.coefficients.balance(unknowns, torch.arange(3))
    still = detached(balance)
    assert balance.equations.diagonal.requires_grad
    assert not still.equations.diagonal.requires_grad
    torch.testing.assert_close(still.equations.diagonal, balance.equations.diagonal)


def test_plugs_into_the_contract_and_beats_the_same_network_without_physics(room):
    estimate = FieldNetwork(SMALL).fit(room.record, np.random.default_rng(0))
    again = FieldNetwork(SMALL).fit(room.record, np.random.default_rng(0))
    rows, cells = np.arange(room.record.rows), np.arange(0, 96 * 48, 7)
    mean, sd = estimate.mean_c(rows, cells), estimate.sd_c(rows, cells)
    np.testing.assert_array_equal(mean, again.mean_c(rows, cells))
    assert np.isfinite(mean).all()
    assert sd.min() >= SMALL.floor_k
    bare = replace(
        SMALL, name="plain", trunk="points", weighting="none", unknowns="none", correct_grid=False, members=1
    )
    bare.check()
    scores = [
        field_run.score(e, room) for e in (estimate, FieldNetwork(bare).fit(room.record, np.random.default_rng(0)))
    ]
    x_m, y_m, sd_k = field_run.next_sensor_m(estimate, room)
    assert sd_k == pytest.approx(np.sqrt((estimate.sd_c(rows, np.arange(96 * 48)) ** 2).mean(axis=0)).max())
    assert 0.0 < x_m < room.record.grid.length_m
    assert 0.0 < y_m < room.record.grid.width_m
    assert scores[0].rmse_k < 0.75 * scores[1].rmse_k
    assert scores[0].forecast_rmse_k < 0.75 * scores[1].forecast_rmse_k


@pytest.mark.parametrize(("width", "found"), [(1.0, 1.0), (0.3, 0.41), (2.0, 1.94)])
def test_priors_prove_as_wide_as_the_truth_that_readings_show(width: float, found: float):
    """400 unknowns read with a noise of 0.3 prior deviations each, and as many that nothing reads."""
    rng, noise, count = np.random.default_rng(0), 0.3, 400
    read = width * rng.standard_normal(count) + noise * rng.standard_normal(count)
    members = 6

    def posterior(drawn: float) -> np.ndarray:
        told = read + drawn * noise * rng.standard_normal((members, count))
        anchors = drawn * rng.standard_normal((members, 2 * count))
        known = (told + noise**2 * anchors[:, :count]) / (1.0 + noise**2)
        return np.concatenate([known, anchors[:, count:]], axis=1)

    ensemble = np.concatenate([posterior(0.0)[:1], posterior(1.0)])
    # One round finds (width^2 + noise^2) / (1 + noise^2), less a tenth for what is cut of the unread ones.
    assert prior_scale(ensemble) == pytest.approx(0.9 * found, rel=0.08)


def test_finished_members_are_kept_and_a_stopped_one_is_trained_anew(room, tmp_path: Path):
    short = replace(SMALL, steps=20)
    whole = field_run.fit_field(room, short, 0, tmp_path / "whole", never, quiet)
    asked = iter(range(1000))
    first = field_run.fit_field(room, short, 0, tmp_path / "halting", lambda: next(asked) >= 25, quiet)
    assert (first.members, first.finished) == (1, False)
    assert [path.name for path in (tmp_path / "halting" / "pinn").iterdir()] == ["member0.npz"]
    second = field_run.fit_field(room, short, 0, tmp_path / "halting", never, quiet)
    assert second.finished
    assert second.score == whole.score
    assert [found["name"] for found in field_run.earlier(tmp_path / "halting")] == ["pinn"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trunk": "point"}, "points"),
        ({"weighting": "none"}, "without physics"),
        ({"members": 0}, "members is 0"),
        ({"sd_data_k": 0.0}, "sd_data_k is 0"),
    ],
)
def test_impossible_settings_are_refused(change, told):
    with pytest.raises(ParamsError, match=told):
        FitSettings(agent=FieldSettings(**change)).check()


LEAVES_NO_TRACE = """
import os, sys, torch
torch.set_default_dtype(torch.float64)
import agents.pinn.field_method, agents.pinn.field_run, agents.pinn.surrogate_run
assert "deepxde" not in sys.modules
from agents.pinn.deepxde_backend import load_deepxde
dde = load_deepxde()
assert dde.backend.backend_name == "pytorch"
assert torch.get_default_dtype() == torch.float64 and torch.get_default_device().type == "cpu"
assert "DDE_BACKEND" not in os.environ and os.environ["OMPI_COMM_WORLD_SIZE"] == "2"
"""


def test_deepxde_is_imported_late_and_leaves_no_trace(tmp_path: Path):
    env = {name: value for name, value in os.environ.items() if name != "DDE_BACKEND"}
    config = tmp_path / "elsewhere"
    env |= {"HOME": str(tmp_path / "home"), "OMPI_COMM_WORLD_SIZE": "2", "MPLCONFIGDIR": str(config)}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    (tmp_path / "home").mkdir()
    done = subprocess.run([sys.executable, "-c", LEAVES_NO_TRACE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home" / ".deepxde").exists()
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("name", sorted(presets()))
def test_configuration_and_benchmark_mean_the_same_network(name):
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf" / "fit_pinn"), version_base="1.3"):
        raw = compose("fit_pinn", overrides=[f"agent={name}"])
    assert read_settings(FitSettings, raw).agent == presets()[name]
    assert "at 0x" not in repr(method(name))  # what a benchmark's file depends on
