"""An emulated fleet: miners, their common physics, faults, and time that moves only when told to."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from minesim.emulator.api import API_ROOT, Call, FirmwareApi
from minesim.emulator.faults import MACHINE, STATUS, WRITES, Fault, FaultBook, FaultKind
from minesim.emulator.history import History
from minesim.emulator.http import EMPTY, Delivery, Reply, Request, error, json_reply
from minesim.emulator.miner import EmulatedMiner, Identity
from minesim.emulator.models import miner_model
from minesim.emulator.settings import leaves, tree_of
from minesim.emulator.twin import FleetDraw, FleetTwin, draw_fleet, one_by_one, spec_of_models
from minesim.emulator.view import View, view_of
from minesim.emulator.weather import Weather
from minesim.errors import ParamsError, explain
from minesim.site_spec import SiteSpec, build_site, site_spec

if TYPE_CHECKING:
    from minesim.emulator.transport import EmulatorTransport

FIRMWARES = ("1.2.6", "1.3.4")
"""Versions whose interface is known from the vendor's own documents."""
START_AT_S = 1_767_225_600.0
"""Wall clock at the start unless told otherwise: 2026-01-01 00:00 UTC."""
FIRST_HOST = ipaddress.IPv4Address("10.77.0.1")
"""Address of the first miner for requests in one process."""
NO_LOCKS = frozenset({"/unlock", "/lock", "/lock/others"})


class Emulator:
    """A fleet of miners behind their firmware's interface, over one twin.

    Time is the emulator's own: it stands still until :meth:`advance`. What was written before a control step acts from
    its start; what is read is what the instruments said at the end of the last one.

    Args:
        miners: catalog models, one a miner; or a site (its name or description), each of whose miners is then simulated
            by itself.
        firmware: ``1.2.6`` or ``1.3.4``.
        seed: silicon, sensor errors, noise, names and tokens.
        step_s: control step, s.
        weather: outdoor air; 20 degC by default.
        running: whether the fleet mines at the start.
        start_at_s: wall clock at the start, s since 1970 UTC.
        password: of the web interfaces.
        draw: silicon, sensor errors and noise, in place of the seed's.

    Attributes:
        miners: the miners.
        twin: their physics.
        history: their past.

    Raises:
        ParamsError: an impossible argument.
        CatalogError: an unknown model.
    """

    def __init__(
        self,
        miners: Sequence[str] | SiteSpec | str,
        *,
        firmware: str = "1.3.4",
        seed: int = 0,
        step_s: float = 10.0,
        weather: Weather | None = None,
        running: bool = True,
        start_at_s: float = START_AT_S,
        password: str = "admin",
        draw: FleetDraw | None = None,
    ) -> None:
        if firmware not in FIRMWARES:
            raise ParamsError(explain(f"no firmware {firmware!r} is emulated", allowed=", ".join(FIRMWARES)))
        if not step_s > 0.0:
            raise ParamsError(explain(f"step_s is {step_s} s", allowed="above 0 s"))
        spec = _spec_of(miners, step_s)
        spec = replace(spec, firmware=replace(spec.firmware, has_throttle=firmware == "1.3.4"))
        models = [miner_model(cohort.model, cohort.table) for cohort in spec.cohorts]
        params = build_site(spec)
        self.firmware = firmware
        self.step_s = step_s
        weather = Weather.constant() if weather is None else weather
        self.twin = FleetTwin(
            params, draw_fleet(params, seed) if draw is None else draw, weather, step_s, running=running
        )
        self.history = History(self.twin)
        self.miners = tuple(
            EmulatedMiner(i, model, firmware, self.twin, start_at_s, seed, password) for i, model in enumerate(models)
        )
        self.set_hosts([str(FIRST_HOST + i) for i in range(len(self.miners))])
        self._api = FirmwareApi(".".join(firmware.split(".")[:2]))
        self._faults = FaultBook()
        self._frozen: dict[Fault, View] = {}
        self._machine: frozenset[Fault] = frozenset()

    # ------------------------------------------------------------------ time

    @property
    def elapsed_s(self) -> float:
        """Time since the start, s."""
        return self.twin.elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: a whole number of control steps.

        Raises:
            ParamsError: it is none.
        """
        steps = round(seconds / self.step_s)
        if steps < 0 or abs(steps * self.step_s - seconds) > 1e-6:
            raise ParamsError(
                explain(f"{seconds} s to advance", allowed=f"a whole number of control steps of {self.step_s:g} s")
            )
        for _ in range(steps):
            self._break_machines()
            before = self.twin.state.firmware.tripped
            self.twin.step()
            self.history.after_step()
            for index in (self.twin.state.firmware.tripped > before).nonzero()[0].tolist():
                self.miners[index].event("overheat")
                self.miners[index].log("status", "ERROR: Overheating, mining stopped")
            self._look_at_faults()

    # ------------------------------------------------------------------ faults

    def inject(self, *faults: Fault) -> None:
        """Schedule faults; one that has begun already acts at once (at machines from the next control step on)."""
        for fault in faults:
            if not 0 <= fault.miner < len(self.miners):
                raise ParamsError(explain(f"a fault of miner {fault.miner}", allowed=f"0 to {len(self.miners) - 1}"))
            self._faults.add(fault)
        self._look_at_faults()

    def clear_faults(self, miner: int | None = None) -> None:
        """Take the faults of a miner, or all faults, back."""
        self._faults.clear(miner)
        self._look_at_faults()

    def _look_at_faults(self) -> None:
        """Begin and end what is due, and keep the readings that stand still."""
        self._faults.at(self.elapsed_s)
        stale = self._faults.on_of_kinds((FaultKind.STALE,))
        if stale or self._frozen:
            self._frozen = {fault: self._frozen.get(fault) or self._fresh_view(fault.miner) for fault in stale}

    def _break_machines(self) -> None:
        broken = frozenset(self._faults.on_of_kinds(MACHINE))
        if broken == self._machine:
            return
        setup = self.twin.setup
        setup.flow_share[:] = 1.0
        setup.board_works[:] = 1.0
        for fault in broken:
            miner = self.miners[fault.miner]
            if fault.kind is FaultKind.BOARD_LOST:
                setup.board_works[int(fault.amount) % miner.model.boards, fault.miner] = 0.0
            else:
                setup.flow_share[fault.miner] *= fault.amount
        for fault, kind in [(f, "disable_{}") for f in broken - self._machine] + [
            (f, "enable_{}") for f in self._machine - broken
        ]:
            if fault.kind is FaultKind.BOARD_LOST:
                self.miners[fault.miner].event(kind, int(fault.amount) % self.miners[fault.miner].model.boards)
        self._machine = broken
        self.twin.changed()

    # ------------------------------------------------------------------ addresses

    def set_hosts(self, hosts: Sequence[str]) -> None:
        """Tell the miners which addresses they have."""
        for miner, host in zip(self.miners, hosts, strict=True):
            miner.identity = Identity(host, miner.identity.mac, miner.identity.serial, miner.identity.hostname)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Addresses of the miners."""
        return tuple(miner.identity.host for miner in self.miners)

    def transport(self) -> EmulatorTransport:
        """A transport for ``httpx.AsyncClient`` that reaches the miners by their :attr:`hosts` without a network."""
        from minesim.emulator.transport import EmulatorTransport

        return EmulatorTransport(self)

    # ------------------------------------------------------------------ answers

    def view(self, index: int) -> View:
        """What a miner's firmware sees now, with the faults of its sensors."""
        faults = self._faults.on(index)
        for fault in faults:
            if fault.kind is FaultKind.STALE and fault in self._frozen:
                return self._frozen[fault]
        return self._fresh_view(index, faults)

    def _fresh_view(self, index: int, faults: Sequence[Fault] | None = None) -> View:
        faults = self._faults.on(index) if faults is None else faults
        return view_of(self.miners[index], self.twin, self.history, faults)

    def reachable(self, index: int) -> bool:
        """Whether a miner accepts connections."""
        miner = self.miners[index]
        if miner.rebooting(self.elapsed_s):
            return False
        return all(f.kind is not FaultKind.UNREACHABLE for f in self._faults.on(index))

    def silent(self, index: int) -> bool:
        """Whether a miner accepts connections but never answers."""
        return any(fault.kind is FaultKind.TIMEOUT and not fault.path for fault in self._faults.on(index))

    def request(
        self, index: int, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Delivery:
        """Ask a miner.

        Args:
            index: its number.
            method: HTTP method.
            target: path, with a query if any.
            body: of the request as JSON; None for none.
            headers: lower-case names.
        """
        path, _, query = target.partition("?")
        content = b"" if body is None else json_reply(body).body
        return self.answer(index, Request(method, path, dict(parse_qsl(query)), headers or {}, content))

    def answer(self, index: int, request: Request) -> Delivery:
        """Answer a request to a miner, with the faults that are on."""
        miner = self.miners[index]
        if not self.reachable(index):
            return Delivery(None, refused=True)
        path = request.path.removeprefix(API_ROOT)
        if _is_write(request, path):
            miner.writes[f"{request.method} {path}"] += 1
        faults = [fault for fault in self._faults.on(index) if fault.concerns(path)]
        miner.wall.offset_s = sum(fault.amount for fault in faults if fault.kind is FaultKind.CLOCK_JUMP)
        if not faults:
            reply = self._reply(miner, request)
            return Delivery(reply)
        kinds = {fault.kind: fault for fault in faults}
        if FaultKind.TIMEOUT in kinds:
            return Delivery(None)
        reply = self._faulty(miner, request, path, kinds)
        if FaultKind.ANSWER_LOST in kinds and _is_write(request, path):
            return Delivery(None)
        if FaultKind.MALFORMED_JSON in kinds:
            reply = replace(reply, body=b'{"miner": ' + reply.body[:40] + b" \xff")
        drip = kinds.get(FaultKind.SLOW_DRIP)
        return Delivery(reply, cut=FaultKind.TRUNCATED in kinds, drip_s=drip.amount if drip else 0.0)

    def _faulty(self, miner: EmulatedMiner, request: Request, path: str, kinds: dict[FaultKind, Fault]) -> Reply:
        for kind, status in STATUS.items():
            if kind in kinds:
                if status == 429:
                    return json_reply({"unlock_timeout": int(kinds[kind].amount)}, status)
                return error(f"Injected {kind.value}", status)
        if _is_write(request, path) and WRITES & kinds.keys():
            if FaultKind.WRITE_REFUSED in kinds:
                return error("Injected write_refused", 500)
            if FaultKind.WRITE_IGNORED in kinds:
                saved = path in ("/settings", "/mining/throttle")
                return json_reply({"restart_required": False, "reboot_required": False}) if saved else EMPTY
            if FaultKind.HALF_APPLIED in kinds and path == "/settings":
                fields = leaves(request.record())
                half = tree_of(*fields[0]) if fields else {}
                request = replace(request, body=json_reply(half).body)
        return self._reply(miner, request, defer=FaultKind.RESTART_REQUIRED in kinds)

    def _reply(self, miner: EmulatedMiner, request: Request, *, defer: bool = False) -> Reply:
        call = Call(miner, self.view(miner.index), self.history, request, defer_preset=defer)
        reply = self._api.answer(call)
        miner.api_log.append((self.elapsed_s, request.client, f'"{request.method} {request.path}"', reply.status))
        return reply


def _is_write(request: Request, path: str) -> bool:
    return request.method != "GET" and path not in NO_LOCKS


def _spec_of(miners: Sequence[str] | SiteSpec | str, step_s: float) -> SiteSpec:
    if isinstance(miners, (str, SiteSpec)):
        return one_by_one(site_spec(miners))
    if not miners:
        raise ParamsError(explain("no miner to emulate", allowed="1 or more"))
    return spec_of_models(tuple(miners), step_s)
