"""Package the tuned parameters of rules and MPC: ``python -m experiments.keep_tuned outputs/tuning/agents.json``.

Only scenarios that ``agents/baselines/tuned.json`` names already are renewed; rules, learners and ``minesim backtest``
take their parameters from there. The run is made by

    python -m experiments.benchmark line_up=rules bounds=false latest=tuning \
        'bench.scenarios=[ercot,ercot/4cp,ercot/mixed,ercot/reserves,pjm]'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from agents.baselines import RULES
from agents.baselines.table import tuned_record
from minesim.bench.files import write_json
from minesim.errors import DataFileError, MinesimError, explain

TUNED = Path("agents/baselines/tuned.json")
KEPT_SCALE = "1"


def renewed(record: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """The record with the scenarios of a run in their place.

    Raises:
        DataFileError: the run has none of the record's scenarios, or not all of a scenario's agents.
    """
    shared = [name for name in record if name in run["scenarios"]]
    if not shared:
        raise DataFileError(explain("the run has none of the packaged scenarios", allowed=", ".join(record)))
    asked = run["validation"]
    first = np.datetime64(asked["first"], "D")
    period = {
        "first": str(first),
        "last": str(first + np.timedelta64(7 * asked["weeks"], "D")),
        "weeks": -(-asked["weeks"] // asked["every"]),
    }
    fresh = dict(record)
    for name in shared:
        found = run["scenarios"][name]
        tuned = {rule: found[rule] for rule, row in RULES.items() if rule in found and len(row.candidates()) > 1}
        if "mpc" not in found or not set(record[name]["params"]) <= set(tuned):
            raise DataFileError(explain(f"the run lacks agents on {name!r}", fix="Run it with line_up=rules."))
        fresh[name] = record[name] | {
            "validation": period,
            "params": {rule: told["by_scale"][KEPT_SCALE] for rule, told in tuned.items()},
            "profit_usd_per_week": {rule: _profit(told) for rule, told in tuned.items()},
            "mpc": {"params": found["mpc"]["by_scale"][KEPT_SCALE], "profit_usd_per_week": _profit(found["mpc"])},
        }
    return fresh


def _profit(told: dict[str, Any]) -> float:
    return float(told["validation_usd_per_week"][KEPT_SCALE])


def main() -> int:
    """Entry point."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    path = Path(sys.argv[1])
    try:
        if not path.exists():
            raise DataFileError(explain(f"there is no {str(path)!r}", fix="Run the benchmark first."))
        write_json(TUNED, renewed(tuned_record(), json.loads(path.read_text(encoding="utf-8"))))
    except MinesimError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{TUNED} is renewed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
