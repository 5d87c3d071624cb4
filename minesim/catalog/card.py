"""Fidelity card: how far a model can be trusted, as text and as a picture."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minesim.catalog.electrical import Electrical, Provenance, electrical, load_electrical
from minesim.catalog.models import AsicModel, Preset, model, presets
from minesim.errors import DataFileError, MissingExtraError, explain

KINDS = ("measured", "published", "fitted", "borrowed", "assumed")
LABELS = {
    "chips_per_board": "chip count",
    "ths_per_mhz_chip": "hashrate per MHz",
    "c_w_per_mhz_v2": "switching power",
    "g_w_per_v2": "leakage",
    "beta_per_k": "leakage growth",
    "temp_ref_c": "chip temperature",
    "power_ctrl_w": "control board",
    "fan_power_max_w": "fan power",
    "fan_duty_ref": "fan duty",
    "psu_eta_rated": "supply efficiency",
    "rail_volt_v": "rail voltage",
    "volt_guard_rel": "voltage guard",
    "freq_range": "frequency range",
}
TEXT_WIDTH = 100
_KIND_COLOURS = {
    "measured": "#1b7837",
    "published": "#4d9221",
    "fitted": "#2166ac",
    "borrowed": "#b35806",
    "assumed": "#b2182b",
}
_POINT_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_POINT_MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class PointCheck:
    """A published point beside the curve.

    Attributes:
        point: as published.
        power_w: of the curve at the point's hashrate, W; ``None`` outside the curve's range.
        error: relative error of the curve's power, signed; ``None`` likewise.
    """

    point: Preset
    power_w: float | None
    error: float | None


@dataclass(frozen=True)
class FidelityCard:
    """What is known of one model, and from where.

    Attributes:
        model: hardware row.
        unit: its electrical model.
        basis: one sentence: what the curve rests on.
        checks: every published point of the model beside the curve.
        other_tables: names of the model's other fitted tables.
        nameplate_gap: power of the curve at nameplate hashrate, relative to the nameplate, or ``None`` without one.
        leak_share: share of leakage in stock power at the reference temperature.
        power_per_k: relative rise of stock power per kelvin of chip temperature.
        best_efficiency_j_per_th, best_power_w: the most efficient setting of the curve.
    """

    model: AsicModel
    unit: Electrical
    basis: str
    checks: tuple[PointCheck, ...]
    other_tables: tuple[str, ...]
    nameplate_gap: float | None
    leak_share: float
    power_per_k: float
    best_efficiency_j_per_th: float
    best_power_w: float

    def entries(self, kind: str) -> tuple[Provenance, ...]:
        """Parameters of one kind of provenance."""
        return tuple(entry for entry in self.unit.provenance if entry.kind == kind)


def fidelity_card(name: str, table: str | None = None) -> FidelityCard:
    """Collect the fidelity card of a model.

    Args:
        name: full or short model name.
        table: one of its tables; the default one when left out.

    Raises:
        CatalogError: no such model or table, or no electrical model.
    """
    unit = electrical(name, table)
    row = model(name)
    freq_mhz = np.linspace(unit.freq_min_mhz, unit.freq_max_mhz, 400)
    efficiency = unit.power_w(freq_mhz) / unit.hashrate_ths(freq_mhz)
    best = int(np.argmin(efficiency))
    stock = unit.freq_stock_mhz
    leak_free_w = float(unit.power_w(stock, temp_chip_c=np.float64(-1e4)))
    warm_w, cool_w = (float(unit.power_w(stock, temp_chip_c=np.float64(unit.temp_ref_c + d))) for d in (0.5, -0.5))
    gap = None if row.hashrate_ths is None or row.power_w is None else _power_at(unit, row.hashrate_ths)
    return FidelityCard(
        model=row,
        unit=unit,
        basis=_basis(unit),
        checks=tuple(_check(unit, point) for point in presets(name)),
        other_tables=tuple(e.table for e in load_electrical() if e.model == unit.model and e.table != unit.table),
        nameplate_gap=None if gap is None or row.power_w is None else gap / row.power_w - 1,
        leak_share=1 - leak_free_w / unit.power_stock_w,
        power_per_k=(warm_w - cool_w) / unit.power_stock_w,
        best_efficiency_j_per_th=float(efficiency[best]),
        best_power_w=float(unit.power_w(freq_mhz[best])),
    )


def _display(card: FidelityCard) -> tuple[str, float]:
    """(unit of hashrate, units per TH/s): Scrypt machines are known by GH/s."""
    return ("GH/s", 1e3) if card.model.algorithm == "Scrypt" else ("TH/s", 1.0)


def _power_at(unit: Electrical, hashrate_ths: float) -> float | None:
    freq_mhz = hashrate_ths / (unit.chips * unit.ths_per_mhz_chip)
    if not 0.99 * unit.freq_min_mhz <= freq_mhz <= 1.01 * unit.freq_max_mhz:
        return None
    return float(unit.power_w(freq_mhz))


def _check(unit: Electrical, point: Preset) -> PointCheck:
    power_w = _power_at(unit, point.hashrate_ths)
    return PointCheck(point, power_w, None if power_w is None else power_w / point.power_w - 1)


def _basis(unit: Electrical) -> str:
    curve = next((p for p in unit.provenance if p.parameter == "c_w_per_mhz_v2"), None)
    if curve is None or curve.kind != "fitted":
        return f"No table of this model is known: {curve.note if curve else 'nameplate only'}."
    return f"Fitted to {curve.note}; worst error in power there {100 * unit.error_power_max:.1f} %."


def render_text(card: FidelityCard) -> str:
    """Lay the card out as plain text, at most 100 columns wide."""
    unit, row = card.unit, card.model
    hash_unit, scale = _display(card)
    lines = [
        unit.model,
        "=" * len(unit.model),
        *textwrap.wrap(card.basis, TEXT_WIDTH),
        f"Uncertainty of wall power against a meter: {100 * unit.uncertainty_power:.0f} % (1 sigma).",
        "",
        _nameplate_line(card),
        f"Curve at stock  {unit.power_stock_w:,.0f} W, {unit.hashrate_stock_ths * scale:,.4g} {hash_unit}, "
        f"{unit.freq_stock_mhz:.0f} MHz, {float(unit.rail_volt_v(unit.freq_stock_mhz)):.2f} V",
        f"Curve range     {_range(unit)}",
        f"Most efficient  {card.best_efficiency_j_per_th / scale:,.4g} J/{hash_unit[:2]} at {card.best_power_w:,.0f} W",
        f"Temperature     leakage {100 * card.leak_share:.0f} % of stock power at {unit.temp_ref_c:.0f} C chip; "
        f"{100 * card.power_per_k:+.2f} % power per K",
        f"Hardware        {row.algorithm}, {unit.boards} boards x {unit.chips_per_board} chips, {unit.fan_count} fans",
    ]
    if card.other_tables:
        lines.append(f"Other tables    {', '.join(card.other_tables)}")
    lines += ["", *_check_lines(card.checks), "", "Where the parameters come from"]
    for kind in KINDS:
        for entry in card.entries(kind):
            lines += textwrap.wrap(
                f"{kind:<10}{LABELS[entry.parameter]:<18}{entry.note}", TEXT_WIDTH, subsequent_indent=" " * 28
            )
    lines += ["", *textwrap.wrap(f"Row source: {row.source}", TEXT_WIDTH)]
    return "\n".join(lines)


def _nameplate_line(card: FidelityCard) -> str:
    row = card.model
    if row.power_w is None or row.hashrate_ths is None:
        return "Nameplate       not found in a source"
    hash_unit, scale = _display(card)
    text = f"Nameplate       {row.power_w:,.0f} W, {row.hashrate_ths * scale:,.4g} {hash_unit}"
    return text + ("" if card.nameplate_gap is None else f"; the curve there {100 * card.nameplate_gap:+.1f} %")


def _range(unit: Electrical) -> str:
    low, high = unit.freq_min_mhz, unit.freq_max_mhz
    return (
        f"{float(unit.power_w(low)):,.0f} to {float(unit.power_w(high)):,.0f} W, "
        f"{low:.0f} to {high:.0f} MHz, {unit.volt_min_v:.2f} to {unit.volt_max_v:.2f} V"
    )


def _check_lines(checks: Sequence[PointCheck]) -> list[str]:
    if not checks:
        return ["No published operating point."]
    lines = [f"{'firmware':<22}{'preset':<26}{'W':>7}{'TH/s':>9}{'MHz':>6}{'V':>7}{'curve W':>9}{'error':>8}"]
    for check in checks:
        p = check.point
        freq = "" if p.freq_mhz is None else f"{p.freq_mhz:.0f}"
        volt = "" if p.volt_v is None else f"{p.volt_v:.2f}"
        curve = "outside" if check.power_w is None else f"{check.power_w:.0f}"
        error = "" if check.error is None else f"{100 * check.error:+.1f} %"
        lines.append(
            f"{p.firmware:<22}{p.name[:25]:<26}{p.power_w:>7.0f}{p.hashrate_ths:>9.4g}{freq:>6}{volt:>7}"
            f"{curve:>9}{error:>8}"
        )
    return lines


def plot_card(card: FidelityCard, path: str | Path) -> Path:
    """Draw the card: points and curve, efficiency, errors, and where the parameters come from.

    Args:
        card: from :func:`fidelity_card`.
        path: image file; its suffix (``.png``, ``.svg``, ``.pdf``) chooses the format.

    Returns:
        The path written.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataFileError: the folder does not exist, or the suffix is no image format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            explain("matplotlib is not installed", fix="Install it with: pip install 'minesim[report]'")
        ) from error
    target = Path(path)
    figure = Figure(figsize=(12.0, 8.6), dpi=110, layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    kind = target.suffix.lstrip(".").lower()
    if kind not in formats or not target.parent.is_dir():
        raise DataFileError(
            explain(
                f"cannot write an image to {str(target)!r}",
                allowed="a suffix of " + ", ".join(sorted(formats)) + " in an existing folder",
                fix="Choose another path.",
            )
        )
    grid = figure.add_gridspec(3, 2, height_ratios=(5, 5, 3.6))
    _draw_power(figure.add_subplot(grid[:2, 0]), card)
    _draw_efficiency(figure.add_subplot(grid[0, 1]), card)
    _draw_errors(figure.add_subplot(grid[1, 1]), card)
    _draw_provenance(figure.add_subplot(grid[2, :]), card)
    figure.suptitle(f"{card.unit.model}: fidelity card", fontsize=14, fontweight="bold")
    beside = target.with_name(target.name + ".new")
    figure.savefig(beside, format=kind)
    os.replace(beside, target)
    return target


def _groups(card: FidelityCard) -> dict[str, list[PointCheck]]:
    groups: dict[str, list[PointCheck]] = {}
    for check in card.checks:
        groups.setdefault(check.point.firmware, []).append(check)
    return groups


def _curve(card: FidelityCard) -> tuple[Any, Any]:
    freq_mhz = np.linspace(card.unit.freq_min_mhz, card.unit.freq_max_mhz, 200)
    return card.unit.power_w(freq_mhz), card.unit.hashrate_ths(freq_mhz)


def _line(card: FidelityCard) -> str:
    borrowed = any(entry.parameter == "c_w_per_mhz_v2" for entry in card.entries("borrowed"))
    return "--" if borrowed else "-"


def _style(index: int) -> dict[str, Any]:
    return {
        "color": _POINT_COLOURS[index % len(_POINT_COLOURS)],
        "marker": _POINT_MARKERS[index % len(_POINT_MARKERS)],
        "linestyle": "none",
        "markersize": 5,
    }


def _draw_power(axes: Any, card: FidelityCard) -> None:
    power_w, hashrate_ths = _curve(card)
    hash_unit, scale = _display(card)
    share = card.unit.uncertainty_power
    axes.fill_betweenx(
        hashrate_ths * scale,
        power_w * (1 - share),
        power_w * (1 + share),
        color="0.85",
        label=f"1 sigma, {100 * share:.0f} %",
    )
    style = _line(card)
    axes.plot(power_w, hashrate_ths * scale, style, color="0.15", label=f"model ({card.unit.table})")
    for index, (firmware, checks) in enumerate(_groups(card).items()):
        axes.plot(
            [c.point.power_w for c in checks],
            [c.point.hashrate_ths * scale for c in checks],
            label=f"{firmware} ({len(checks)})",
            **_style(index),
        )
    row = card.model
    if row.power_w is not None and row.hashrate_ths is not None:
        axes.plot(row.power_w, row.hashrate_ths * scale, "*", color="#b2182b", markersize=13, label="nameplate")
    axes.set(xlabel="wall power, W", ylabel=f"hashrate, {hash_unit}", title="Power and hashrate")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _draw_efficiency(axes: Any, card: FidelityCard) -> None:
    power_w, hashrate_ths = _curve(card)
    hash_unit, scale = _display(card)
    style = _line(card)
    axes.plot(power_w, power_w / (hashrate_ths * scale), style, color="0.15")
    for index, checks in enumerate(_groups(card).values()):
        efficiency = [c.point.efficiency_j_per_th / scale for c in checks]
        axes.plot([c.point.power_w for c in checks], efficiency, **_style(index))
    row = card.model
    if row.power_w is not None and row.hashrate_ths is not None:
        axes.plot(row.power_w, row.power_w / (row.hashrate_ths * scale), "*", color="#b2182b", markersize=13)
    per_hash = f"J/{hash_unit[:2]}"
    axes.set(
        xlabel="wall power, W",
        ylabel=per_hash,
        title=f"Efficiency: best {card.best_efficiency_j_per_th / scale:,.4g} {per_hash} at {card.best_power_w:,.0f} W",
    )
    axes.grid(alpha=0.3)


def _draw_errors(axes: Any, card: FidelityCard) -> None:
    axes.axhspan(-3, 3, color="#2166ac", alpha=0.10)
    axes.axhline(0, color="0.4", linewidth=0.8)
    shown = False
    for index, checks in enumerate(_groups(card).values()):
        inside = [c for c in checks if c.error is not None]
        shown = shown or bool(inside)
        axes.plot([c.point.power_w for c in inside], [100 * (c.error or 0.0) for c in inside], **_style(index))
    if not shown:
        axes.text(0.5, 0.5, "no published point to compare with", ha="center", va="center", transform=axes.transAxes)
    low, high = axes.get_ylim()
    axes.set(
        xlabel="published wall power, W",
        ylabel="error, % (band: 3 %)",
        title="Model against published power at equal hashrate",
        xlim=_wider(*(float(f(_curve(card)[0])) for f in (np.min, np.max))),
        ylim=(min(low, -5.0), max(high, 5.0)),
    )
    axes.grid(alpha=0.3)


def _wider(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _draw_provenance(axes: Any, card: FidelityCard) -> None:
    axes.axis("off")
    text = textwrap.wrap(
        f"{card.basis} Leakage {100 * card.leak_share:.0f} % of stock power, "
        f"{100 * card.power_per_k:+.2f} % power per K of chip temperature.",
        150,
    )
    axes.text(0.0, 1.0, "\n".join(text), va="top", fontsize=9, transform=axes.transAxes)
    top = 0.94 - 0.12 * len(text)
    entries = [(kind, entry) for kind in KINDS for entry in card.entries(kind)]
    rows = -(-len(entries) // 2)
    for index, (kind, entry) in enumerate(entries):
        column, line = divmod(index, rows)
        y = top - line * (top / rows)
        axes.text(
            0.5 * column,
            y,
            kind,
            va="top",
            fontsize=7.5,
            color=_KIND_COLOURS[kind],
            fontweight="bold",
            transform=axes.transAxes,
        )
        note = textwrap.shorten(f"{LABELS[entry.parameter]}: {entry.note}", 84, placeholder=" ...")
        axes.text(0.5 * column + 0.06, y, note, va="top", fontsize=7.5, transform=axes.transAxes)
