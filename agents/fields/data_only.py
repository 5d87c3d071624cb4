"""Estimators that know no physics: interpolation along the aisles, and Gaussian processes of places and inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agents.fields.aisles import COARSE, aisle_of, coarse_places_m, is_hot
from agents.fields.protocol import FieldRecord, Floats, GridEstimate

NOISE_K: Final = 0.5
"""Deviation of a reading that interpolation smooths over (assumed: noise, bias and what is local)."""


@dataclass(frozen=True)
class AisleRbf:
    """Thin-plate splines through the readings of each aisle, row by row; the rise of the last hour is the forecast.

    Its deviation is what leaving sensors out shows.
    """

    name: str = "aisle RBF"
    smoothing: float = 0.1

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        from scipy.interpolate import RBFInterpolator

        known, train = record.telemetry, record.train
        rise = known.readings_c[:train] - known.temp_amb_c[:train, None]
        cells, places = coarse_places_m(record), known.places_m
        of_cell, of_sensor = aisle_of(known.plan, cells[:, 1]), aisle_of(known.plan, places[:, 1])
        air, spread = np.empty((train, len(cells))), np.empty(len(cells))

        def along(kept: Any, at_m: Floats) -> Floats:
            spline = RBFInterpolator(places[kept, :1], rise[:, kept].T, smoothing=self.smoothing)
            found: Floats = spline(at_m[:, :1]).T
            return found

        for aisle in np.unique(of_cell):
            here = np.flatnonzero(of_sensor == aisle)
            air[:, of_cell == aisle] = along(here, cells[of_cell == aisle])
            left_out = [rise[:, [s]] - along(here[here != s], places[[s]]) for s in here[1:-1]]
            spread[of_cell == aisle] = np.sqrt(np.mean(np.square(left_out)))
        later = np.broadcast_to(air[-12:].mean(axis=0), (record.rows - train, len(cells)))
        field = np.concatenate([air, later]) + known.temp_amb_c[:, None]
        wandering = np.sqrt(((air - air.mean(axis=0)) ** 2).mean(axis=0))
        deviation = np.broadcast_to(spread, field.shape).copy()
        deviation[train:] = np.sqrt(spread**2 + 2.0 * wandering**2)
        shape = (record.rows, *COARSE)
        return GridEstimate(field.reshape(shape), deviation.reshape(shape))


@dataclass(frozen=True)
class Kriging:
    """A Gaussian process over x, y, hot or cold, and everything known about a row; exact, of a sample of readings.

    Its covariance is a product of one Matern 3/2 kernel of places (a length along x and one across, hot and cold
    aisles apart) and one squared exponential of the inputs (a common length, each scaled to unit spread). Lengths,
    spread and noise are those of the greatest likelihood on a smaller sample.
    """

    name: str = "Gaussian process"
    sample: int = 1200
    sample_search: int = 400

    def fit(self, record: FieldRecord, rng: np.random.Generator) -> GridEstimate:
        """See :class:`agents.fields.protocol.FieldMethod`."""
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        known, train = record.telemetry, record.train
        features = record.features
        scale = features[:train].std(axis=0)
        features = (features / np.where(scale > 0.0, scale, 1.0))[:, scale > 0.0]
        plan, size = known.plan, np.array([known.plan.length_m, known.plan.width_m])

        def spots(places: Floats) -> Floats:
            return np.column_stack([places / size, is_hot(plan, aisle_of(plan, places[:, 1]))])

        rise = known.readings_c[:train] - known.temp_amb_c[:train, None]
        hot = is_hot(plan, aisle_of(plan, known.places_m[:, 1]))
        mean = np.where(hot, rise[:, hot].mean(), rise[:, ~hot].mean())
        row, sensor = np.divmod(rng.permutation(rise.size), rise.shape[1])
        sensors, cells = spots(known.places_m), spots(coarse_places_m(record))

        def kernel(log: Floats, at: tuple[Floats, Floats], others: tuple[Floats, Floats]) -> Floats:
            lengths = np.exp(log[:3])
            near = np.sqrt(3.0 * _squares(at[0] / lengths, others[0] / lengths))
            return (
                np.exp(2.0 * log[4])
                * (1.0 + near)
                * np.exp(-near - 0.5 * _squares(at[1], others[1]) / np.exp(2 * log[3]))
            )

        def sampled(count: int) -> tuple[tuple[Floats, Floats], Floats]:
            r, s = row[:count], sensor[:count]
            return (sensors[s], features[r]), (rise - mean)[r, s]

        def misfit(log: Floats) -> float:
            at, seen = sampled(self.sample_search)
            factor = cho_factor(kernel(log, at, at) + np.exp(2.0 * log[5]) * np.eye(len(seen)), lower=True)
            pull = 0.5 * ((log - start) ** 2).sum()
            return float(0.5 * seen @ cho_solve(factor, seen) + np.log(np.diag(factor[0])).sum() + pull)

        start = np.log([0.3, 0.5, 1.0, np.sqrt(features.shape[1]), 4.0, NOISE_K])
        log = minimize(misfit, start, method="L-BFGS-B", options={"maxiter": 12}).x
        at, seen = sampled(self.sample)
        factor = cho_factor(kernel(log, at, at) + np.exp(2.0 * log[5]) * np.eye(len(seen)), lower=True)
        weights, base = cho_solve(factor, seen), np.where(cells[:, 2] > 0.0, mean[hot].mean(), mean[~hot].mean())
        inverse = cho_solve(factor, np.eye(len(seen)))
        field, spread = np.empty((record.rows, len(cells))), np.empty((record.rows, len(cells)))
        for r in range(record.rows):
            across = kernel(log, (cells, np.repeat(features[r : r + 1], len(cells), axis=0)), at)
            field[r] = base + across @ weights + known.temp_amb_c[r]
            spread[r] = np.sqrt(np.maximum(np.exp(2.0 * log[4]) - ((across @ inverse) * across).sum(axis=1), 1e-6))
        shape = (record.rows, *COARSE)
        return GridEstimate(field.reshape(shape), spread.reshape(shape))


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances between rows, (len(a), len(b))."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * a @ b.T, 0.0)
