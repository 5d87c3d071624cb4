"""``minesim emulate``: a fleet of emulated miners on sockets, for rehearsals and for fleet tools."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from typing import TYPE_CHECKING, Annotated

import typer

from minesim.errors import MissingExtraError, ParamsError, explain

if TYPE_CHECKING:
    from minesim.emulator.emulator import Emulator
    from minesim.emulator.serve import Address

DEFAULT_MODEL = "Antminer S19j Pro (104T)"


def fleet_of(models: list[str], miners: int | None = None) -> list[str]:
    """Models of a fleet from ``MODEL`` and ``MODEL:N``.

    Args:
        models: a model without a number takes the miners that are left, shared alike with others without a number.
        miners: how many in all; None for as many as the models name, one for each without a number.

    Raises:
        ParamsError: the numbers do not add up.

    >>> fleet_of(["S21:1", "S19 XP"], 3)
    ['S21', 'S19 XP', 'S19 XP']
    """
    counts: list[tuple[str, int | None]] = []
    for text in models or [DEFAULT_MODEL]:
        name, colon, number = text.rpartition(":")
        if colon and not (number.isdecimal() and int(number) > 0):
            raise ParamsError(explain(f"{text!r} as a model", allowed="MODEL or MODEL:N with N of 1 or more"))
        counts.append((name, int(number)) if colon else (text, None))
    named = sum(count or 0 for _, count in counts)
    open_ended = sum(count is None for _, count in counts)
    miners = named + open_ended if miners is None else miners
    left = miners - named
    if left < open_ended or (left > 0 and not open_ended):
        raise ParamsError(
            explain(
                f"{miners} miners, but the models name {named} and leave {open_ended} without a number",
                origin="--model",
                fix="Let the numbers add up to --miners, or leave one model without a number.",
            )
        )
    shares = iter([left // max(open_ended, 1) + (k < left % max(open_ended, 1)) for k in range(open_ended)])
    return [name for name, count in counts for _ in range(next(shares) if count is None else count)]


def emulate(
    miners: Annotated[int | None, typer.Option(help="how many; default: as many as the models name, or 1")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="catalog model, MODEL or MODEL:N; may be given several times")
    ] = None,
    firmware: Annotated[str, typer.Option(help="1.2.6 or 1.3.4")] = "1.3.4",
    host: Annotated[str, typer.Option(help="IPv4 address to listen on; the first one with port 80")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="first HTTP port; 80 gives each miner an address of its own")] = 8800,
    rpc_port: Annotated[int, typer.Option(help="first port of the TCP interface")] = 4028,
    speed: Annotated[float, typer.Option(help="emulated seconds a second")] = 1.0,
    step: Annotated[float, typer.Option(help="control step of the twin, s")] = 10.0,
    temp: Annotated[float, typer.Option(help="outdoor air, degC")] = 20.0,
    seed: Annotated[int, typer.Option(help="of silicon, sensors, noise and names")] = 0,
    password: Annotated[str, typer.Option(help="of the web interfaces")] = "admin",
) -> None:
    """Serve emulated miners behind the VNish HTTP interface and port 4028 until interrupted.

    Ports count up from --port and --rpc-port; with --port 80 addresses count up instead, 4028 beside each.
    """
    from minesim.emulator.emulator import Emulator
    from minesim.emulator.serve import addresses
    from minesim.emulator.weather import Weather

    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                explain(f"{package} is not installed", fix="Install it with: pip install 'minesim[emulator]'")
            )
    if not speed > 0.0:
        raise ParamsError(explain(f"speed is {speed}", allowed="above 0", origin="--speed"))
    models = fleet_of(model or [], miners)
    where = addresses(len(models), host, port, rpc_port)
    emulator = Emulator(
        models, firmware=firmware, seed=seed, step_s=step, weather=Weather.constant(temp), password=password
    )
    # Where whoever started it ignores interrupts, as shells do for jobs behind "&", it ends without one being raised.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(emulator, where, speed))
    typer.echo(f"stopped after {emulator.elapsed_s:.0f} emulated seconds")


async def _run(emulator: Emulator, where: tuple[Address, ...], speed: float) -> None:
    from minesim.emulator.serve import serving

    async with serving(emulator, where, speed) as service:
        first, last = service.addresses[0], service.addresses[-1]
        many = f" to http://{last.host}:{last.http_port}" if last != first else ""
        also = f" to {last.host}:{last.rpc_port}" if last != first else ""
        typer.echo(
            f"ready: {len(where)} miners, VNish {emulator.firmware}, at http://{first.host}:{first.http_port}{many}, "
            f"TCP {first.host}:{first.rpc_port}{also}, {speed:g} times real time"
        )
        await service.ended
