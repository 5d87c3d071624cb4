"""Layouts: the ready-made ones hold, an impossible one is refused by name, the command tells and draws."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minesim.catalog.layout_commands import app
from minesim.catalog.layout_figure import Setting, plot_layout, steady_room
from minesim.catalog.layouts import layout, layout_names, parse_layout
from minesim.errors import CatalogError, DataFileError, MinesimError, ParamsError

ROOM = """
name = "test"
title = "test"
source = "test"
length_m = 10.0
width_m = 4.0
height_m = 2.5
eddy_m2_per_s = 0.1
leak_share = 0.0
structure_j_per_k = 1e6
structure_w_per_k = 500.0
envelope_w_per_k = 100.0
[[rows]]
name = "row"
y_m = 2.0
from_m = 0.0
to_m = 10.0
blows = "north"
gap_share = 0.05
[[groups]]
name = "g1"
row = "row"
from_m = 1.0
to_m = 4.0
miners = 20
power_w = 3000.0
flow_m3_per_s = 0.17
[[groups]]
name = "g2"
row = "row"
from_m = 5.0
to_m = 9.0
miners = 30
power_w = 3000.0
flow_m3_per_s = 0.17
[[fans]]
name = "fan"
kind = "exhaust"
wall = "north"
from_m = 4.0
to_m = 6.0
flow_m3_per_s = 9.0
power_w = 2000.0
[[openings]]
name = "louvre"
wall = "south"
from_m = 0.0
to_m = 10.0
free_share = 0.5
"""

FAULTS = {
    "groups overlap": ("from_m = 5.0", "from_m = 3.5", r"'g1' and 'g2' overlap in row 'row' by 0.5 m"),
    "no exhaust": ('kind = "exhaust"', 'kind = "intake"', r"hot aisle of 'row' .* has no exhaust"),
    "exhaust on the cold side": ('wall = "north"', 'wall = "south"', r"'louvre' and 'fan' overlap in the south wall"),
    "negative room": ("width_m = 4.0", "width_m = -4.0", r"width_m of 'test' is -4 m; allowed: a positive number"),
    "negative power": ("power_w = 2000.0", "power_w = -1.0", r"power_w of 'fan' is -1 W"),
    "nothing left of a group": ("to_m = 9.0", "to_m = 5.0", r"'g2' reaches from 5 m to 5 m; allowed: a positive size"),
    "group outside the row": ("to_m = 9.0", "to_m = 11.0", r"'g2' reaches from 5 m to 11 m, outside of row 'row'"),
    "fan outside the wall": ("to_m = 6.0", "to_m = 60.0", r"'fan' .* outside of the north wall"),
    "row outside the room": ("y_m = 2.0", "y_m = 4.5", r"'row' stands at y = 4.5 m; allowed: inside 0 to 4 m"),
    "unknown row": ('row = "row"\nfrom_m = 5.0', 'row = "raw"\nfrom_m = 5.0', r"'g2' stands in row 'raw'.*mean 'row'"),
    "name twice": ('name = "g2"', 'name = "g1"', r"the name 'g1' is used twice"),
    "not a number": ("power_w = 2000.0", "power_w = nan", r"power_w of 'fan' is nan"),
    "share above one": ("free_share = 0.5", "free_share = 1.5", r"free_share of 'louvre' is 1.5; allowed: 0 to 1"),
    "airtight row": ("gap_share = 0.05", "gap_share = 0.0", r"gap_share of 'row' is 0"),
    "too still": ("eddy_m2_per_s = 0.1", "eddy_m2_per_s = 0.01", r"eddy_m2_per_s of 'test' is 0.01 m2/s"),
    "misspelt field": ("miners = 30", "miner = 30", r"groups\[1\] \(g2\) has an unknown field 'miner'.*'miners'"),
    "missing field": ("miners = 30", "", r"groups\[1\] \(g2\) lacks 'miners'"),
    "half a miner": ("miners = 30", "miners = 30.5", r"miners of groups\[1\] \(g2\) is 30.5; allowed: of type int"),
    "wrong direction": ('blows = "north"', 'blows = "up"', r"'row' blows 'up'; allowed: north or south"),
    "unknown wall": ('wall = "north"', 'wall = "top"', r"'fan' is on the wall 'top'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_impossible_layout_is_refused_and_the_culprit_named(fault: str) -> None:
    right, wrong, message = FAULTS[fault]
    assert parse_layout(ROOM, "test").groups[1].miners == 30
    assert ROOM.count(right) == 1
    with pytest.raises(ParamsError, match=message):
        parse_layout(ROOM.replace(right, wrong), "test")


def test_openings_are_needed() -> None:
    closed = ROOM[: ROOM.index("[[openings]]")]
    with pytest.raises(ParamsError, match="'test' has no opening"):
        parse_layout(closed, "test")


def test_roof_fans_may_not_share_a_place_but_may_cool_a_middle_aisle() -> None:
    roof = '[[fans]]\nname = "{}"\nkind = "exhaust"\nwall = "roof"\nfrom_m = 1.0\nto_m = 3.0\n'
    roof += "y_from_m = {}\ny_to_m = 4.0\nflow_m3_per_s = 2.0\npower_w = 100.0\n"
    without = re.sub(r"\[\[fans\]\].*?(?=\[\[openings)", "", ROOM, flags=re.DOTALL)
    assert parse_layout(without + roof.format("r1", 2.5), "test").fans[0].wall == "roof"
    with pytest.raises(ParamsError, match="'r1' and 'r2' overlap on the roof"):
        parse_layout(without + roof.format("r1", 2.5) + roof.format("r2", 3.0), "test")
    with pytest.raises(ParamsError, match="outside of the room"):
        parse_layout(without + roof.format("r1", 2.5).replace("y_to_m = 4.0", "y_to_m = 4.5"), "test")


def test_a_file_serves_as_a_layout_and_bad_ones_are_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(ROOM, encoding="utf-8")
    assert layout(file) == layout(str(file)) == parse_layout(ROOM, "here")
    file.write_text("name = ", encoding="utf-8")
    with pytest.raises(DataFileError, match="not valid TOML"):
        layout(file)
    with pytest.raises(DataFileError, match="cannot be read"):
        layout(tmp_path / "none.toml")
    with pytest.raises(CatalogError, match="Did you mean 'container_40ft'"):
        layout("container_40")
    with pytest.raises(ParamsError, match=r"\[\[rows\]\]"):
        parse_layout(ROOM.replace("[[rows]]", "[rows]"), "test")


def test_ready_made_layouts_are_what_they_say() -> None:
    assert layout_names() == ("container_40ft", "hall", "hydro_row")
    for name in layout_names():
        plan = layout(name)
        assert plan.name == name
        counted = re.search(r"(\d+) (air|liquid)-cooled", plan.title)
        assert counted is not None
        assert sum(g.miners for g in plan.groups) == int(counted[1])
        moved = sum(g.miners * g.flow_m3_per_s for g in plan.groups)
        assert sum(f.flow_m3_per_s for f in plan.fans) > 1.1 * moved


def test_the_command_shows_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = CliRunner().invoke
    listed = run(app, ["list"])
    assert listed.exit_code == 0
    assert "hydro_row" in listed.output
    picture = tmp_path / "room.png"
    shown = run(
        app, ["show", "container_40ft", "--plot", str(picture), "--room-fans", "0.5", "--nx", "24", "--ny", "12"]
    )
    assert shown.exit_code == 0, shown.output
    assert "200 miners, 660 kW" in re.sub(r"\s+", " ", shown.output)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["room.png"]


def test_a_picture_cannot_go_anywhere_else(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    room = steady_room(layout("hydro_row"), Setting(dampers=0.0), 8, 4)
    for path in (tmp_path / "room.bmp", tmp_path / "no folder" / "room.png"):
        with pytest.raises(DataFileError):
            plot_layout(room, path)
    with pytest.raises(MinesimError, match=r"room_fans is 1\.5"):
        steady_room(layout("hydro_row"), Setting(room_fans=1.5))
    with pytest.raises(MinesimError, match="temp_amb_c is nan"):
        steady_room(layout("hydro_row"), Setting(temp_amb_c=float("nan")))
    empty = re.sub(r"\[\[groups\]\].*(?=\[\[fans)", "", ROOM, flags=re.DOTALL)
    with pytest.raises(MinesimError, match="'test' has no miners"):
        steady_room(parse_layout(empty, "test"), Setting())
