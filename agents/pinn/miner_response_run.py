"""Fit and judge all methods on hidden miners of some models; a stopped run goes on after its last miner."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.pinn import miner_response_hidden as hidden_miners
from agents.pinn import miner_response_rivals as rivals
from agents.pinn.miner_response_circuit import SHAPES, SIZES, Circuit
from agents.pinn.miner_response_fit import fit, predicted
from agents.pinn.miner_response_judge import band_k, judged
from agents.pinn.miner_response_recorder import record_steps
from agents.pinn.miner_response_settings import MinerResponseSettings
from agents.pinn.steady import Floats
from minesim.bench.cells import PlainStore
from minesim.bench.files import source_hash, write_json

Cell = dict[str, Any]
SPLITS: Final = ("inner", "outer")
METHODS: Final = ("circuit", "first order", "plain network", "catalog twin", "persistence")
PRIOR_SIZE: Final = 0.7
PRIOR_SHAPE: Final = 0.25
PRIOR_WEIGHT: Final = 0.5
PRIOR_PLAIN: Final = 1.0
"""Standard deviations of the priors: logarithms of sizes and of shapes, weights of both networks (assumed)."""


def fit_miner(model: str, settings: MinerResponseSettings, seed: int) -> dict[str, Any]:
    """One hidden miner: numbers of all methods, found and true values of the circuit, a few curves."""
    rng = np.random.default_rng([seed, 7])
    hidden = hidden_miners.draw_hidden(rng)
    counts = {
        "train": settings.train,
        "validation": settings.validation,
        "inner": settings.inner,
        "outer": settings.outer,
    }
    records = {
        name: record_steps(model, hidden, "train" if name == "validation" else name, count, settings, rng)
        for name, count in counts.items()
    }
    train = records["train"]
    begin = time.process_time()
    circuit = Circuit(train.rated_w, train.sample_s, settings.hidden)
    first = circuit.first(rng)
    sizes, shapes = len(SIZES), len(SHAPES)
    prior = np.full(len(first), PRIOR_WEIGHT)
    prior[:sizes], prior[sizes : sizes + shapes] = PRIOR_SIZE, PRIOR_SHAPE
    fitted = fit(circuit, first, prior, train, settings.evaluations)
    fitted_s = time.process_time() - begin
    order = rivals.fit_first_order(train)
    plain = rivals.plain_of_size(len(first), train.rated_w)
    begins = plain.first(rng)
    taught = fit(plain, begins, np.full(len(begins), PRIOR_PLAIN), train, settings.evaluations)
    band = band_k(predicted(circuit, fitted.weights, records["validation"]), records["validation"])
    found: dict[str, Any] = {}
    curves: dict[str, Any] = {"band": band}
    for split in SPLITS:
        unseen = records[split]
        seen = {
            "circuit": predicted(circuit, fitted.weights, unseen),
            "first order": order.predict(unseen),
            "plain network": predicted(plain, taught.weights, unseen),
            "catalog twin": rivals.catalog_twin(model, unseen),
            "persistence": rivals.persistence(unseen),
        }
        found[split] = {name: judged(seen[name], unseen, band if name == "circuit" else None) for name in METHODS}
        picked = [int(np.flatnonzero(unseen.kinds == kind)[0]) for kind in np.unique(unseen.kinds)]
        curves[split] = {
            "kinds": unseen.kinds[picked],
            "truth": unseen.truth_after[picked, :, :2],
            "circuit": seen["circuit"][picked, :, :2],
            "first order": seen["first order"][picked, :, :2],
        }
    return {
        "numbers": found,
        "curves": curves,
        "values": circuit.values(fitted.weights),
        "sd_log": dict(zip(circuit.names, fitted.sd, strict=False)),
        "true": hidden_miners.hidden_values(model, hidden),
        "hidden": hidden_miners.about_hidden(hidden),
        "weights": [len(first), plain.count],
        "seconds": fitted_s,
    }


def run_miners(
    models: Sequence[str],
    settings: MinerResponseSettings,
    seed: int,
    folder: Path,
    stop: Callable[[], bool],
    show: Callable[[str], None],
) -> dict[str, list[Cell]]:
    """All hidden miners by model, up to a wish to stop; writes ``report.json`` with the circuits' values."""
    store, done = PlainStore(folder / "miners"), {model: list[Cell]() for model in models}
    told_only = ("miner_response_tell.py",)
    sources = sorted(Path(__file__).parent.glob("miner_response_*.py"))
    code = source_hash(*(path for path in sources if path.name not in told_only))
    for model, number in itertools.product(models, range(seed, seed + settings.seeds)):
        spec = {"model": model, "settings": {**asdict(settings), "seeds": 0}, "seed": number, "code": code}
        cell = store.load(spec)
        if cell is None:
            store.save(spec, fit_miner(model, settings, number))
            cell = store.load(spec)
        if cell is not None:
            done[model].append(cell)
        show(model)
        if stop():
            break
    told = {
        model: [{name: part for name, part in cell.items() if name != "curves"} for cell in cells]
        for model, cells in done.items()
    }
    write_json(folder / "report.json", {"settings": asdict(settings), "miners": told})
    return done


def errors_k(cells: Sequence[Cell], split: str, method: str, channel: str) -> Floats:
    """Errors of a method by hidden miner and horizon, K, (miners, horizons)."""
    return np.array([cell["numbers"][split][method]["rmse_k"][channel] for cell in cells], dtype=float)


def best_rival(cells: Sequence[Cell], split: str, channel: str, horizon: int) -> str:
    """Which other method errs least, on the mean over these miners."""
    others = METHODS[1:]
    return others[int(np.argmin([errors_k(cells, split, name, channel)[:, horizon].mean() for name in others]))]
