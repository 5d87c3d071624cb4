"""Plots of traces, and of generated against real prices (needs matplotlib: the extra ``report``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from minesim.errors import DataFileError, MissingExtraError, explain

FORMATS: Final = (".png", ".svg", ".pdf")
_REAL, _MADE = "#0072b2", "#d55e00"


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            explain("matplotlib is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> Path:
    if path.suffix not in FORMATS:
        raise DataFileError(explain(f"cannot draw into {path.name!r}", allowed=", ".join(FORMATS)))
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        figure.savefig(beside, dpi=120)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DataFileError(explain(f"cannot write {path}: {error}", fix="Choose a folder that exists.")) from error
    return path


def plot_traces(data: xr.Dataset, path: str | Path, *, title: str) -> Path:
    """Draw each numeric variable over time: daily mean and daily range.

    Args:
        data: variables over ``time``.
        path: png, svg or pdf.
        title: of the figure.

    Returns:
        The path written.

    Raises:
        DataFileError: nothing to draw, or the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    names = [
        str(name)
        for name, variable in data.data_vars.items()
        if "time" in variable.dims and variable.dtype.kind == "f" and np.isfinite(variable.to_numpy()).any()
    ]
    if not names:
        raise DataFileError(explain(f"{title} has no numbers over time to draw"))
    figure = _figure(9.0, 1.6 * len(names) + 0.6)
    figure.suptitle(title)
    time = pd.DatetimeIndex(data["time"].to_numpy())
    for axes, name in zip(np.ravel(figure.subplots(len(names), 1, sharex=True)), names, strict=True):
        variable = data[name]
        series = pd.Series(variable.to_numpy().reshape(len(time), -1)[:, 0], index=time)
        daily = series.resample("1D").agg(["min", "mean", "max"])
        axes.fill_between(daily.index, daily["min"], daily["max"], color=_REAL, alpha=0.25, linewidth=0)
        axes.plot(daily.index, daily["mean"], color=_REAL, linewidth=0.8)
        if daily["max"].max() > 50.0 * max(float(daily["max"].median()), 1e-9):
            axes.set_yscale("symlog", linthresh=10.0)
        axes.set_title(f"{name} [{variable.attrs.get('units', '')}]", fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
    return _save(figure, Path(path))


def plot_price_comparison(
    real: npt.NDArray[np.float64], made: list[npt.NDArray[np.float64]], path: str | Path, *, title: str
) -> Path:
    """Draw generated against real hourly prices: quantiles, mean day, autocorrelation, and a month of each.

    Args:
        real: hourly prices, USD/MWh; the first is at local midnight.
        made: generated series of the same kind, one a seed.
        path: png, svg or pdf.
        title: of the figure.

    Returns:
        The path written.
    """
    figure = _figure(11.0, 7.5)
    figure.suptitle(title)
    quantile_axes, day_axes, lag_axes, month_axes = np.ravel(figure.subplots(2, 2))
    levels = np.concatenate([np.linspace(0.001, 0.05, 20), np.linspace(0.06, 0.94, 45), np.linspace(0.95, 0.9995, 60)])
    lags = np.arange(1, 24 * 14)
    for label, colour, group in (("real", _REAL, [real]), ("generated", _MADE, made)):
        for number, series in enumerate(group):
            look: dict[str, Any] = {
                "color": colour,
                "linewidth": 1.6 if label == "real" else 0.7,
                "label": label if number == 0 else None,
            }
            score = np.log(levels / (1.0 - levels))
            quantile_axes.plot(score, np.quantile(series, levels), **look)
            whole = series[: len(series) // 24 * 24].reshape(-1, 24)
            day_axes.plot(np.median(whole, axis=0), **look)
            day_axes.plot(np.quantile(whole, 0.95, axis=0), **{**look, "label": None, "linestyle": "--"})
            z = np.arcsinh(series / 5.0)
            z = z - z.mean()
            lag_axes.plot(lags, [float(z[:-lag] @ z[lag:]) / float(z @ z) for lag in lags], **look)
            if number == 0:
                begin = len(series) // 2
                month_axes.plot(series[begin : begin + 720], color=colour, linewidth=0.8, label=label)
    quantile_axes.set_yscale("symlog", linthresh=10.0)
    quantile_axes.set_xticks([np.log(q / (1 - q)) for q in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)])
    quantile_axes.set_xticklabels(["1 %", "10 %", "50 %", "90 %", "99 %", "99.9 %"])
    month_axes.set_yscale("symlog", linthresh=10.0)
    for axes, text in (
        (quantile_axes, "quantiles, USD/MWh"),
        (day_axes, "median and 95 % by hour of day, USD/MWh"),
        (lag_axes, "autocorrelation of asinh(price / 5) by lag in h"),
        (month_axes, "a month, USD/MWh"),
    ):
        axes.set_title(text, fontsize=9, loc="left")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return _save(figure, Path(path))
