"""What a network of a room is asked for: readings met, heat balanced, unknowns near their priors.

Collocation points are the cells at rows drawn from the whole record: those with readings and those to be forecast,
whose inputs are known. The residual is the finite-volume balance of :mod:`minesim.physics.room_grid`, path by path; a
residual at points has one velocity where miners and gaps blow against each other, and cannot contain recirculation.
The structure is no network: it follows from the air at all rows by its own exponential, renewed now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agents.fields.protocol import FieldRecord
from agents.pinn.coefficients import Balance, RoomCoefficients, detached
from agents.pinn.field_network import CellTrunk, PointTrunk, RoomNetwork
from agents.pinn.field_settings import FieldSettings
from agents.pinn.steady import Floats, RoomSettings, solve_rise_k
from agents.pinn.surrogate import setting_features
from minesim.arrays import NUMPY, torch_namespace
from minesim.calibrate.telemetry import RoomTelemetry
from minesim.calibrate.unknown_room import HELD_S, UnknownRoom
from minesim.calibrate.unknowns import Unknown, room_unknowns, split_openings
from minesim.physics.airflow import Grid
from minesim.physics.room_grid import RoomModel, heat_taken_w, right_hand_side, room_model, sensor_cells, set_air
from minesim.physics.room_plan import RoomPlan


@dataclass(frozen=True)
class FieldTask:
    """A record as tensors, and the loss of a network on it.

    Attributes:
        settings: of the network.
        train, rows: rows with readings, and all.
        coefficients: the balance.
        readings_c: (T, N), NaN where there is none.
        amb_c, supply_rise_k: (T, 1) and (T,).
        features, size_k: of the rows, (T, F) and (T, 1).
        scale: mean and spread of the features before they were scaled by them, (2, F).
        places: of cells and then sensors, (C + N, d).
        sensor_cells: cell of each sensor, (N,).
        nominal_c: steady field of the layout as it is, (T, nx, ny).
        correction_k: what a grid of half the cells' size adds to the field, by the layout as it is,
            (T, 2 nx, 2 ny), K; the balance is that of the coarse cells, readings and estimates are corrected.
        correction_read_k: the same where the sensors hang, (T, N).
        at_wall: whether a cell touches an outer wall, (C,).
        inverses: of reference rows, (C, C) each.
        nearest: reference of every row, (T,).
    """

    settings: FieldSettings
    train: int
    rows: int
    coefficients: RoomCoefficients
    readings_c: torch.Tensor
    amb_c: torch.Tensor
    supply_rise_k: torch.Tensor
    features: torch.Tensor
    size_k: torch.Tensor
    scale: torch.Tensor
    places: torch.Tensor
    sensor_cells: torch.Tensor
    nominal_c: Floats
    correction_k: Floats
    correction_read_k: torch.Tensor
    at_wall: torch.Tensor
    inverses: tuple[torch.Tensor, ...]
    nearest: torch.Tensor

    @property
    def cells(self) -> int:
        """How many."""
        return self.settings.nx * self.settings.ny

    def network(self, seed: int) -> RoomNetwork:
        """An untrained network with weights of a seed; torch's generator is left as it was."""
        s, unknowns = self.settings, self.coefficients.unknowns
        told = torch.tensor([p for p, u in enumerate(unknowns) if s.told and not u.is_offset], dtype=torch.long)
        inputs = self.features.shape[1] + len(told)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk: PointTrunk | CellTrunk
            if s.trunk == "points":
                trunk = PointTrunk(self.places.numpy(), inputs, s.widths)
            else:
                trunk = CellTrunk(self.cells, self.sensor_cells, inputs, s.widths)
            return RoomNetwork(trunk, self.features, self.size_k, len(unknowns), told)

    def structure_rise_k(self, network: RoomNetwork) -> torch.Tensor:
        """Structure over outdoors that follows from a network's air at all rows, (T, C), K; no gradient."""
        with torch.no_grad():
            rows = torch.arange(self.rows, dtype=torch.float32)[:, None]
            rise = network(rows)[:, : self.cells]
            kept, share = self.coefficients.memory(network.unknowns)
            target = share * rise + self.amb_c
            course = [target[0]]
            for row in range(1, self.rows):
                course.append(kept * course[-1] + (1.0 - kept) * target[row])
            return torch.stack(course) - self.amb_c

    def losses(
        self,
        unknowns: torch.Tensor,
        index: torch.Tensor,
        outputs: torch.Tensor,
        structure_rise_k: torch.Tensor,
        member: Member,
    ) -> list[torch.Tensor]:
        """Terms of the loss on some rows: data, balance inside, balance at the walls, priors, data of the unknowns.

        Left to the balance's residual, unknowns would shrink every cause, because small fields are fitted with small
        errors. So with inverse matrices they see readings alone, through the balance's own answer: the network's field
        less what it misses is, to first order, the field that the unknowns would give.

        Args:
            unknowns: of the network, (P,).
            index: of the rows, (B,).
            outputs: of the network there.
            structure_rise_k: of all rows, (T, C).
            member: of the ensemble.
        """
        s, cells = self.settings, self.cells
        air, read = outputs[:, :cells], outputs[:, cells:]
        wanted = (self.readings_c + member.noise_k - self.correction_read_k)[index] - self.amb_c[index]
        known = torch.isfinite(wanted)
        if s.weighting == "none":
            return [_mean_square(read - wanted, known) / s.sd_data_k**2]
        held = structure_rise_k[index].T
        balance = self.coefficients.balance(unknowns, index)
        by_answer = s.weighting == "inverse"
        fixed = detached(balance) if by_answer else balance
        data = _mean_square(read + fixed.bias_k - wanted, known) / s.sd_data_k**2
        squares = self.missed_k(fixed, air.T, held, index) ** 2
        per_cell = squares.sum(1) / (cells * len(index) * s.sd_physics_k**2)
        wall, inside = per_cell[self.at_wall].sum(), per_cell[~self.at_wall].sum()
        terms = [s.weight_data * data, s.weight_physics * inside, s.weight_boundary * wall]
        terms.append(torch.sum((unknowns - member.anchor) ** 2) / (s.independent * wanted.shape[1]))
        if by_answer and len(unknowns):
            still = air.detach().T
            answer = (still - self.missed_k(balance, still, held, index))[self.sensor_cells].T
            terms.append(_mean_square(answer + balance.bias_k - wanted, known) / s.sd_data_k**2)
        return terms

    def missed_k(
        self, balance: Balance, rise: torch.Tensor, structure: torch.Tensor, index: torch.Tensor
    ) -> torch.Tensor:
        """What the balance misses, weighted, (C, B), K; fields (C, B)."""
        s = self.settings
        grid = (s.nx, s.ny, len(index))
        right = right_hand_side(
            balance.model, balance.equations, structure.reshape(grid), balance.heat_w, self.supply_rise_k[index], 0.0
        )
        taken = heat_taken_w(balance.model, balance.equations, rise.reshape(grid), xp=torch_namespace())
        return self._weighted(taken - right, balance.equations.diagonal, index)

    def _weighted(self, missed: torch.Tensor, diagonal: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        if self.settings.weighting == "outflow":
            return (missed / diagonal).reshape(self.cells, -1)
        flat, near = missed.reshape(self.cells, -1), self.nearest[index]
        order = near.argsort(stable=True)
        counts = torch.bincount(near, minlength=len(self.inverses)).tolist()
        parts = torch.split(flat[:, order], counts, dim=1)
        joined = torch.cat([inverse @ part for inverse, part in zip(self.inverses, parts, strict=True)], 1)
        return joined[:, order.argsort()]


@dataclass(frozen=True)
class Member:
    """One of an ensemble: what it is told differs as much as it might.

    Attributes:
        noise_k: added to the readings, (T, N).
        anchor: where its unknowns' priors are centred, (P,), in standard deviations.
    """

    noise_k: torch.Tensor
    anchor: torch.Tensor


def draw_member(task: FieldTask, first: bool, rng: np.random.Generator) -> Member:
    """Draw a member of an ensemble; the first one is told the readings as they are."""
    spread = 0.0 if first else 1.0
    noise = spread * task.settings.sd_data_k * rng.standard_normal(task.readings_c.shape)
    anchor = spread * rng.standard_normal(len(task.coefficients.unknowns))
    return Member(_single(noise), _single(anchor))


def plan_and_unknowns(
    plan: RoomPlan, sensors: Sequence[str], settings: FieldSettings
) -> tuple[RoomPlan, tuple[Unknown, ...]]:
    """The plan as a network's balance has it, and what may be wrong with it."""
    faults = settings.unknowns == "faults"
    plan = split_openings(plan) if faults else plan
    return plan, () if settings.unknowns == "none" else room_unknowns(plan, sensors, faults)


def features_of(known: RoomTelemetry) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of a record's rows, not scaled, and the size of their causes; see :func:`setting_features`."""
    supply_rise = known.temp_supply_c - known.temp_amb_c
    rows = (known.inputs_m3_per_s, known.heat_w, supply_rise[:, None], known.rho_cp_j_per_m3_k[:, None])
    return setting_features(len(known.plan.groups), len(known.plan.fans), *(_single(part) for part in rows))


def scale_of(features: torch.Tensor) -> torch.Tensor:
    """Mean and spread of features (T, F) as they are scaled by, (2, F)."""
    return torch.stack([features.mean(0), features.std(0) + 1e-3])


def field_task(record: FieldRecord, settings: FieldSettings, scale: torch.Tensor | None = None) -> FieldTask:
    """Lay a record out for a network.

    Args:
        record: what is known.
        settings: of the network.
        scale: of the features, where a network was trained with another than the record's own, (2, F).
    """
    known = record.telemetry
    plan, unknowns = plan_and_unknowns(known.plan, known.sensors, settings)
    model = room_model(plan, settings.nx, settings.ny)
    groups, fans = len(plan.groups), len(plan.fans)
    supply_rise = known.temp_supply_c - known.temp_amb_c
    features, size = features_of(known)
    scale = scale_of(features) if scale is None else scale
    places = {name: (float(x), float(y)) for name, (x, y) in zip(known.sensors, known.places_m, strict=True)}
    index = sensor_cells(model.grid, places)
    inverses, nearest = _references(model, known, groups, fans, settings)
    nominal, correction = _nominal_and_correction(model, known, settings)
    finer = Grid(2 * settings.nx, 2 * settings.ny, plan.length_m, plan.width_m, plan.height_m)
    read = correction.reshape(record.rows, -1)[:, sensor_cells(finer, places)]
    return FieldTask(
        settings=settings,
        train=record.train,
        rows=record.rows,
        coefficients=RoomCoefficients(
            room=UnknownRoom(plan, unknowns, model.to(lambda array: torch.as_tensor(array, dtype=torch.float64))),
            flows=_single(known.inputs_m3_per_s.T),
            heat=_single(known.heat_w.T),
            rho_cp=_single(known.rho_cp_j_per_m3_k),
            step_s=known.step_s,
            sensors=len(known.sensors),
        ),
        readings_c=_single(known.readings_c),
        amb_c=_single(known.temp_amb_c[:, None]),
        supply_rise_k=_single(supply_rise),
        features=(features - scale[0]) / scale[1],
        size_k=size,
        scale=scale,
        places=_single(np.concatenate([_places(plan, *_centres(model.grid)), _places(plan, *known.places_m.T)])),
        sensor_cells=torch.as_tensor(index),
        nominal_c=nominal + known.temp_amb_c[:, None, None],
        correction_k=correction,
        correction_read_k=_single(read),
        at_wall=torch.as_tensor(model.network.geometry.wall_m2.ravel() > 0.0),
        inverses=inverses,
        nearest=nearest,
    )


def _references(
    model: RoomModel, known: RoomTelemetry, groups: int, fans: int, settings: FieldSettings
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Inverse matrices of rows spread over the ratio of room fans to miners, and the nearest of them for every row."""
    flows = known.inputs_m3_per_s
    ratio = flows[:, groups : groups + fans].sum(axis=1) / np.maximum(flows[:, :groups].sum(axis=1), 1e-3)
    if settings.weighting != "inverse":
        return (), torch.zeros(len(ratio), dtype=torch.long)
    order = np.argsort(ratio)
    middle = (np.arange(settings.references) + 0.5) / settings.references
    picked = order[(middle * len(order)).astype(int)]
    inverses = []
    for row in picked:
        _, _, factor = set_air(model, flows[row], float(known.rho_cp_j_per_m3_k[row]), HELD_S, xp=NUMPY)
        inverses.append(_single(factor.inverse))  # type: ignore[union-attr] # one room in numpy is dense
    nearest = np.abs(ratio[:, None] - ratio[picked]).argmin(axis=1)
    return tuple(inverses), torch.as_tensor(nearest)


def _nominal_and_correction(model: RoomModel, known: RoomTelemetry, settings: FieldSettings) -> tuple[Floats, Floats]:
    """Steady rise of the layout as it is, (T, nx, ny), and what cells of half the size add to it, (T, 2 nx, 2 ny).

    First-order upwind smears; how much depends on the air flows far more than on what is unknown about the room.
    """
    nx, ny = settings.nx, settings.ny
    rows = RoomSettings(
        known.inputs_m3_per_s.T, known.heat_w.T, known.temp_supply_c - known.temp_amb_c, known.rho_cp_j_per_m3_k
    )
    coarse: Floats = np.moveaxis(solve_rise_k(model, rows, xp=NUMPY), -1, 0)
    if not settings.correct_grid:
        return coarse, np.zeros((len(coarse), 2 * nx, 2 * ny))
    finer: Floats = solve_rise_k(room_model(known.plan, 2 * nx, 2 * ny), rows, xp=NUMPY)
    return coarse, np.moveaxis(finer, -1, 0) - coarse.repeat(2, axis=1).repeat(2, axis=2)


def _centres(grid: Grid) -> tuple[Floats, Floats]:
    x, y = np.meshgrid(*grid.centres_m, indexing="ij")
    return x.ravel(), y.ravel()


def _places(plan: RoomPlan, x_m: Floats, y_m: Floats) -> Floats:
    """Position in -1 to 1, and one column an aisle that is 1 in it: a row is a jump of temperature."""
    rows = np.sort([row.y_m for row in plan.rows])
    aisle = np.searchsorted(rows, y_m)
    flags = (aisle[:, None] == np.arange(len(rows) + 1)).astype(float)
    columns = [2.0 * x_m / plan.length_m - 1.0, 2.0 * y_m / plan.width_m - 1.0]
    return np.concatenate([np.stack(columns, axis=1), flags], axis=1)


def _mean_square(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean square where something is known; 0 where nothing is."""
    squares = torch.where(known, values, torch.zeros_like(values)) ** 2
    return squares.sum() / known.sum().clamp(min=1)


def _single(array: object) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32).contiguous()
