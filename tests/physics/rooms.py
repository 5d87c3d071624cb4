"""Rooms and operating points that several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minesim.physics.room_plan import MinerGroup, Opening, RoomFan, RoomPlan, Row, check_plan

RHO_CP = 1.15 * 1006.0
"""Air at 30 C, J/(m3 K)."""


def channel(length_m: float = 10.0, **changes: Any) -> RoomPlan:
    """A channel with air from west to east and heat between x = 2 m and 6 m."""
    values: dict[str, Any] = {
        "name": "channel",
        "title": "",
        "source": "",
        "length_m": length_m,
        "width_m": 1.0,
        "height_m": 2.0,
        "eddy_m2_per_s": 0.5,
        "leak_share": 0.0,
        "structure_j_per_k": 1e6,
        "structure_w_per_k": 1e-9,
        "envelope_w_per_k": 0.0,
        "rows": (Row("row", 0.5, 0.0, length_m, "north", 1.0),),
        "groups": (MinerGroup("heat", "row", 2.0, 6.0, 10, 2000.0, 0.1),),
        "fans": (RoomFan("fan", "exhaust", "east", 0.0, 1.0, 1.0, 100.0),),
        "openings": (Opening("louvre", "west", 0.0, 1.0, 0.5),),
    }
    return check_plan(RoomPlan(**{**values, **changes}))


def operating_points(plan: RoomPlan, count: int, seed: int) -> Iterator[tuple[float, Any, Any]]:
    """Random settings, uneven over groups and fans: fans over miners (0.53 to 1.31), flows (U,) and heat (M,)."""
    rng = np.random.default_rng(seed)
    rated_flow = np.array([g.miners * g.flow_m3_per_s for g in plan.groups])
    rated_w = np.array([g.miners * g.power_w for g in plan.groups])
    fans = np.array([f.flow_m3_per_s for f in plan.fans])
    dampers = np.array([d.flow_m3_per_s for d in plan.dampers])
    for ratio in rng.permutation(np.linspace(0.53, 1.31, count)):
        level = rng.uniform(0.6, 1.0)
        flow_miner = level * rated_flow * rng.uniform(0.8, 1.0, rated_flow.size)
        shares = fans * rng.uniform(0.6, 1.0, fans.size)
        flow_damper = dampers * rng.uniform(0.0, 0.5, dampers.size) * (rng.random() < 0.5)
        flows = [flow_miner, shares / shares.sum() * ratio * flow_miner.sum(), flow_damper]
        yield ratio, np.concatenate(flows), level * rated_w * rng.uniform(0.6, 1.0, rated_w.size)


def cell_means(field: Any, nx: int, ny: int) -> Any:
    """Means of a fine field over the cells of a coarse one."""
    return field.reshape(nx, field.shape[0] // nx, ny, field.shape[1] // ny).mean(axis=(1, 3))
