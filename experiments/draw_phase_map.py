"""Draw the phase map of a scorecard: ``python -m experiments.draw_phase_map SCORECARD.nc OUT.png``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minesim.bench.files import write_whole
from minesim.bench.phase_map import draw, phase_map
from minesim.bench.scorecard import load


def main(
    card: Annotated[Path, typer.Argument(help="scorecard.nc of `python -m experiments.benchmark bench=phase_map`")],
    out: Annotated[Path, typer.Argument(help="picture, .png or .svg")],
) -> None:
    """Draw which method wins where."""
    figure = draw(phase_map(load(card)))
    write_whole(out, lambda beside: figure.savefig(beside, dpi=150))
    typer.echo(str(out))


if __name__ == "__main__":
    typer.run(main)
