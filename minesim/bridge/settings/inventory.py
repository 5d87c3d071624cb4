"""The inventory: which miners there are, how the site is billed and capped, and where its feeds come from.

One YAML file, read strictly: an unknown key, a secret written out or an impossible value is an error that names the
line. Secrets are given by reference only (``env:NAME``, ``file:PATH``) and are read when they are needed.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from minesim.bridge.deciding.decide import Settings
from minesim.bridge.feed_sources import ConstantSource, FileSource, HttpSource, Layout, SeriesFeed, Source
from minesim.bridge.feeds import FeedBook, SeriesRule, series_rule
from minesim.bridge.miners.fleet import Member
from minesim.bridge.settings.yaml_lines import Document, read_yaml
from minesim.catalog import canonical_name
from minesim.control.envelope import Limits, limits
from minesim.control.fleet import CohortSpec, tuned_presets
from minesim.data.known import RULES
from minesim.economics.tariff import DemandCharge, FlatEnergy, Tariff, settlement_columns, tariff
from minesim.errors import MinesimError, ParamsError, explain

SECRET_KEY: Final = re.compile(r"(?i)^(password|passwd|pw|token|secret|api[_-]?key)$")
SECRET_QUERY: Final = re.compile(r"(?i)[?&](key|[a-z_-]*(api_?key|token|secret|passw))[a-z_-]*=")
REFERENCE: Final = re.compile(r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:\S+)$")
SECRET_FIX: Final = (
    "Put it into an environment variable or a file of mode 0600, and write env:NAME or file:PATH here; if it was a "
    "real one, change it on the device."
)
ERRORS_SHOWN: Final = 10
RANGE_MAX: Final = 4096
"""Addresses in one range (assumed: more is a slip)."""
TEMP_MAX_C: Final = 95.0
"""No chip limit above this: firmware stops at 90 C by itself (HashCore's documentation)."""
_HOST = re.compile(r"^(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def _reference(text: str) -> str:
    if not REFERENCE.match(text):
        raise ValueError(f"a secret is written out; allowed: env:NAME or file:PATH. {SECRET_FIX}")
    return text


Reference = Annotated[str, AfterValidator(_reference)]


class CredentialRefs(_Strict):
    """Where the credentials of miners are: an API key, or a web password."""

    api_key: Reference | None = None
    password: Reference | None = None

    @model_validator(mode="after")
    def _one(self) -> CredentialRefs:
        if (self.api_key is None) == (self.password is None):
            raise ValueError("give one of api_key and password")
        return self


class MinerEntry(_Strict):
    """A miner, or a range of them (``10.0.1.11-60``, ``127.0.0.1:8800-8849``); a plain address will do."""

    address: str
    name: str = ""
    group: str = ""
    credentials: CredentialRefs | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"address": value} if isinstance(value, str) else value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        list(addresses(value))
        return value


class Cohort(_Strict):
    """Like miners that a policy commands alike."""

    name: str = Field(min_length=1)
    model: str
    table: str | None = None
    credentials: CredentialRefs | None = None
    miners: list[MinerEntry] = Field(min_length=1)


class SourceEntry(_Strict):
    """Where values come from: one of ``url``, ``file`` and ``constant``; the rest says how they lie there."""

    url: str | None = None
    file: str | None = None
    constant: float | None = None
    rows: str = ""
    time: str = ""
    value: str = "value"
    factor: float = 1.0
    interval_s: float = Field(default=3600.0, gt=0.0, le=32 * 86400.0)
    headers: dict[str, Reference] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"^https?://[^/@\s]+(/\S*)?$", value):
            raise ValueError("allowed: http(s)://host/path without a user; secrets belong into headers, by reference")
        if value is not None and SECRET_QUERY.search(value):
            raise ValueError("a secret is written out in the url; give it as a header, by reference")
        return value

    @model_validator(mode="after")
    def _one(self) -> SourceEntry:
        if [self.url, self.file, self.constant].count(None) != 2:
            raise ValueError("give one of url, file and constant")
        return self

    def source(self) -> Source:
        """The source that it describes."""
        layout = Layout(self.rows, self.time, self.value, self.factor, self.interval_s)
        if self.url is not None:
            return HttpSource(self.url, layout, dict(self.headers))
        if self.file is not None:
            return FileSource(Path(self.file), layout)
        return ConstantSource(self.constant or 0.0)


class FeedEntry(SourceEntry):
    """A feed, and what differs from the usual rules of its series."""

    known: str | None = None
    known_hour: float | None = Field(default=None, ge=0.0, lt=24.0)
    keep_s: float | None = Field(default=None, ge=0.0)
    lost_s: float | None = Field(default=None, ge=0.0)

    @field_validator("known")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in RULES:
            raise ValueError(f"allowed: {', '.join(RULES)}")
        return value

    def rule(self, name: str) -> SeriesRule:
        """The rule of the series as changed here."""
        usual = series_rule(name)
        changes: dict[str, Any] = {"interval_s": self.interval_s}
        for key in ("known", "known_hour", "keep_s", "lost_s"):
            if getattr(self, key) is not None:
                changes[key] = getattr(self, key)
        return dataclasses.replace(usual, **changes)


class MeterEntry(SourceEntry):
    """The site's meter; its values in W after ``factor``."""

    tolerance: float = Field(default=0.01, ge=0.0, le=0.1)
    month_peak_kw: float = Field(default=0.0, ge=0.0)


class TariffEntry(_Strict):
    """A ready-made tariff, and what differs from it."""

    name: str
    adder_usd_per_mwh: float | None = None
    loss_factor: float | None = None
    energy_usd_per_mwh: float | None = None
    demand_usd_per_kw_month: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def tariff(self) -> Tariff:
        """The tariff.

        Raises:
            ParamsError: unknown, or an impossible part.
        """
        changes: dict[str, Any] = {}
        if self.adder_usd_per_mwh is not None:
            changes["adder_usd_per_mwh"] = self.adder_usd_per_mwh
        if self.loss_factor is not None:
            changes["loss_factor"] = self.loss_factor
        if self.energy_usd_per_mwh is not None:
            changes["energy"] = FlatEnergy(self.energy_usd_per_mwh)
        if self.demand_usd_per_kw_month is not None:
            changes["demand"] = DemandCharge.constant(self.demand_usd_per_kw_month, "inventory")
        return dataclasses.replace(tariff(self.name), **changes)


class LimitsEntry(_Strict):
    """Limits of the envelope by name, and what differs from them."""

    base: str = "bridge"
    temp_chip_soft_c: float | None = None
    temp_chip_hard_c: float | None = Field(default=None, le=TEMP_MAX_C)
    temp_board_soft_c: float | None = None
    temp_board_hard_c: float | None = Field(default=None, le=TEMP_MAX_C - 10.0)
    ramp_up_per_min: float | None = Field(default=None, gt=0.0, le=1.0)
    ramp_up_per_5min: float | None = Field(default=None, gt=0.0, le=1.0)
    dwell_up_s: float | None = Field(default=None, ge=0.0)
    write_gap_s: float | None = Field(default=None, ge=0.0)
    stops_per_day: float | None = Field(default=None, ge=0.0)

    def limits(self) -> Limits:
        """The limits.

        Raises:
            ParamsError: unknown base, no hard limit, or a soft limit above the hard one.
        """
        changes = {name: value for name, value in self.model_dump(exclude={"base"}).items() if value is not None}
        chosen = dataclasses.replace(limits(self.base), **changes)
        if not math.isfinite(chosen.temp_chip_hard_c):
            raise ParamsError(
                explain(f"limits {self.base!r} have no hard chip temperature", fix="Take base: bridge on hardware.")
            )
        for part in ("chip", "board"):
            soft_c, hard_c = getattr(chosen, f"temp_{part}_soft_c"), getattr(chosen, f"temp_{part}_hard_c")
            if soft_c > hard_c:
                raise ParamsError(
                    explain(f"temp_{part}_soft_c is {soft_c} C", allowed=f"up to the hard limit of {hard_c} C")
                )
        return chosen


class FallbackEntry(_Strict):
    """What happens when decisions are impossible."""

    after_min: float = Field(default=15.0, gt=0.0, le=24 * 60.0)
    level: float = Field(default=0.0, ge=0.0, le=1.0)


class _Site(_Strict):
    site: str = Field(min_length=1)
    timezone: str
    tariff: TariffEntry
    cap_kw: float | None = Field(default=None, gt=0.0)
    overhead_kw: float = Field(default=0.0, ge=0.0)
    meter: MeterEntry | None = None
    limits: LimitsEntry = Field(default_factory=LimitsEntry)
    fallback: FallbackEntry = Field(default_factory=FallbackEntry)
    credentials: CredentialRefs | None = None
    cohorts: list[Cohort] = Field(min_length=1)
    feeds: dict[str, FeedEntry] = Field(default_factory=dict)


@dataclass(frozen=True)
class InventoryMiner:
    """One miner of the inventory.

    Attributes:
        address: host, or host:port where the port is not 80; its key.
        name: what people call it.
        cohort: number of its cohort.
        model: catalog name.
        group: what fails together.
        credentials: where its credentials are, None for none.
    """

    address: str
    name: str
    cohort: int
    model: str
    group: str
    credentials: CredentialRefs | None


@dataclass(frozen=True)
class Inventory:
    """A site as its operator describes it.

    Attributes:
        site, timezone: name, and IANA name of its time zone.
        tariff: how it is billed.
        limits: of the envelope.
        cap_w: highest power, infinite for none, W.
        overhead_w: what it draws beside its miners, W.
        meter: the site's meter, None without one.
        fallback: what happens when decisions are impossible.
        cohorts: as a policy knows them.
        cohort_names: their names.
        miners: all miners, by cohort.
        feeds: by series.
    """

    site: str
    timezone: str
    tariff: Tariff
    limits: Limits
    cap_w: float
    overhead_w: float
    meter: MeterEntry | None
    fallback: FallbackEntry
    cohorts: tuple[CohortSpec, ...]
    cohort_names: tuple[str, ...]
    miners: tuple[InventoryMiner, ...]
    feeds: dict[str, FeedEntry]

    def members(self) -> tuple[Member, ...]:
        """The miners as the decider knows them."""
        return tuple(Member(miner.address, miner.cohort, miner.group) for miner in self.miners)

    def settings(self, step_s: float = 300.0) -> Settings:
        """The decider's settings; ``step_s`` is that of the policy."""
        meter = self.meter
        return Settings(
            limits=self.limits,
            cap_w=self.cap_w,
            meter_tolerance=0.0 if meter is None else meter.tolerance,
            overhead_w=self.overhead_w,
            step_s=step_s,
            fallback_after_s=60.0 * self.fallback.after_min,
            fallback_level=self.fallback.level,
            month_peak_kw=0.0 if meter is None else meter.month_peak_kw,
        )

    def feed_book(self) -> FeedBook:
        """The feeds.

        Raises:
            ParamsError: an essential series has no feed.
        """
        feeds = [SeriesFeed(name, entry.source()) for name, entry in self.feeds.items()]
        rules = {name: entry.rule(name) for name, entry in self.feeds.items()}
        return FeedBook(feeds, self.tariff, self.timezone, rules)


def addresses(text: str) -> Iterator[str]:
    """Addresses that an entry names, in order: one, or a range of last octets or of ports.

    Raises:
        ValueError: not an address that a miner can have.
    """
    host, port = text, ""
    if text.count(":") == 1:
        host, _, port = text.partition(":")
    elif text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    if "//" in text or "@" in text or "/" in text:
        raise ValueError("an address is a host or host:port, without http://, path, user or network mask")
    ports = list(_numbers(port, 1, 65535)) if port else [80]
    head, dot, last = host.rpartition(".")
    hosts = [host]
    if re.fullmatch(r"\d+-\d+", last) and dot:
        hosts = [f"{head}.{octet}" for octet in _numbers(last, 0, 255)]
    if len(hosts) * len(ports) > RANGE_MAX:
        raise ValueError(f"a range of {len(hosts) * len(ports)} addresses; allowed: up to {RANGE_MAX}")
    for one in hosts:
        plain = _host(one)
        for number in ports:
            yield plain if number == 80 else f"{plain}:{number}"


def _numbers(text: str, low: int, high: int) -> range:
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise ValueError("a port or range is not a number")
    begin, end = int(first), int(last or first)
    if not low <= begin <= end <= high:
        raise ValueError(f"a port or range from {begin} to {end}; allowed: rising, {low} to {high}")
    return range(begin, end + 1)


def _host(text: str) -> str:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        if re.fullmatch(r"[\d.]+", text) or not _HOST.match(text):
            raise ValueError("neither an IP address nor a host name") from None
        return text.lower()
    if ip.is_unspecified or ip.is_multicast or ip.is_reserved or str(ip).endswith(".255"):
        raise ValueError(f"no miner can have the address {ip}")
    return f"[{ip}]" if ip.version == 6 else str(ip)


def load_inventory(path: Path) -> Inventory:
    """Read an inventory.

    Raises:
        ParamsError: unreadable or wrong; up to ten faults at once, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(explain(f"cannot read the inventory: {error}", origin=str(path))) from error
    return parse_inventory(text, path.name)


def parse_inventory(text: str, name: str = "inventory") -> Inventory:
    """Read an inventory from its text; ``name`` is what messages call it.

    Raises:
        ParamsError: as :func:`load_inventory`.
    """
    document = read_yaml(text, name)
    if not isinstance(document.values, dict):
        raise ParamsError(explain("the inventory is empty, or no mapping", allowed="site, cohorts, ...", origin=name))
    _refuse_secrets(document, document.values, ())
    try:
        entry = _Site.model_validate(document.values)
    except ValidationError as error:
        raise ParamsError("\n".join(_faults(error, document))) from None
    return _built(entry, document)


def _refuse_secrets(document: Document, value: Any, place: tuple[str | int, ...]) -> None:
    """Refuse a secret that is written out, wherever it stands and before anything else is looked at."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str) and SECRET_KEY.match(key) and not REFERENCE.match(str(inner)):
                raise ParamsError(
                    explain(f"{key} is written out", origin=document.origin((*place, key)), fix=SECRET_FIX)
                )
            _refuse_secrets(document, inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_secrets(document, inner, (*place, index))


def _faults(error: ValidationError, document: Document) -> list[str]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for fault in found[:ERRORS_SHOWN]:
        where = ".".join(str(part) for part in fault["loc"]) or "the inventory"
        message = fault["msg"].removeprefix("Value error, ")
        known = "" if fault["type"] != "extra_forbidden" else " (unknown key)"
        lines.append(explain(f"{where}{known}: {message}", origin=document.origin(fault["loc"])))
    if len(found) > ERRORS_SHOWN:
        lines.append(f"{len(found) - ERRORS_SHOWN} further faults.")
    return lines


def _built(entry: _Site, document: Document) -> Inventory:
    cohorts = [_cohort(cohort, index, document) for index, cohort in enumerate(entry.cohorts)]
    miners: list[InventoryMiner] = []
    seen: dict[str, str] = {}
    names = [cohort.name for cohort in entry.cohorts]
    for index, name in enumerate(names):
        if names.index(name) != index:
            raise ParamsError(explain(f"two cohorts are called {name!r}", origin=document.origin(("cohorts", index))))
    for index, cohort in enumerate(entry.cohorts):
        for number, one in enumerate(cohort.miners):
            origin = document.origin(("cohorts", index, "miners", number))
            found = list(addresses(one.address))
            for address in found:
                if address in seen:
                    raise ParamsError(
                        explain(f"miner {address} is listed twice", origin=f"{seen[address]} and {origin}")
                    )
                seen[address] = origin
                miners.append(
                    InventoryMiner(
                        address=address,
                        name=one.name if one.name and len(found) == 1 else address,
                        cohort=index,
                        model=cohorts[index].model,
                        group=one.group or cohort.name,
                        credentials=one.credentials or cohort.credentials or entry.credentials,
                    )
                )
    counts = [sum(miner.cohort == index for miner in miners) for index in range(len(cohorts))]
    specs = tuple(dataclasses.replace(spec, count=count) for spec, count in zip(cohorts, counts, strict=True))
    _at(document, ("timezone",), lambda: _calendar_of(entry.timezone))
    for series in entry.feeds:
        _at(document, ("feeds", series), lambda series=series: series_rule(series))
    inventory = Inventory(
        site=entry.site,
        timezone=entry.timezone,
        tariff=_at(document, ("tariff",), entry.tariff.tariff),
        limits=_at(document, ("limits",), entry.limits.limits),
        cap_w=math.inf if entry.cap_kw is None else entry.cap_kw * 1e3,
        overhead_w=entry.overhead_kw * 1e3,
        meter=entry.meter,
        fallback=entry.fallback,
        cohorts=specs,
        cohort_names=tuple(names),
        miners=tuple(miners),
        feeds=dict(entry.feeds),
    )
    _check_cap(inventory, document)
    return inventory


def _calendar_of(timezone: str) -> dict[str, np.ndarray]:
    """Calendar of an instant in a time zone.

    Raises:
        ParamsError: no such zone (nearest names suggested).
    """
    instant = np.zeros(1, "datetime64[s]")
    return settlement_columns(Tariff("calendar", FlatEnergy(0.0)), instant, timezone, np.zeros(1))


def _cohort(cohort: Cohort, index: int, document: Document) -> CohortSpec:
    def spec() -> CohortSpec:
        found = CohortSpec(canonical_name(cohort.model), 1, cohort.table)
        tuned_presets(found)
        return found

    built: CohortSpec = _at(document, ("cohorts", index, "model"), spec)
    return built


def _at(document: Document, place: Sequence[str | int], build: Any) -> Any:
    try:
        return build()
    except MinesimError as error:
        raise ParamsError(f"{document.origin(place)}: {error}") from error


def _check_cap(inventory: Inventory, document: Document) -> None:
    lowest_w = inventory.overhead_w + sum(spec.count * tuned_presets(spec)[0].power_w for spec in inventory.cohorts)
    if inventory.cap_w < lowest_w:
        raise ParamsError(
            explain(
                f"cap_kw is {inventory.cap_w * 1e-3:g} kW",
                allowed=f"at least {lowest_w * 1e-3:.1f} kW, what the fleet draws at its lowest presets",
                origin=document.origin(("cap_kw",)),
                fix="Raise the cap, or list fewer miners.",
            )
        )
