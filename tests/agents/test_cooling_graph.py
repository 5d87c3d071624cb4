"""The graph of a hall and the features that are read from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from agents.cooling.learning.settings import GRAPH, SacSettings
from minesim.envs.cooling_core import CoolingConfig, CoolingWorld, build_cooling_world

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

AGENT = SacSettings(network=GRAPH, nets=[128, 128], shielded=False, actions="direct", yardstick=False)
PLACES = {"a": (1.0, 0.5), "b": (6.0, 0.6), "c": (4.0, 1.8), "d": (9.0, 2.0), "e": (11.0, 0.4)}


def world_of(
    layout_name: str = "container_40ft", sensors: dict[str, tuple[float, float]] | None = None
) -> CoolingWorld:
    config = CoolingConfig(layout_name=layout_name, scenario="toronto", episode_days=1.0 / 12.0, sensors=sensors)
    return build_cooling_world(config)


@pytest.fixture(scope="module")
def container() -> CoolingWorld:
    return world_of()


def test_air_is_heard_from_supply_to_exhaust(container: CoolingWorld) -> None:
    from agents.cooling.learning.hall_graph import NODE_KINDS, hall_graph

    graph = hall_graph(container)
    kinds = np.array(NODE_KINDS)[graph.node_kinds]
    upwind = graph.relations[1]

    def heard(node: int) -> set[str]:
        return set(kinds[upwind[node] > 0.0])

    assert heard(0) == {"pad_duty", "damper"}  # south: the cold aisle
    assert heard(2) == {"chip"}  # north: the hot one
    assert heard(int(np.argmax(kinds == "chip"))) == {"air", "pad_duty", "damper", "load"}
    assert heard(int(np.argmax(kinds == "exhaust_speed"))) == {"air", "chip"}
    sums = graph.relations.sum(-1)
    np.testing.assert_allclose(sums[sums > 0.0], 1.0, rtol=1e-6)
    # Nearer miners count more for the air of a hot aisle.
    chips = upwind[2][kinds == "chip"]
    assert chips.argmax() == np.abs(np.linspace(0.765, 11.265, 16) - 0.25 * 12.03).argmin()


def test_sensors_in_another_order_change_no_feature() -> None:
    from agents.cooling.learning.policy import make_network

    first, second = world_of(sensors=PLACES), world_of(sensors=dict(reversed(PLACES.items())))
    one, two = (make_network(AGENT, world).actor.features_extractor for world in (first, second))
    seen = np.random.default_rng(0).uniform(0.0, 40.0, (3, len(first.names))).astype(np.float32)
    one.update(seen)
    two.load_state_dict(one.state_dict())
    moved = seen[:, [first.names.index(name) for name in second.names]]
    with torch.no_grad():
        a, b = one.nodes(torch.as_tensor(seen)), two.nodes(torch.as_tensor(moved))
        torch.testing.assert_close(a[: len(PLACES)].flip(0), b[: len(PLACES)], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one(torch.as_tensor(seen)), two(torch.as_tensor(moved)), rtol=1e-4, atol=1e-4)
        swapped = torch.as_tensor(seen)[:, [1, 0, *range(2, seen.shape[1])]]
        assert not torch.allclose(one(torch.as_tensor(seen)), one(swapped), rtol=1e-3)


def test_a_policy_acts_in_another_hall_and_is_no_larger_than_the_flat_one(
    container: CoolingWorld, tmp_path: Path
) -> None:
    from agents.cooling.learning.policy import BEST, describe_policy, load_policy, make_network
    from agents.rl.checkpoint import save_weights
    from minesim.errors import ParamsError

    network, flat = make_network(AGENT, container), make_network(SacSettings(), container)
    for part in ("actor", "critic"):
        sizes = [sum(p.numel() for p in getattr(net, part).parameters()) for net in (network, flat)]
        assert sizes[0] <= sizes[1]
    seen = np.random.default_rng(0).uniform(0.0, 40.0, (3, len(container.names))).astype(np.float32)
    network.actor.features_extractor.update(seen)
    describe_policy(tmp_path, "g", AGENT, container)
    save_weights(tmp_path / BEST, network.state_dict())
    same = load_policy(tmp_path, container).act(seen)
    with torch.no_grad():
        np.testing.assert_allclose(same, network.actor(torch.as_tensor(seen), deterministic=True).numpy(), atol=1e-6)
    hall = world_of("hall")
    there = load_policy(tmp_path, hall).act(np.full((2, len(hall.names)), 25.0, np.float32))
    assert there.shape == (2, 5)
    load = [hall.action_names.index(f"load_{row}_row") for row in ("south", "north")]
    np.testing.assert_array_equal(there[:, load[0]], there[:, load[1]])
    plain = SacSettings(**{**asdict(AGENT), "network": "flat"})
    describe_policy(tmp_path, "g", plain, container)
    with pytest.raises(ParamsError, match="observations"):
        load_policy(tmp_path, hall)
