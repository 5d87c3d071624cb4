"""A miner's thermal circuit: heat is conserved, numbers are positive, a known circuit is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.pinn.miner_response_circuit import SHAPES, SIZES, Circuit
from agents.pinn.miner_response_fit import fit, predicted, tensors
from agents.pinn.miner_response_hidden import draw_hidden
from agents.pinn.miner_response_judge import judged, settling_min
from agents.pinn.miner_response_record import PART, part_before
from agents.pinn.miner_response_recorder import record_steps
from agents.pinn.miner_response_rivals import fit_first_order
from agents.pinn.miner_response_run import PRIOR_SHAPE, PRIOR_SIZE, PRIOR_WEIGHT
from agents.pinn.miner_response_settings import MinerResponseSettings

MODEL = "Antminer S19j Pro"


@pytest.fixture(scope="module")
def records():
    torch.set_num_threads(1)
    rng, settings = np.random.default_rng(0), MinerResponseSettings()
    hidden = draw_hidden(rng)
    return {split: record_steps(MODEL, hidden, split, 16, settings, rng) for split in ("train", "inner")}


def priors(circuit, weights):
    sizes, shapes = len(SIZES), len(SHAPES)
    rest = len(weights) - sizes - shapes
    return np.repeat([PRIOR_SIZE, PRIOR_SHAPE, PRIOR_WEIGHT], [sizes, shapes, rest])


@pytest.fixture(scope="module")
def learned(records):
    train = records["train"]
    circuit = Circuit(train.rated_w, train.sample_s, 8)
    first = circuit.first(np.random.default_rng(1))
    return circuit, fit(circuit, first, priors(circuit, first), train, 15).weights


def test_heat_is_conserved_and_a_steady_node_is_heat_over_conductance(records):
    train = records["train"]
    circuit = Circuit(train.rated_w, train.sample_s, 8)
    weights = circuit.first(np.random.default_rng(1)) + 0.3 * np.random.default_rng(2).standard_normal(49)
    bound = circuit.bind(torch.as_tensor(weights)[None])
    now = bound.drives(tensors(train)[0]).at(0)
    nodes = torch.full((1, len(train), 3), 40.0, dtype=torch.float64)
    matrix, source = bound.balance(nodes, now)
    flows = (matrix @ nodes[..., None])[..., 0] + source
    to_air = now.sink_air * (nodes[..., 1] - now.intake_c)
    heat = now.dyn_w + bound.leakage_w(nodes[..., 0], now)
    torch.testing.assert_close(flows[..., :2].sum(-1), heat - to_air)
    for _ in range(3000):
        nodes = bound.advance(nodes, now, torch.ones(len(train), dtype=nodes.dtype))
    heat = now.dyn_w + bound.leakage_w(nodes[..., 0], now)
    torch.testing.assert_close(nodes[..., 1] - now.intake_c, heat / now.sink_air, rtol=1e-4, atol=1e-3)


def test_numbers_stay_positive_wherever_a_fit_goes():
    circuit = Circuit(3000.0, 60.0, 8)
    values = circuit.values(100.0 * np.random.default_rng(0).standard_normal(49))
    assert min(values.values()) > 0.0


def test_finds_a_known_circuit(records):
    train = records["train"]
    circuit = Circuit(train.rated_w, train.sample_s, 8)
    first = circuit.first(np.random.default_rng(1))
    known = first.copy()
    moved = {"sink_j_per_k": 0.4, "chip_sink_w_per_k": 0.2, "stream_w_per_k": -0.3, "leak_w": 0.4, "beta_per_k": 0.2}
    for name, move in moved.items():
        known[circuit.names.index(name)] += move
    readings = train.readings.copy()
    readings[:, train.before + 1 :] = predicted(circuit, known, train)
    own = type(train)(train.kinds, train.inputs, readings, readings, train.before, train.sample_s, train.rated_w)
    found = fit(circuit, first, priors(circuit, first), own, 20)
    for name in moved:
        place = circuit.names.index(name)
        assert found.weights[place] == pytest.approx(known[place], abs=0.03), name  # 3 %


def test_unseen_steps_are_predicted_better_than_by_a_first_order_fit(records, learned):
    train, unseen = records["train"], records["inner"]
    mine = judged(predicted(*learned, unseen), unseen)["rmse_k"]
    other = judged(fit_first_order(train).predict(unseen), unseen)["rmse_k"]
    for horizon in (2, 3):
        assert mine["chip"][horizon] < 0.7 * other["chip"][horizon]


def test_hashrate_tells_when_a_step_came():
    was, became, part = np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.9, 0.0]), np.array([0.25, 0.8, 0.5])
    mixed = part * was + (1.0 - part) * became
    np.testing.assert_allclose(part_before(np.stack([was, mixed, became], axis=-1)), part)


def test_boards_are_right_a_minute_after_a_stop_wherever_in_its_minute_it_came(records, learned):
    unseen = records["inner"]
    assert np.ptp(unseen.inputs[:, unseen.before, PART]) > 0.4
    missed = predicted(*learned, unseen)[:, 0, 1] - unseen.truth_after[:, 0, 1]
    assert np.abs(missed[unseen.kinds == "stop"]).max() < 2.0  # 4 K on average with the minute's last inputs


def test_settling_is_the_last_time_outside_a_tenth_of_the_step():
    curve = 10.0 * (1.0 - np.exp(-np.arange(1, 61) / 5.0))[None]
    assert settling_min(curve, np.zeros(1), 60.0)[0] == pytest.approx(5.0 * np.log(10.0), abs=1.0)
