"""What a step of the tuning method costs after 60 trials: ``make bench-tuning``, about a minute and a half on one core.

One trial, eight side by side, and one of several merits; processor seconds of one thread, and the peak memory of the
whole process.
"""

from __future__ import annotations

import resource
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

from agents.bo.bayes import BayesTuner, ParetoTuner
from agents.bo.run import carry_out
from agents.bo.study import Method, Study
from minesim.tuning.problem import tuning_problem

TRIALS = 60
TURNS = 3
CASES: tuple[tuple[str, Method, int, float], ...] = (
    ("1 trial", BayesTuner(), 1, 5.0),
    ("8 side by side", BayesTuner(), 8, 25.0),
    ("1 trial, three merits", ParetoTuner(), 1, 60.0),
    ("8 side by side, three merits", ParetoTuner(), 8, 60.0),
)
MEMORY_GOAL_MB = 1000.0


def main() -> int:
    """Measure and print; 1 where a goal is missed."""
    torch.set_num_threads(1)
    problem = tuning_problem("Antminer S19j Pro", seed=100, temp_amb_c=25.0)
    history = Study(problem, BayesTuner())
    carry_out(history, TRIALS)
    table = Table(title=f"A step after {TRIALS} trials, {problem.serial}", title_justify="left")
    for column in ("step", "processor s", "goal"):
        table.add_column(column, justify="left" if column == "step" else "right")
    missed = False
    for name, method, count, goal_s in CASES:
        took_s = []
        for seed in range(TURNS):
            began = time.process_time()
            Study(problem, method, seed, history.trials).ask(count)
            took_s.append(time.process_time() - began)
        missed |= max(took_s) >= goal_s
        table.add_row(name, f"{min(took_s):.2f} to {max(took_s):.2f}", f"< {goal_s:g}")
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    missed |= memory_mb >= MEMORY_GOAL_MB
    table.add_row("peak memory, MB", f"{memory_mb:.0f}", f"< {MEMORY_GOAL_MB:g}")
    Console().print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
