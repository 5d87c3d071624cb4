"""Settings of the networks of a miner's thermal response, typed and checked where they come in."""

from __future__ import annotations

from dataclasses import dataclass

from minesim.errors import ParamsError, explain

TICK_S = 10
"""Control step of the twin that makes the telemetry."""


@dataclass
class MinerResponseSettings:
    """How miners are recorded, learned and judged.

    Attributes:
        seeds: hidden miners of the model, each with its own record and networks.
        train, validation: recorded steps of workload to learn from, and to size the band with.
        inner, outer: unseen steps within and beyond what was recorded (presets and outdoor air).
        sample_s: between readings, s.
        before_min, after_min: length of a record before and after its step, min.
        hidden: units of the circuit's correction of its air side.
        evaluations: of a fit at most.
    """

    seeds: int = 5
    train: int = 32
    validation: int = 24
    inner: int = 24
    outer: int = 24
    sample_s: int = 60
    before_min: int = 20
    after_min: int = 60
    hidden: int = 8
    evaluations: int = 25

    def check(self) -> None:
        """Refuse impossible values.

        Raises:
            ParamsError: see the message.
        """
        counts = ("seeds", "train", "validation", "inner", "outer", "hidden", "evaluations")
        for name in counts:
            if getattr(self, name) < 1:
                raise ParamsError(explain(f"miner.{name} is {getattr(self, name)}", allowed="1 or more"))
        if self.sample_s < TICK_S or 60 % self.sample_s or self.sample_s % TICK_S:
            raise ParamsError(
                explain(f"miner.sample_s is {self.sample_s} s", allowed=f"a multiple of {TICK_S} s that divides 60 s")
            )
        if self.before_min < 5 or self.after_min < 15:
            raise ParamsError(
                explain(
                    f"miner.before_min is {self.before_min} min, miner.after_min {self.after_min} min",
                    allowed="5 min or more before, 15 min or more after",
                )
            )

    @property
    def before(self) -> int:
        """Readings before a step, after the first."""
        return self.before_min * 60 // self.sample_s

    @property
    def after(self) -> int:
        """Readings after a step."""
        return self.after_min * 60 // self.sample_s
