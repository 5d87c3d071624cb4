"""Settings of a surrogate, typed and checked where they come in."""

from __future__ import annotations

from dataclasses import dataclass, field

from minesim.errors import ParamsError, explain, nearest

LESSONS = ("solves", "physics", "physics_plain")


@dataclass
class SurrogateSettings:
    """How a surrogate is made and judged.

    Attributes:
        lessons: what to learn from, a network for each: ``solves`` (solved fields), ``physics`` (the heat balance,
            weighted by inverse matrices of a few reference settings), ``physics_plain`` (the balance of each cell over
            its own outflow, no matrix ever inverted).
        nx, ny: cells of the solver that it imitates.
        modes: fields of which the output is made.
        width, layers: hidden layers.
        samples: settings to learn from; with ``solves`` each is solved once.
        references: settings whose inverse matrices weight the residual.
        steps, batch: of Adam, for solved fields; ``physics_steps``, ``physics_batch`` for the balance.
        rate, rate_end: learning rate, falling as a cosine.
        test: unseen settings for the judgement.
        fine_test: of them, also solved on 96 x 48.
    """

    lessons: list[str] = field(default_factory=lambda: ["solves", "physics"])
    nx: int = 24
    ny: int = 12
    modes: int = 64
    width: int = 256
    layers: int = 3
    samples: int = 16000
    references: int = 8
    steps: int = 12000
    batch: int = 256
    physics_steps: int = 6000
    physics_batch: int = 128
    rate: float = 2e-3
    rate_end: float = 1e-5
    test: int = 500
    fine_test: int = 20

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: see the message.
        """
        for name in self.lessons:
            if name not in LESSONS:
                raise ParamsError(
                    explain(f"no lesson {name!r}", fix=nearest(name, LESSONS), origin="surrogate.lessons")
                )
        counts = ("nx", "ny", "modes", "width", "layers", "references", "batch", "physics_batch", "fine_test")
        for name in counts:
            if getattr(self, name) < 1:
                raise ParamsError(explain(f"surrogate.{name} is {getattr(self, name)}", allowed="1 or more"))
        if self.samples < max(self.batch, self.physics_batch, self.modes):
            raise ParamsError(
                explain(f"surrogate.samples is {self.samples}", allowed="at least a batch and as many as modes")
            )
        if self.test < self.fine_test:
            raise ParamsError(
                explain(f"surrogate.test is {self.test}", allowed=f"fine_test ({self.fine_test}) or more")
            )
        if not 0.0 < self.rate_end <= self.rate:
            raise ParamsError(
                explain(f"surrogate.rate_end is {self.rate_end:g}", allowed=f"above 0, up to rate ({self.rate:g})")
            )

    def steps_of(self, lesson: str) -> int:
        """Steps of Adam in all."""
        return self.steps if lesson == "solves" else self.physics_steps

    def batch_of(self, lesson: str) -> int:
        """Settings a step."""
        return self.batch if lesson == "solves" else self.physics_batch
