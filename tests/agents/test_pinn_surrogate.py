"""Surrogates: the residual is the solver's, learning works from solves and from physics alone, files and stops hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.pinn import steady, surrogate_run
from agents.pinn.array_file import read_arrays, write_arrays
from agents.pinn.onnx_file import TOLERANCE_K, OnnxSurrogate
from agents.pinn.surrogate import load_surrogate
from agents.pinn.surrogate_lessons import lesson_of
from agents.pinn.surrogate_settings import SurrogateSettings
from minesim.arrays import NUMPY
from minesim.catalog.layouts import layout
from minesim.errors import DataFileError, ParamsError
from minesim.physics.room_grid import room_model

SMALL = SurrogateSettings(
    nx=8,
    ny=4,
    modes=24,
    width=64,
    layers=2,
    samples=2000,
    steps=800,
    physics_steps=400,
    batch=64,
    test=100,
    fine_test=2,
)


def never() -> bool:
    return False


def quiet(*told: object) -> None:
    del told


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    return surrogate_run.surrogate_run("container_40ft", SMALL, 0, tmp_path_factory.mktemp("surrogate"))


@pytest.fixture(scope="module")
def taught(run):
    return {lesson: run.fit(lesson, never, quiet) for lesson in ("solves", "physics")}


def test_solved_field_leaves_no_residual_and_a_wrong_one_does():
    plan = layout("container_40ft")
    model = room_model(plan, 24, 12)
    settings = steady.draw_settings(plan, steady.SettingsRange(), 20, np.random.default_rng(0))
    rise = steady.solve_rise_k(model, settings, xp=NUMPY)
    assert np.abs(steady.residual_k(model, settings, rise, xp=NUMPY)).max() < 1e-10
    wrong = rise.copy()
    wrong[3, 2, 5] += 1.0
    missed = steady.residual_k(model, settings, wrong, xp=NUMPY)
    assert missed[3, 2, 5] == pytest.approx(1.0)  # a kelvin more, over what a kelvin takes away
    assert np.abs(np.delete(missed, 5, axis=2)).max() < 1e-10


def test_learns_from_solves_and_from_physics_alone(taught):
    spread = taught["solves"].exactness.spread_k
    assert taught["solves"].exactness.rms_k < 0.15 * spread
    assert taught["physics"].exactness.rms_k < 0.2 * spread


def test_physics_never_solves_a_field(run, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a field was solved")

    monkeypatch.setattr("agents.pinn.surrogate_lessons.solve_rise_k", refuse)
    plan, model = run.plan, run.model
    sample = steady.draw_settings(plan, run.span, 200, np.random.default_rng(0))
    lesson_of("physics", plan, model, sample, run.span, 8, 3)
    with pytest.raises(AssertionError, match="solved"):
        lesson_of("solves", plan, model, sample, run.span, 8, 3)


def test_proportional_to_its_causes_and_zero_without(taught, run):
    network, settings = taught["solves"].surrogate, run.truths.settings
    rise = network.rise_k(settings)
    half = steady.RoomSettings(
        settings.flows_m3_per_s, 0.5 * settings.heat_w, 0.5 * settings.supply_rise_k, settings.rho_cp_j_per_m3_k
    )
    np.testing.assert_allclose(network.rise_k(half), 0.5 * rise, atol=2e-4)
    none = steady.RoomSettings(
        settings.flows_m3_per_s, 0.0 * settings.heat_w, 0.0 * settings.supply_rise_k, settings.rho_cp_j_per_m3_k
    )
    assert np.abs(network.rise_k(none)).max() < 1e-4
    still = settings.take(slice(0, 1)).to(np.zeros_like)
    still = steady.RoomSettings(still.flows_m3_per_s, still.heat_w, still.supply_rise_k, np.array([1150.0]))
    assert np.isfinite(network.rise_k(still)).all()  # everything switched off


def test_onnx_and_npz_give_the_same_field(taught, run):
    result, settings = taught["physics"], run.truths.settings
    rise = result.surrogate.rise_k(settings)
    exported = OnnxSurrogate(run.folder / "physics.onnx")
    assert np.abs(exported.rise_k(settings) - rise).max() <= TOLERANCE_K
    one = settings.take(slice(7, 8))
    assert np.abs(exported.rise_k(one) - rise[..., 7:8]).max() <= TOLERANCE_K
    network, about = load_surrogate(run.folder / "physics.npz")
    np.testing.assert_array_equal(network.rise_k(settings), rise)
    assert about["layout"] == "container_40ft"


def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(tmp_path):
    torch.set_num_threads(1)
    tiny = SurrogateSettings(
        nx=4,
        ny=2,
        modes=8,
        width=16,
        layers=1,
        samples=100,
        physics_steps=40,
        physics_batch=8,
        batch=8,
        test=2,
        fine_test=1,
    )
    whole = surrogate_run.surrogate_run("hydro_row", tiny, 0, tmp_path / "whole").fit("physics", never, quiet)
    halting = surrogate_run.surrogate_run("hydro_row", tiny, 0, tmp_path / "halting")
    asked = iter(range(1000))
    first = halting.fit("physics", lambda: next(asked) >= 17, quiet)
    assert (first.steps, first.finished) == (17, False)
    second = halting.fit("physics", never, quiet)
    assert (second.steps, second.finished) == (40, True)
    settings = halting.truths.settings
    np.testing.assert_array_equal(second.surrogate.rise_k(settings), whole.surrogate.rise_k(settings))
    other = surrogate_run.surrogate_run("hydro_row", tiny, 1, tmp_path / "halting")
    with pytest.raises(DataFileError, match="other settings"):
        other.fit("physics", never, quiet)


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path):
    with pytest.raises(DataFileError, match="no file"):
        load_surrogate(tmp_path / "none.npz")
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataFileError, match=r"damaged\.npz"):
        load_surrogate(damaged)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, note_json=np.array([{"format": "minesim surrogate 1"}], dtype=object))
    with pytest.raises(DataFileError, match=r"pickled\.npz"):
        read_arrays(pickled)
    foreign = tmp_path / "foreign.npz"
    write_arrays(foreign, {"a": np.zeros(2)}, {"format": "something else"})
    with pytest.raises(DataFileError, match="something else"):
        load_surrogate(foreign)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"lessons": ["phisics"]}, "physics"), ({"modes": 0}, "modes is 0"), ({"samples": 5}, "samples is 5")],
)
def test_impossible_settings_are_refused(change, told):
    with pytest.raises(ParamsError, match=told):
        SurrogateSettings(**change).check()
