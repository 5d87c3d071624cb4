"""The common core of all environments: B sites stepped together, in numpy or torch.

An adapter without formulas: it gathers rows of the compiled traces, calls control, twin and settlement in their order,
and keeps episodes apart. The one-site environment is a batch of one.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from minesim import noise
from minesim.arrays import NUMPY, Array, Namespace, namespace_of
from minesim.control import envelope, observe
from minesim.control.actuate import actuate, command_power_w, convert
from minesim.control.envelope import ControlHistory, Limits
from minesim.control.meter import MeterState, initial_meter
from minesim.control.observe import Encoding
from minesim.control.telemetry import Telemetry
from minesim.envs import compilation
from minesim.envs.snapshot import CoreSnapshot
from minesim.errors import ActionError, ParamsError, ScenarioError, explain, nearest, pick
from minesim.physics.firmware import FirmwareCommand
from minesim.scenario import Scenario, TraceTable, compile_table, scenario
from minesim.settlement import Money, SettlementRow, settle
from minesim.site import (
    Exogenous,
    Outcome,
    PreparedSite,
    SiteParams,
    hashrate_noise,
    initial_state,
    measure,
    prepare,
    state_where,
    transition,
    weather_of_site,
    weather_terms,
    with_batch_axis,
    without_batch_axis,
)
from minesim.site_spec import SiteSpec, build_site, site_spec
from minesim.tasks.hashrate import HashrateTask, constraint_cost, reward_scale_usd, reward_terms
from minesim.units import SECONDS_PER_HOUR

LONG_AGO_S = 1e6
BLOCK_SIZE = 8192
"""Random numbers drawn at once by small batches."""
BLOCK_SIZE_COMPILED = 65536
"""The same where each call of a compiled function has its price."""
SETTLED = tuple(SettlementRow.__dataclass_fields__)
WEATHER = ("temp_amb_c", "rel_humidity_pct", "pressure_pa")
MONEY = tuple(Money.__dataclass_fields__)


@dataclass(frozen=True)
class Difficulty:
    """How unkind the world is.

    Attributes:
        name: ``easy``, ``medium`` or ``hard``.
        silicon_sd: relative spread of leakage between boards (assumed).
        power_bias: half-width of the error of the firmware's power estimate (5 %: nameplate tolerance).
        fault_rate: chance that a miner does not answer in a step (assumed).
        sample_failures: draw failed restarts instead of charging their expectation.
        volatility: level of the generated scenario.
        tariff: tariff of the generated scenario.
    """

    name: str
    silicon_sd: float
    power_bias: float
    fault_rate: float
    sample_failures: bool
    volatility: str
    tariff: str


_DIFFICULTIES = (
    Difficulty("easy", 0.0, 0.0, 0.0, False, "easy", "energy_only"),
    Difficulty("medium", 0.05, 0.05, 1e-4, False, "medium", "demand_charge"),
    Difficulty("hard", 0.10, 0.05, 1e-3, True, "hard", "mixed"),
)


def difficulty(name: str | Difficulty) -> Difficulty:
    """Difficulty by name.

    Raises:
        ParamsError: unknown name (nearest names suggested).
    """
    if isinstance(name, Difficulty):
        return name
    return pick("difficulty", name, {entry.name: entry for entry in _DIFFICULTIES})


@dataclass(frozen=True)
class EnvConfig:
    """What an environment is made of.

    Attributes:
        scenario: name, Dataset, file or Scenario; None for the generated scenario of the difficulty.
        site: name or description of the site.
        limits: name or values of the envelope.
        difficulty: ``easy``, ``medium`` or ``hard``.
        task: what is rewarded.
        split: which period starts are drawn from; None for all of it. A name that the scenario does not have is an
            error at reset.
        episode_days: horizon, days.
        dt_ctrl_s: control step, s; divides 900 s.
        scenario_seed: of a generated scenario and of forecast errors.
    """

    scenario: Any = None
    site: str | SiteSpec = "container"
    limits: str | Limits = "seed"
    difficulty: str | Difficulty = "medium"
    task: HashrateTask = field(default_factory=HashrateTask)
    split: str | None = "train"
    episode_days: float = 7.0
    dt_ctrl_s: float = 300.0
    scenario_seed: int = 0


@dataclass(frozen=True)
class World:
    """What all environments of a configuration share: compiled traces and the site, never changed."""

    config: EnvConfig
    scenario: Scenario
    table: TraceTable
    params: SiteParams
    limits: Limits
    difficulty: Difficulty

    @property
    def cohorts(self) -> int:
        """Number of cohorts."""
        return len(self.params.curves.models)

    @property
    def action_size(self) -> int:
        """One number per cohort, and one for the reserve offer where the tariff has it."""
        return self.cohorts + (1 if self.scenario.tariff.reserve is not None else 0)

    @property
    def steps_per_row(self) -> int:
        """Control steps in a settlement row."""
        return round(self.table.dt_s / self.config.dt_ctrl_s)

    @property
    def horizon_steps(self) -> int:
        """Control steps in an episode."""
        return round(self.config.episode_days * 86400.0 / self.config.dt_ctrl_s)

    @property
    def horizon_rows(self) -> int:
        """Rows that an episode reads; one more than it settles, for the last observation."""
        return -(-self.horizon_steps // self.steps_per_row) + 1


def build_world(config: EnvConfig) -> World:
    """Compile the traces and the site of a configuration.

    Raises:
        MinesimError: a part is unknown or impossible; the message names it.
    """
    level = difficulty(config.difficulty)
    if config.scenario is None:
        chosen = scenario("generated", tariff=level.tariff, level=level.volatility, seed=config.scenario_seed)
    else:
        chosen = scenario(config.scenario, seed=config.scenario_seed)
    table = compile_table(chosen)
    ratio = table.dt_s / config.dt_ctrl_s
    if config.dt_ctrl_s <= 0.0 or abs(ratio - round(ratio)) > 1e-9 or ratio < 1.0:
        raise ParamsError(
            explain(
                f"dt_ctrl_s is {config.dt_ctrl_s} s",
                allowed=f"a whole part of the demand interval of {table.dt_s:g} s",
                fix="Take 60, 100, 150, 180, 300, 450 or 900 s.",
            )
        )
    if config.episode_days * 86400.0 < config.dt_ctrl_s:
        raise ParamsError(explain(f"episode_days is {config.episode_days} d", allowed="at least one control step"))
    spec = site_spec(config.site)
    params = build_site(replace(spec, wear=replace(spec.wear, sample_failures=level.sample_failures)))
    return World(config, chosen, table, params, envelope.limits(config.limits), level)


@dataclass
class StepResult:
    """One step of all sites; arrays of the core's kind.

    Attributes:
        observation: (B, n) float32.
        reward, cost: (B,).
        truncated: (B,) numpy booleans; the horizon truncates, nothing terminates.
        info: named values, (B,) each; money in USD, the rest with units in the name.
    """

    observation: Array
    reward: Array
    cost: Array
    truncated: np.ndarray
    info: dict[str, Array]


class RowValues(NamedTuple):
    """What the present row of the traces says: settlement and what is only reported (B,), market (B, C), weather as the
    twin takes it."""

    settled: SettlementRow
    local_day: Array
    temp_amb_c: Array
    carbon_g_per_kwh: Array
    market: Array
    exog: Any


class Edges(NamedTuple):
    """Where in its demand interval each site is, (B,): 1 where one opens or closes; mean kW per kWh counted so far."""

    opens: Array
    closes: Array
    kw_per_kwh: Array


EDGES_KEPT = 32
Record = TypeVar("Record")


class SiteCarry(NamedTuple):
    """All that a step hands on to the next; the state is its twin's."""

    state: Any
    history: ControlHistory
    meter: MeterState
    telemetry: Telemetry
    power_before_w: Array


class StepInputs(NamedTuple):
    """What a step is given: checked action (B, n_act), draws (B, 3 M) and noise of the hashrate readings (B, M), the
    present row and phase, 1 where a clock hour opens (None without reserve), and what the next observation reads."""

    action: Array
    u: Array
    noise: Array
    row: RowValues
    edges: Edges
    hour_opens: Array | None
    next_market: Array
    next_kw_per_kwh: Array


@dataclass(frozen=True)
class Fixed:
    """What never changes between the steps of a core."""

    world: World
    site: PreparedSite
    encoding: Encoding
    age_s: Array
    scale_usd: float


Told = tuple[SiteCarry, Array, Array, Array, dict[str, Array]]
"""What a step hands on, then observation, reward, cost and info as in :class:`StepResult`."""


def advance(carry: SiteCarry, inputs: StepInputs, fixed: Fixed) -> Told:
    """Advance all sites by one control step: control, twin, money, observation; a pure function, to be compiled."""
    world, site = fixed.world, fixed.site
    history, reason = decide(carry, inputs, fixed)
    exog = inputs.row.exog
    if world.difficulty.sample_failures:
        exog = replace(exog, u_restart=inputs.u[..., : world.cohorts])
    state, outcome = transition(carry.state, history.command, exog, site)
    offset_k = world.params.firmware.chip_offset_k
    telemetry = measure(state.power_bias, outcome, inputs.noise, fixed.age_s, offset_k, xp=site.xp)
    return account(carry, inputs, fixed, history, reason, state, outcome, telemetry)


def decide(carry: SiteCarry, inputs: StepInputs, fixed: Fixed) -> tuple[ControlHistory, Array]:
    """Turn the action into a command within the envelope; what is remembered of it, and the envelope's reasons."""
    world, curves, xp = fixed.world, fixed.site.params.curves, fixed.site.xp
    dt_s = world.config.dt_ctrl_s
    request, request_w = actuate(inputs.action[..., : world.cohorts], carry.history.command, curves, xp=xp)
    command, command_w, reason = envelope.apply_envelope(
        request, request_w, carry.telemetry, carry.history, world.limits, curves, dt_s, xp=xp
    )
    day = inputs.row.local_day
    return envelope.advance_history(carry.history, command, command_w, day, curves, dt_s, xp=xp), reason


def account(
    carry: SiteCarry,
    inputs: StepInputs,
    fixed: Fixed,
    history: ControlHistory,
    reason: Array,
    state: Any,
    outcome: Outcome,
    telemetry: Telemetry,
) -> Told:
    """Money, reward, cost and observation of what the twin did."""
    world, site, row, action = fixed.world, fixed.site, inputs.row, inputs.action
    xp, curves = site.xp, site.params.curves
    cohorts, dt_s = world.cohorts, world.config.dt_ctrl_s
    if world.difficulty.fault_rate > 0.0:
        u_fault = inputs.u[..., 2 * cohorts :]
        if xp.may_fall_to(u_fault, world.difficulty.fault_rate):
            fault = xp.below(u_fault, world.difficulty.fault_rate)
            telemetry = observe.without_answer(telemetry, carry.telemetry, fault, xp=xp)

    # --- money
    settled = row.settled
    double = settled.energy_price_usd_per_mwh
    site_kw = xp.cast(outcome.power_site_w, double) * 1e-3
    share_mw = None
    if inputs.hour_opens is not None:
        share_mw = xp.cast(0.5 * (action[..., cohorts] + 1.0), double) * (xp.cast(carry.power_before_w, double) * 1e-6)
    meter, money = settle(
        carry.meter,
        settled,
        xp.cast(xp.dot(outcome.hashrate_ths, curves.paid_count), double),
        site_kw,
        xp.cast(outcome.wear_usd, double),
        xp.cast(outcome.restart_usd, double),
        share_mw,
        world.scenario.tariff.reserve,
        inputs.edges.opens,
        inputs.edges.closes,
        inputs.hour_opens,
        dt_s,
        world.table.dt_s,
        xp=xp,
    )
    task, before_w = world.config.task, carry.power_before_w
    stopped_w = xp.dot(outcome.stopped * carry.telemetry.power_w, curves.count)
    terms = reward_terms(task, money, outcome, before_w, fixed.scale_usd, curves, xp=xp)
    cost = constraint_cost(task, outcome, before_w, stopped_w, curves, xp=xp)
    observation = observe.observe(
        telemetry, history, meter, inputs.next_market, inputs.next_kw_per_kwh, fixed.encoding, xp=xp
    )
    energy_kwh = site_kw * (dt_s / SECONDS_PER_HOUR)
    info = {
        "cost": cost,
        "profit_usd": money.profit_usd,
        **{name: getattr(money, name) for name in MONEY},
        "energy_kwh": energy_kwh,
        "power_site_kw": site_kw,
        "power_cooling_kw": outcome.power_cooling_w * 1e-3,
        "hashrate_ths": xp.dot(outcome.hashrate_ths, curves.count),
        "temp_chip_max_c": xp.max(outcome.temp_chip_max_c, axis=-1),
        "temp_intake_c": outcome.temp_intake_c,
        "temp_amb_c": row.temp_amb_c,
        "energy_price_usd_per_mwh": settled.energy_price_usd_per_mwh,
        "carbon_g": row.carbon_g_per_kwh * energy_kwh,
        "stops": outcome.stops,
        "trips": outcome.tripped,
        "envelope_reason": xp.max(reason, axis=-1),
        **{f"reward_{name}": value for name, value in terms.items()},
    }
    reward = functools.reduce(operator.add, terms.values())
    return SiteCarry(state, history, meter, telemetry, outcome.power_site_w), observation, reward, cost, info


def advance_apart(carry: SiteCarry, inputs: StepInputs, fixed: Fixed) -> Told:
    """:func:`advance` to be compiled: what it hands on is not what it was given, else there would be a further
    compilation for steps within a row of the traces."""
    after, *told = advance(carry, inputs, fixed)
    return SiteCarry(*_apart(after)), *told


def _apart(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: _apart(getattr(value, name)) for name in value.__dataclass_fields__})
    return tuple(_apart(part) for part in value) if isinstance(value, tuple) else value.clone()


class SiteCore:
    """B sites of one world.

    Args:
        world: compiled traces and site.
        num_envs: B.
        like: an array whose kind, dtype and device the state takes; numpy float64 by default.
        compiled: compile the step with torch (see :func:`minesim.envs.compilation.compiled`).
    """

    def __init__(self, world: World, num_envs: int, like: Array | None = None, *, compiled: bool = False) -> None:
        self.world = world
        self.num_envs = num_envs
        like = np.zeros(1) if like is None else like
        self._like = like
        self.xp: Namespace = namespace_of(like)
        # One site in numpy is computed without a batch axis: its quantities are scalars, which cost a fifth.
        self._lone = self.xp is NUMPY and num_envs == 1
        self.site = prepare(world.params, None if self._lone else num_envs, world.config.dt_ctrl_s, like)
        self.curves = self.site.params.curves
        cohorts = world.cohorts
        self.schema = observe.schema(cohorts)
        self.scale_usd = reward_scale_usd(world.params.curves, world.config.dt_ctrl_s)
        self._peak_before_kw = world.params.curves.power_rated_site_w * 1e-3
        self._settle = self._constant(world.table.settle)
        self._market = self._constant(world.table.market)
        self._weather = self._state_array(self._weather_columns())
        self._columns = {name: world.table.settle_index[name] for name in world.table.settle_names}
        self._draws = self._integers(np.arange(3 * cohorts))
        self._ages = self._of_sites(self._state_array(np.zeros((num_envs, cohorts))))
        self._fixed = Fixed(
            world=world,
            site=self.site,
            encoding=Encoding(**convert(observe.encoding(world.params.curves), like)),
            age_s=self._ages,
            scale_usd=self.scale_usd,
        )
        if compiled:
            # Cached before the step is traced: a compiler does not look into caches.
            for name, value in vars(type(self.curves)).items():
                if isinstance(value, functools.cached_property):
                    getattr(self.curves, name)
        self._compiled = compiled
        self._advance = compilation.compiled(advance_apart) if compiled else advance
        self._uniform = compilation.compiled(noise.uniform) if compiled else noise.uniform
        self._edges_of: dict[bytes, Edges] = {}
        first = world.table.start_utc[0].astype("datetime64[s]").astype(np.int64)
        self._row_of_hour = int(first % 3600 // round(world.table.dt_s))
        self._rows_per_hour = round(3600.0 / world.table.dt_s)
        self.seeds = np.zeros(num_envs, np.int64)
        self._episode = np.zeros(num_envs, np.int64)
        self._noise_seed = np.zeros(num_envs, np.int64)
        self.start_row = np.zeros(num_envs, np.int64)
        self.step_count = np.zeros(num_envs, np.int64)
        self._row_index = np.full(num_envs, -1, np.int64)
        self._phase = np.zeros(num_envs, np.int64)
        self._row_left = 0
        self._row: RowValues
        self._weather_key: bytes | None = None
        self._exog: Exogenous
        self._action_shape = (num_envs, world.action_size)
        self._action_low, self._action_high = np.asarray(-1.0), np.asarray(1.0)
        self._block: Array = np.zeros((0,))
        self._noise_block: Array = self._block
        self._block_at = 0
        self._carry: SiteCarry

    def _weather_columns(self) -> np.ndarray:
        """What the twin takes of the weather, by row, (T, 3)."""
        temp_amb_c, rel_humidity_pct, pressure_pa = (self.world.table.column(name) for name in WEATHER)
        wetbulb_c, density_ratio = weather_terms(temp_amb_c, rel_humidity_pct, pressure_pa, xp=NUMPY)
        return np.stack([temp_amb_c, wetbulb_c, density_ratio], axis=1)

    # ------------------------------------------------------------------ state

    @property
    def state(self) -> Any:
        """Physical state, as the twin has it (:class:`minesim.site.SiteState`)."""
        return self._batched(self._carry.state)

    @state.setter
    def state(self, value: Any) -> None:
        self._carry = self._carry._replace(state=without_batch_axis(value) if self._lone else value)

    @property
    def history(self) -> ControlHistory:
        """What the controller remembers of its own writes."""
        return self._batched(self._carry.history)

    @history.setter
    def history(self, value: ControlHistory) -> None:
        self._carry = self._carry._replace(history=without_batch_axis(value) if self._lone else value)

    @property
    def meter(self) -> MeterState:
        """The site's meter."""
        return self._batched(self._carry.meter)

    @meter.setter
    def meter(self, value: MeterState) -> None:
        self._carry = self._carry._replace(meter=without_batch_axis(value) if self._lone else value)

    @property
    def telemetry(self) -> Telemetry:
        """Latest good readings."""
        return self._batched(self._carry.telemetry)

    @telemetry.setter
    def telemetry(self, value: Telemetry) -> None:
        self._carry = self._carry._replace(telemetry=without_batch_axis(value) if self._lone else value)

    # ------------------------------------------------------------------ arrays

    def _constant(self, values: np.ndarray) -> Array:
        if self.xp is NUMPY:
            return values
        import torch

        return torch.as_tensor(values, device=self._like.device)

    def _of_sites(self, values: Array) -> Array:
        """Values with a leading axis (B, ...) as the step takes them."""
        return values[0] if self._lone else values

    def _batched(self, record: Record) -> Record:
        """What the step hands on as arrays with the axis of the batch."""
        batched: Record = with_batch_axis(record) if self._lone else record
        return batched

    def _integers(self, values: np.ndarray) -> Array:
        return self._constant(np.asarray(values, np.int64))

    def flags(self, values: np.ndarray) -> Array:
        return self._constant(values)

    def _state_array(self, values: np.ndarray) -> Array:
        return self.xp.asarray(values, like=self._like)

    # ------------------------------------------------------------------ episodes

    def seed(self, seeds: Sequence[int]) -> None:
        """Give every site its seed; episodes are counted from zero again."""
        self.seeds = np.asarray(seeds, np.int64)
        self._episode = np.zeros(self.num_envs, np.int64)

    def reset(self, mask: np.ndarray | None = None, options: Mapping[str, Any] | None = None) -> Array:
        """Begin new episodes where ``mask`` is true (everywhere when None).

        Options: ``start`` (UTC time or row, one or one per site), ``split`` (name or None), ``month_peak_frac``
        (demand peak carried in, share of rated power), ``running`` (1 or 0).

        Returns:
            Observations, (B, n).

        Raises:
            ScenarioError: a start whose horizon leaves the data, or an unknown split.
            ParamsError: an unknown option.
        """
        options = {} if options is None else options
        known = ("start", "split", "month_peak_frac", "running")
        for name in options:
            if name not in known:
                raise ParamsError(explain(f"reset option {name!r} is unknown", fix=nearest(str(name), known)))
        chosen = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        if not chosen.any():
            return self.observation()
        drawn = {int(b): self._draw(int(b), options) for b in np.flatnonzero(chosen)}
        for b, draw in drawn.items():
            self.start_row[b], self._noise_seed[b] = draw.start_row, draw.noise_seed
            self.step_count[b] = 0
            self._episode[b] += 1
        self._block_at = len(self._block)
        self._row_left = 0
        self._find_rows()
        shape = self.world.params.miners.board_present.shape
        leak, bias = np.ones((shape[0], self.num_envs, shape[1])), np.zeros((self.num_envs, shape[1]))
        for b, draw in drawn.items():
            leak[:, b], bias[b] = draw.silicon_leak, draw.power_bias
        if self._lone:
            leak, bias = leak[:, 0], bias[0]
        fresh = self._fresh(self._state_array(leak), self._state_array(bias), options)
        every = bool(chosen.all())
        if self._compiled or not every:
            # Arrays of their own, like those of a compiled step.
            fresh = state_where(self.flags(chosen), fresh, fresh if every else self._carry)
        self._carry = fresh
        return self.observation()

    def _draw(self, b: int, options: Mapping[str, Any]) -> EpisodeDraw:
        rng = np.random.default_rng([int(self.seeds[b]) & 0xFFFFFFFFFFFFFFFF, int(self._episode[b])])
        start = options.get("start")
        if isinstance(start, (list, tuple, np.ndarray)) and np.ndim(start) > 0:
            if len(start) != self.num_envs:
                raise ParamsError(explain(f"{len(start)} starts for {self.num_envs} sites", allowed="one for each"))
            start = start[b]
        return draw_episode(self.world, rng, start, options.get("split", self.world.config.split))

    def _fresh(self, leak: Array, bias: Array, options: Mapping[str, Any]) -> SiteCarry:
        xp = self.xp
        running = float(options.get("running", 1.0))
        row = self._of_sites(self._settle[self._integers(self.start_row)]).T
        ones = xp.ones_like(bias)
        preset = self.curves.preset_last * ones
        command = FirmwareCommand(run=ones * running, preset=preset, throttle=ones)
        earlier = round(300.0 / self.world.config.dt_ctrl_s) - 1
        local_day = row[self._columns["local_day"]]
        power_w = command_power_w(command, self.curves, xp=xp)
        history = ControlHistory(
            command=command,
            command_w=power_w,
            since_up_s=LONG_AGO_S * ones,
            since_write_s=LONG_AGO_S * ones,
            stops_today=0.0 * ones,
            up_window_w=xp.broadcast(0.0 * ones[..., :1], (*ones.shape[:-1], max(earlier, 0))),
            local_day=local_day,
        )
        site_w = xp.sum(self.curves.count * power_w, axis=-1)
        power_kw = xp.cast(site_w, row) * 1e-3
        rated_kw = self.world.params.curves.power_rated_site_w * 1e-3
        # A site that ran before has its month's peak behind it; in the first day of a month nothing is booked yet.
        first_day = row[self._columns["month_fraction"]] < 1.0 / 31.0
        default_kw = xp.where(first_day, 0.0, self._peak_before_kw * running + 0.0 * power_kw)
        given = options.get("month_peak_frac")
        peak_kw = default_kw if given is None else default_kw * 0.0 + float(given) * rated_kw
        meter = initial_meter(power_kw, peak_kw, row[self._columns["billing_month"]], xp=xp)
        state, telemetry = self._begin(running, command, power_w, leak, bias, row)
        return SiteCarry(state, history, meter, telemetry, site_w)

    def _begin(
        self, running: float, command: FirmwareCommand, power_w: Array, leak: Array, bias: Array, row: Array
    ) -> tuple[Any, Telemetry]:
        """The twin at the start of an episode, and its first readings.

        Args:
            running: 1 for a running site, 0 for a standing one.
            command: in force, (B, M).
            power_w: of one miner under it, W, (B, M).
            leak, bias: see :func:`minesim.site.initial_state`.
            row: settlement columns of the present row, (columns, B).
        """
        xp = self.xp
        amb = xp.cast(row[self._columns["temp_amb_c"]], self._like)
        state = initial_state(self.site, amb, leak, bias, running=running, preset=command.preset)
        board_c = xp.round(xp.max(state.temp_sink_c, axis=0))
        telemetry = Telemetry(
            hashrate_ths=self.curves.hashrate_rated_ths * command.run,
            power_w=power_w,
            temp_chip_c=board_c + self.site.params.firmware.chip_offset_k,
            temp_board_c=board_c,
            fan_duty=xp.exp(state.log_duty),
            hashing=command.run,
            age_s=0.0 * command.run,
            power_site_w=xp.sum(self.curves.count * power_w, axis=-1),
            temp_intake_c=amb,
        )
        return state, telemetry

    # ------------------------------------------------------------------ coming back, and branching

    def snapshot(self) -> CoreSnapshot:
        """Where every site is now; later steps and resets leave it as it is."""
        return CoreSnapshot(
            seeds=self.seeds.copy(),
            episode=self._episode.copy(),
            noise_seed=self._noise_seed.copy(),
            start_row=self.start_row.copy(),
            step_count=self.step_count.copy(),
            carry=self._batched(self._carry),
        )

    def restore(self, snapshot: CoreSnapshot) -> Array:
        """Go on from a snapshot of this core or of one of an equal world.

        Returns:
            Observations, (B, n).

        Raises:
            ParamsError: the snapshot has another number of sites.
        """
        if snapshot.num_envs != self.num_envs:
            raise ParamsError(
                explain(f"a snapshot of {snapshot.num_envs} sites for a core of {self.num_envs}", allowed="as many")
            )
        counters = (part.copy() for part in snapshot[:-1])
        self.seeds, self._episode, self._noise_seed, self.start_row, self.step_count = counters
        self._carry = without_batch_axis(snapshot.carry) if self._lone else snapshot.carry
        self._block_at = len(self._block)
        self._row_index = np.full(self.num_envs, -1, np.int64)
        self._row_left = 0
        self._find_rows()
        return self.observation()

    def branch(self, rows: Sequence[int] | np.ndarray) -> SiteCore:
        """A new core whose sites go on from where the sites ``rows`` of this one are, on the same draws."""
        other = type(self)(self.world, len(rows), self._like, compiled=self._compiled)
        other.restore(self.snapshot().rows(np.asarray(rows, np.int64)))
        return other

    # ------------------------------------------------------------------ stepping

    def _draws_now(self) -> tuple[Array, Array]:
        """Uniform draws (B, 3 M) and noise of the hashrate readings (B, M) of this step.

        Small batches draw many steps at once.
        """
        if self._block_at >= len(self._block):
            size = BLOCK_SIZE_COMPILED if self._compiled else BLOCK_SIZE
            steps = max(1, size // (self.num_envs * self._draws.shape[0]))
            ahead = self._integers(np.arange(steps)[:, None, None] + self.step_count[:, None])
            seeds = self._integers(self._noise_seed)[:, None]
            self._block = self.xp.cast(self._uniform(seeds, ahead, self._draws), self._like)
            if self._lone:
                self._block = self._block[:, 0]
            cohorts = self.world.cohorts
            self._noise_block = hashrate_noise(self._block[..., cohorts : 2 * cohorts])
            self._block_at = 0
        at = self._block_at
        self._block_at += 1
        return self._block[at], self._noise_block[at]

    def row_now(self) -> np.ndarray:
        """Settlement row of the coming step, (B,)."""
        return self.start_row + self.step_count // self.world.steps_per_row

    def _find_rows(self) -> None:
        """Look up where in the traces the coming step lies; most steps of a small batch stay in their row."""
        if self._row_left > 0:
            self._row_left -= 1
            self._phase = self._phase + 1
            return
        rows_done, self._phase = np.divmod(self.step_count, self.world.steps_per_row)
        self._row_left = self.world.steps_per_row - 1 - int(self._phase.max())
        row_index = self.start_row + rows_done
        if row_index.tobytes() == self._row_index.tobytes():
            return
        self._row_index = row_index
        rows = int(row_index[0]) if self._lone else self._integers(row_index)
        row = self._at_rows(self._settle, rows).T
        if self._compiled:
            row = row.contiguous()  # columns laid out like the state
        column = self._columns
        self._row = RowValues(
            settled=SettlementRow(*(row[column[name]] for name in SETTLED)),
            local_day=row[column["local_day"]],
            temp_amb_c=row[column["temp_amb_c"]],
            carbon_g_per_kwh=row[column["carbon_g_per_kwh"]],
            market=self._at_rows(self._market, rows),
            exog=self._exogenous(self._at_rows(self._weather, rows).T),
        )

    def _at_rows(self, table: Array, rows: Array | int) -> Array:
        """Rows of a table, (B, n), or one row (n,) of a lone site."""
        return table[rows] if self._lone else self.xp.rows(table, rows)

    def _exogenous(self, weather: Array) -> Any:
        """Weather, (3, B) or (3,), and what the site makes of it; it often stays over many rows."""
        amb_c, wetbulb_c, density_ratio = weather
        exog = Exogenous(amb_c, wetbulb_c, density_ratio, self._ages)
        if self._compiled:
            return exog
        key = weather.tobytes() if self._lone else None
        if key is None or key != self._weather_key:
            self._weather_key = key
            self._exog = replace(exog, terms=weather_of_site(exog, self.site))
        return self._exog

    def _edges(self) -> Edges:
        """What the phases of the present step mean; patterns come back, so the latest are kept."""
        key = self._phase.tobytes()
        found = self._edges_of.get(key)
        if found is None:
            phase, last = self._phase, self.world.steps_per_row - 1
            elapsed_s = phase * self.world.config.dt_ctrl_s
            found = Edges(
                opens=self._of_sites(self._constant(1.0 * (phase == 0))),
                closes=self._of_sites(self._constant(1.0 * (phase == last))),
                kw_per_kwh=self._of_sites(self._constant(observe.interval_kw_per_kwh(elapsed_s, xp=NUMPY))),
            )
            if len(self._edges_of) >= EDGES_KEPT:
                self._edges_of.clear()
            self._edges_of[key] = found
        return found

    def observation(self) -> Array:
        """What every site reports now, (B, n)."""
        carry = self._carry
        seen = observe.observe(
            carry.telemetry,
            carry.history,
            carry.meter,
            self._row.market,
            self._edges().kw_per_kwh,
            self._fixed.encoding,
            xp=self.xp,
        )
        return seen[None] if self._lone else seen

    def step(self, action: Array) -> StepResult:
        """Advance all sites by one control step.

        Args:
            action: (B, n_act) in [-1, 1].

        Raises:
            ActionError: misshaped, or not numbers.
        """
        observation, reward, cost, info = self._step(self._of_sites(self._checked(action)))
        if self._lone:
            observation, reward, cost = observation[None], np.array([reward]), np.array([cost])
            info = {name: np.array([value]) for name, value in info.items()}
        return StepResult(observation, reward, cost, self.step_count >= self.world.horizon_steps, info)

    def step_one(self, action: np.ndarray) -> tuple[Array, Array, bool, dict[str, Array]]:
        """:meth:`step` for one site in numpy without the axis of the batch: observation, reward, truncated, info."""
        observation, reward, _, info = self._step(self._checked(action[None])[0])
        return observation, reward, bool(self.step_count[0] >= self.world.horizon_steps), info

    def _step(self, action: Array) -> tuple[Array, Array, Array, dict[str, Array]]:
        row, edges, hour_opens = self._row, self._edges(), None
        if self.world.scenario.tariff.reserve is not None:
            opens = (self._phase == 0) & ((self._row_index + self._row_of_hour) % self._rows_per_hour == 0)
            hour_opens = self._of_sites(self._constant(1.0 * opens))
        u, noise_factor = self._draws_now()
        self.step_count = self.step_count + 1
        self._find_rows()
        inputs = StepInputs(action, u, noise_factor, row, edges, hour_opens, self._row.market, self._edges().kw_per_kwh)
        self._carry, observation, reward, cost, info = self._advance(self._carry, inputs, self._fixed)
        return observation, reward, cost, info

    def _checked(self, action: Array) -> Array:
        shape = self._action_shape
        if self.xp is NUMPY:
            action = np.asarray(action, np.float64)
            if action.shape != shape:
                raise ActionError(explain(f"the action has shape {action.shape}", allowed=f"{shape}"))
            # The sum of squares is finite if every entry is of sane size, and quicker to look at.
            if not math.isfinite(np.vdot(action, action)) and not np.isfinite(action).all():
                raise ActionError(
                    explain(f"the action has {int((~np.isfinite(action)).sum())} entries that are not numbers")
                )
            return self.xp.clip(action, self._action_low, self._action_high)
        if tuple(action.shape) != shape:
            raise ActionError(explain(f"the action has shape {tuple(action.shape)}", allowed=f"{shape}"))
        if action.device.type == "cpu" and not bool(self.xp.isfinite(action).all()):
            raise ActionError(explain("the action has entries that are not numbers", allowed="finite, -1 to 1"))
        return self.xp.clip(action.to(self._like.dtype), -1.0, 1.0)


@dataclass(frozen=True)
class EpisodeDraw:
    """What one episode draws once."""

    start_row: int
    noise_seed: int
    silicon_leak: np.ndarray
    power_bias: np.ndarray


def draw_episode(world: World, rng: np.random.Generator, start: Any, split: str | None) -> EpisodeDraw:
    """Draw start, silicon and sensor errors of an episode.

    Args:
        world: compiled traces and site.
        rng: generator of this seed and episode.
        start: UTC time or row; None draws a whole hour inside the split.
        split: name of a period, None for all rows.

    Raises:
        ScenarioError: the horizon leaves the data or the split.
    """
    table, rows = world.table, world.horizon_rows
    per_hour = round(3600.0 / table.dt_s)
    period = slice(0, table.size) if split is None else table.rows_of_split(split)
    latest = (min(period.stop, table.size) - rows - period.start) // per_hour
    offset = int(rng.integers(0, max(latest, 0) + 1)) * per_hour
    if start is None:
        if latest < 0:
            raise ScenarioError(
                explain(
                    f"an episode of {world.config.episode_days:g} days does not fit into split {split!r}",
                    allowed=f"at most {(period.stop - period.start) * table.dt_s / 86400.0:.1f} days",
                    origin=f"scenario {world.scenario.name!r}",
                    fix="Shorten episode_days or choose another split or scenario.",
                )
            )
        row = period.start + offset
    else:
        row = int(start) if isinstance(start, (int, np.integer)) else table.row_of(start)
    table.horizon(row, rows)
    shape = world.params.miners.board_present.shape
    level = world.difficulty
    return EpisodeDraw(
        start_row=row,
        noise_seed=int(rng.integers(0, 2**32)),
        silicon_leak=np.exp(level.silicon_sd * rng.standard_normal(shape) - 0.5 * level.silicon_sd**2),
        power_bias=level.power_bias * rng.uniform(-1.0, 1.0, shape[1]),
    )
