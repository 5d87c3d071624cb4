"""Begin a room's network where simulated rooms of its layout left one, not from drawn weights.

Rooms are drawn from the priors of what may be wrong with the layout, solved, and shown to the network together with
what is wrong with them (``told`` of :class:`agents.pinn.field_settings.FieldSettings`). For a hidden room the network
then follows its unknowns as these are found, instead of learning a field for each of their values on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from agents.fields.course import draw_course
from agents.pinn.array_file import read_arrays, write_arrays
from agents.pinn.field_network import CellTrunk, RoomNetwork
from agents.pinn.field_settings import FieldSettings, PretrainSettings
from agents.pinn.field_task import features_of, plan_and_unknowns, scale_of
from agents.pinn.surrogate import arrays_of
from agents.pinn.training import Fitting
from minesim.bench.files import content_hash
from minesim.calibrate.room_twin import room_twin
from minesim.catalog.layouts import layout
from minesim.physics.room_plan import RoomPlan


@dataclass(frozen=True)
class SimulatedRooms:
    """Rows of simulated rooms, one after another.

    Attributes:
        features: not scaled, (B, F).
        size_k: of the causes of a rise, (B, 1).
        unknowns: of each row's room, in standard deviations of their priors, (B, P).
        rise_k: over outdoors, (B, C).
    """

    features: torch.Tensor
    size_k: torch.Tensor
    unknowns: torch.Tensor
    rise_k: torch.Tensor


def simulate_rooms(
    plan: RoomPlan, network: FieldSettings, settings: PretrainSettings, rng: np.random.Generator
) -> SimulatedRooms:
    """Draw rooms of a layout from the priors of their unknowns and solve what runs in them.

    Args:
        plan: the layout.
        network: whose cells and unknowns are meant.
        settings: how many rooms, and rows of each.
        rng: for all draws.
    """
    parts, unknowns = plan_and_unknowns(plan, (), network)
    sd = np.array([u.prior.sd for u in unknowns])
    low, high = np.array([u.bounds for u in unknowns]).T
    rows = []
    for _ in range(settings.rooms):
        course = draw_course(plan, settings.rows, (settings.ratio_low, settings.ratio_high), rng)
        theta = np.clip(sd * rng.standard_normal(len(sd)), low, high)
        air = room_twin(course, parts, unknowns, network.nx, network.ny).solve(theta).air_c.numpy()
        rise = air.reshape(-1, settings.rows).T - course.temp_amb_c[:, None]
        scaled = np.broadcast_to(theta / sd, (settings.rows, len(sd)))
        rows.append((*features_of(course), *(torch.as_tensor(part, dtype=torch.float32) for part in (scaled, rise))))
    return SimulatedRooms(*(torch.cat(part) for part in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Pretrained:
    """A trunk that knows simulated rooms.

    Attributes:
        arrays: weights of the trunk by name.
        scale: of the features, (2, F).
        processor_s: of simulating and training.
    """

    arrays: Mapping[str, np.ndarray]
    scale: torch.Tensor
    processor_s: float

    def begin(self, network: RoomNetwork) -> None:
        """Put the weights into the network of a room of this layout; its sensors are its own."""
        weights = {name: torch.as_tensor(array) for name, array in self.arrays.items()}
        network.trunk.load_state_dict({**network.trunk.state_dict(), **weights})


def pretrain(
    layout_name: str,
    network: FieldSettings,
    settings: PretrainSettings,
    folder: Path,
    stop: Callable[[], bool],
    show: Callable[[int, float], None],
) -> Pretrained | None:
    """Train a trunk on simulated rooms, or take it from the folder; None where the wish to stop came first.

    Args:
        layout_name: of the rooms.
        network: whose trunk; it must be of ``cells`` and told the unknowns.
        settings: how.
        folder: where it is kept.
        stop: whether to stop.
        show: is told steps done and the RMS of the rise's error, K.
    """
    shape = {name: getattr(network, name) for name in ("widths", "nx", "ny", "unknowns", "told")}
    key = content_hash([layout_name, shape, asdict(settings)])
    path = folder / f"{layout_name}.npz"
    if path.exists():
        arrays, note = read_arrays(path)
        if note.get("key") == key:
            return Pretrained(arrays, torch.as_tensor(arrays.pop("scale")), float(note["processor_s"]))
    begin = time.process_time()
    rooms = simulate_rooms(layout(layout_name), network, settings, np.random.default_rng([settings.seed, 1]))
    scale = scale_of(rooms.features)
    inputs = torch.cat([(rooms.features - scale[0]) / scale[1], rooms.unknowns], 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        trunk = CellTrunk(network.nx * network.ny, torch.zeros(0, dtype=torch.long), inputs.shape[1], network.widths)

    def loss(index: torch.Tensor) -> torch.Tensor:
        return torch.mean((trunk(inputs[index]) * rooms.size_k[index] - rooms.rise_k[index]) ** 2)

    fitting = Fitting(
        module=trunk,
        loss=loss,
        samples=len(inputs),
        batch=settings.batch,
        steps=settings.steps,
        rate=settings.rate,
        rate_end=settings.rate_end,
        seed=settings.seed,
        path=folder / f"{layout_name}_state.npz",
        key=key,
    )
    fitting.resume()
    simulated_s = time.process_time() - begin
    if not fitting.run(stop, show, time.process_time):
        return None
    took = simulated_s + fitting.trained_s
    arrays = {name: array for name, array in arrays_of(trunk).items() if name != "index"}
    write_arrays(path, {**arrays, "scale": scale.numpy()}, {"key": key, "processor_s": took})
    return Pretrained(arrays, scale, took)
