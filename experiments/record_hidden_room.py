"""Write the telemetry of a hidden room, to try ``minesim calibrate`` on: ``python -m experiments.record_hidden_room``.

It has a day of readings; what is wrong with the room is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.fields.hidden import CASES, RoomKey, hidden_room
from experiments.entry import telling_errors
from minesim.calibrate.telemetry_file import table_of
from minesim.files import write_whole


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Write the telemetry of a hidden room.")
    parser.add_argument("--layout", default="container_40ft")
    parser.add_argument("--case", default="hard", choices=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/telemetry.parquet"))
    asked = parser.parse_args()
    with telling_errors("Nothing is kept."):
        room = hidden_room(RoomKey(asked.layout, asked.case, asked.seed), forecast=0)
        write_whole(asked.out, lambda beside: table_of(room.record.telemetry).to_parquet(beside))
        truth, plan = room.parameters, room.record.telemetry.plan
        names = [thing.name for thing in (*plan.groups, *plan.fans, *plan.dampers)]
        off = {name: f for name, f in zip(names, truth.flow_factor, strict=True) if abs(f - 1.0) > 0.05}
        print(f"{asked.out}: {room.key.title}")
        print(f"gaps x{truth.gap_factor:.2f}, eddies x{truth.eddy_factor:.2f}")
        print("flows: " + (", ".join(f"{name} x{f:.2f}" for name, f in off.items()) or "as rated within 5 %"))
        if truth.blocked is not None:
            name, from_m, to_m, factor = truth.blocked
            print(f"{name} x{factor:.2f} from {from_m:.1f} to {to_m:.1f} m")
        biases = zip(room.record.telemetry.sensors, truth.bias_k, strict=True)
        print("sensors: " + ", ".join(f"{name} {bias:+.2f} K" for name, bias in biases))


if __name__ == "__main__":
    main()
