"""Fit a network to a hidden room, judge it against the truth, keep every finished member of its ensemble."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.fields.hidden import HiddenRoom, RoomKey, hidden_room
from agents.fields.protocol import FieldEstimate
from agents.fields.scores import Score, score
from agents.pinn.array_file import read_arrays, write_arrays
from agents.pinn.field_method import FieldNetwork, Show, air_c, in_priors, joined
from agents.pinn.field_settings import FieldSettings
from agents.pinn.field_task import field_task
from agents.pinn.steady import Floats
from agents.pinn.surrogate import arrays_of, put_arrays
from minesim.bench.files import content_hash, write_json


@dataclass(frozen=True)
class FieldResult:
    """A fitted network.

    Attributes:
        name: of its settings.
        estimate: of the field.
        score: against the truth.
        nominal: the same of the layout as it is, on the same cells, without a reading or a network.
        unknowns: name -> value found by the first member (factor on the layout's, or K).
        members, finished: how many, and whether all were trained to the end.
        processor_s, wall_s: of training, all runs together.
    """

    name: str
    estimate: FieldEstimate
    score: Score
    nominal: Score
    unknowns: dict[str, float]
    members: int
    finished: bool
    processor_s: float
    wall_s: float

    def about(self) -> dict[str, Any]:
        """Everything but the estimate."""
        told = {name: value for name, value in vars(self).items() if name != "estimate"}
        return {**told, "score": asdict(self.score), "nominal": asdict(self.nominal)}


def fit_field(
    room: HiddenRoom, settings: FieldSettings, seed: int, folder: Path, stop: Callable[[], bool], show: Show
) -> FieldResult:
    """Fit an ensemble to a hidden room; finished members are taken from the folder.

    A member that is cut short is trained anew when the run goes on; it counts only if it is the first, because half
    trained it would say more about training than about the room.

    Args:
        room: hidden.
        settings: of the networks.
        seed: of the ensemble; each member draws by itself.
        folder: of results.
        stop: whether to stop.
        show: is told member, step and loss.

    Raises:
        DataFileError: a damaged file of a member.
    """
    task = field_task(room.record, settings)
    method = FieldNetwork(settings, show, stop)
    key = content_hash([room.key, room.record.rows, len(room.record.telemetry.sensors), asdict(settings), seed])
    fields: list[Floats] = []
    scaled: list[Floats] = []
    unknowns, times, finished = {}, np.zeros(2), True
    for number, rng in enumerate(np.random.default_rng(seed).spawn(settings.members)):
        path = folder / settings.name / f"member{number}.npz"
        network = task.network(0)
        known = _known(path, key)
        if known is not None:
            arrays, took = known
            put_arrays(network, arrays, path)
        else:
            begin = np.array([time.process_time(), time.perf_counter()])
            network, steps = method.train(task, number, rng)
            took = np.array([time.process_time(), time.perf_counter()]) - begin
            if steps >= settings.steps:
                write_arrays(path, arrays_of(network), {"key": key, "took_s": took})
            finished = finished and steps >= settings.steps
            if fields and not finished:
                break
        times = times + took
        fields.append(air_c(task, network))
        scaled.append(in_priors(network))
        if number == 0:
            values = task.coefficients.factors(network.unknowns)
            unknowns = {u.title: v for u, v in zip(task.coefficients.unknowns, values, strict=True)}
        if stop():
            finished = finished and number + 1 == settings.members
            break
    estimate = joined(task, np.array(fields), np.array(scaled))
    result = FieldResult(
        name=settings.name,
        estimate=estimate,
        score=score(estimate, room),
        nominal=score(joined(task, task.nominal_c[None]), room),
        unknowns=unknowns,
        members=len(fields),
        finished=finished,
        processor_s=float(times[0]),
        wall_s=float(times[1]),
    )
    write_json(folder / f"{settings.name}.json", result.about())
    return result


def _known(path: Path, key: str) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """A finished member of the same settings, with processor and wall seconds that it took; None if there is none."""
    if not path.exists():
        return None
    arrays, note = read_arrays(path)
    return (arrays, np.array(note["took_s"])) if note.get("key") == key else None


def next_sensor_m(estimate: FieldEstimate, room: HiddenRoom) -> tuple[float, float, float]:
    """Where another sensor would be told most: the cell that the ensemble knows least, on average over all rows.

    Args:
        estimate: with its spread.
        room: whose record it is of.

    Returns:
        x and y of the cell's middle, m, and the standard deviation there, K.
    """
    grid, rows = room.record.grid, np.arange(room.record.rows)
    spread = np.sqrt((estimate.sd_c(rows, np.arange(grid.nx * grid.ny)) ** 2).mean(axis=0))
    i, j = divmod(int(spread.argmax()), grid.ny)
    x, y = grid.centres_m
    return float(x[i]), float(y[j]), float(spread.max())


def earlier(folder: Path) -> list[dict[str, Any]]:
    """What was found on this room so far, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def make_room(layout: str, case: str, seed: int, sensors: int) -> HiddenRoom:
    """The hidden room of a run; seconds of one core."""
    return hidden_room(RoomKey(layout, case, seed), sensors=sensors)


def true_values(room: HiddenRoom) -> dict[str, float]:
    """What the unknowns of a hidden room are in truth, by the titles of :mod:`minesim.calibrate.unknowns`."""
    hidden, plan = room.parameters, room.record.telemetry.plan
    inputs = [("group", g.name) for g in plan.groups] + [("fan", f.name) for f in plan.fans]
    inputs += [("damper", d.name) for d in plan.dampers]
    return {
        **{f"gap {row.name}": hidden.gap_factor for row in plan.rows},
        f"eddy {plan.name}": hidden.eddy_factor,
        **{f"heat {g.name}": float(v) for g, v in zip(plan.groups, hidden.heat_factor, strict=True)},
        **{f"{kind} {name}": float(v) for (kind, name), v in zip(inputs, hidden.flow_factor, strict=True)},
        **{f"bias {s}": float(v) for s, v in zip(room.record.telemetry.sensors, hidden.bias_k, strict=True)},
    }
