"""The docs must say what the code does: snippets run, tables and constants are up to date, links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

import minesim
from minesim.cli import app
from minesim.control.envelope import Reason
from minesim.economics.tariff import tariff_names
from minesim.envs import env_ids
from minesim.envs.describe import renew_tables
from minesim.scenario import scenario_names

ROOT = Path(minesim.__file__).parents[1]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ENV_PAGE = "docs/envs/hashrate_tuning.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text_of(page)) if found == language]


def snippets() -> list[Any]:
    return [
        pytest.param(body, id=f"{page}-{number}")
        for page in ("README.md", ENV_PAGE, "docs/envs/overclock.md", "docs/envs/cooling.md", "docs/envs/site.md")
        for number, body in enumerate(blocks(page, "python"))
    ]


@pytest.mark.parametrize("snippet", snippets())
def test_python_snippets_run(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "torch" in snippet:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "snippet", "exec"), {"__name__": "snippet"})


def test_there_are_snippets_to_run() -> None:
    assert len(blocks("README.md", "python")) >= 1
    assert len(blocks(ENV_PAGE, "python")) >= 4


@pytest.mark.parametrize("page", PAGES)
def test_generated_tables_are_up_to_date(page: str) -> None:
    told = f"renew with: minesim envs describe minesim/HashrateTuning-v0 --renew {page}"
    assert renew_tables(text_of(page)) == text_of(page), told


def test_the_page_of_the_env_has_all_tables() -> None:
    page = text_of(ENV_PAGE)
    for table in ("channels", "action", "reward", "options", "reset", "difficulty", "limits", "info"):
        assert f"<!-- table: {table} -->" in page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    for target, _ in LINK.findall(text_of(page)):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    for name in re.findall(r"`((?:minesim|agents|tests|docs|examples|experiments|conf)/[\w./-]+)`", text_of(page)):
        assert name in env_ids() or (ROOT / name).exists(), f"{page} names {name}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for body in [*blocks(page, "sh"), *re.findall(r"`(make [a-z-]+)`", text_of(page))]:
        for target in re.findall(r"(?:^|[`\s])make ([a-z-]+)", body):
            assert target in targets, f"{page}: make {target}"


def commands() -> list[Any]:
    lines = [(page, line) for page in PAGES for body in blocks(page, "sh") for line in joined(body)]
    return [pytest.param(line, id=f"{page}: {line}") for page, line in lines if line.startswith("minesim ")]


def joined(body: str) -> list[str]:
    return [re.sub(r"\s+", " ", line.split("#")[0]).strip() for line in body.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("line", commands())
def test_commands_and_their_options_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in words:
        assert not word.startswith("-") or word in known, f"{word} in {line}"
    alone = getattr(command, "invoke_without_command", False)
    assert alone or not hasattr(command, "commands") or not words, f"no command {words} in {line}"


def constants() -> list[Any]:
    rows = re.findall(r"^\| `([\w.]+:[\w.]+)` \| ([-\d.e]+) \|", text_of("docs/physics.md"), re.MULTILINE)
    return [pytest.param(where, float(value), id=where) for where, value in rows]


@pytest.mark.parametrize(("where", "value"), constants())
def test_constants_of_the_physics_page_are_those_of_the_code(where: str, value: float) -> None:
    module, _, path = where.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.signature(found).parameters[name].default if inspect.isfunction(found) else getattr(found, name)
    assert found == pytest.approx(value, rel=1e-9)


def test_all_room_and_wear_parameters_are_on_the_physics_page() -> None:
    from minesim.site import RoomParams, WearParams

    page = text_of("docs/physics.md")
    for owner in (RoomParams, WearParams):
        for name, field in owner.__dataclass_fields__.items():
            if isinstance(field.default, float):
                assert f"{owner.__name__}.{name}" in page


def test_all_reasons_of_the_envelope_are_on_the_page() -> None:
    for reason in Reason:
        assert f"`{reason.name}`" in text_of(ENV_PAGE)


def test_all_tariffs_and_scenarios_are_named() -> None:
    page = text_of(ENV_PAGE)
    for name in (*tariff_names(), *scenario_names()):
        assert f"`{name}`" in page


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_not_cut_by_trailing_blanks(page: str) -> None:
    assert not [line for line in text_of(page).splitlines() if line != line.rstrip()]
