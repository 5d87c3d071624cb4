"""The bridge's loop: poll, settle, decide, plan, then nothing (shadow), ask a person (advise) or write (auto).

:class:`Bridge` holds no rule of its own: what may be done is decided by :mod:`minesim.bridge.deciding.decide` and its
guard, what is missing by :mod:`minesim.bridge.writing.plan`, how it is written by
:mod:`minesim.bridge.writing.actuator`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, cast

import numpy as np

from minesim.bridge.clock import Clock
from minesim.bridge.deciding.decide import Decider, Decision, Pass
from minesim.bridge.deciding.guard import AGE_MAX_S, Why
from minesim.bridge.deciding.readings import MinerNow, SiteNow
from minesim.bridge.feeds import series_rule
from minesim.bridge.miners.fleet import Member
from minesim.bridge.miners.miner import Identity, SetPower, SetPreset, SetThrottle, State, Write
from minesim.bridge.miners.poller import Lap, Poller
from minesim.bridge.miners.preflight import Finding, Severity, preflight
from minesim.bridge.miners.vnish_writes import TOP_PRESET
from minesim.bridge.rollouts.rollout import Condition, Effect, conditions_of
from minesim.bridge.rollouts.trial import GO_ANEW, GO_BACK, Move, Seen, Trial
from minesim.bridge.telling.alerts import Alert
from minesim.bridge.telling.metrics import Metrics
from minesim.bridge.telling.outcomes import HORIZONS_S, Market, Track, Values, as_document
from minesim.bridge.telling.snapshot import ActionView, FeedView, MinerView, PolicyView, Snapshot
from minesim.bridge.writing.actuator import Actuator, Order, Planner, Result
from minesim.bridge.writing.journal import WHOLE_SITE, Journal
from minesim.bridge.writing.journal_records import Approval, ApprovalState
from minesim.bridge.writing.journal_store import JournalError
from minesim.bridge.writing.owned import is_halt
from minesim.bridge.writing.plan import Plan

LOG = logging.getLogger(__name__)
MEMORY_KEY: Final = "decider"
IDENTITIES_KEY: Final = "identities"
DECISION_KEY: Final = "decision"
LAST_INTENT_KEY: Final = "last_intent"
ROLLOUT_KEY: Final = "rollout"
BLOCKED_AGAIN_S: Final = 600.0
"""A miner that must not be written to is looked at again after this, s (assumed): somebody may have put it right."""
MESSAGES_KEPT: Final = 50
AGE_SHOWN_S: Final = 32 * 86400.0
"""A series that may be older than any is shown with this limit."""


class Mode(enum.StrEnum):
    """What the bridge may do: watch only, propose to a person, or act."""

    SHADOW = "shadow"
    ADVISE = "advise"
    AUTO = "auto"


@dataclass(frozen=True)
class LoopSettings:
    """How the loop runs; all assumed.

    Attributes:
        site: name of the site.
        mode: what it may do.
        poll_s: time between the beginnings of two cycles; telemetry counts as stale after 60 s.
        feeds_s: time between two looks at the feeds.
        proposal_s: how long a proposal waits for a person.
    """

    site: str
    mode: Mode = Mode.SHADOW
    poll_s: float = 20.0
    feeds_s: float = 60.0
    proposal_s: float = 900.0


class Bridge:
    """One site's bridge.

    Args:
        settings: how it runs.
        poller: asks the miners.
        decider: decides, with its feeds and the fleet.
        journal: open for writing.
        writer: an :class:`Actuator` in advise and auto mode; a plain :class:`Planner` in shadow mode, which has no way
            to a miner.
        clock: tells the time.
        policy: name, version and expiry of the policy in force.
        meter: reads the site's own instruments.
        metrics: counters to raise; none by default.
        on_snapshot: told of the snapshot of every cycle.
        trial: a rollout of the decider's candidate; none by default.
        alerts: what is wrong now, for the rollout.
        on_alert: told of every move of the rollout.
    """

    def __init__(
        self,
        settings: LoopSettings,
        poller: Poller,
        decider: Decider,
        journal: Journal,
        writer: Planner,
        clock: Clock,
        policy: PolicyView,
        *,
        meter: Callable[[], Awaitable[SiteNow]] | None = None,
        metrics: Metrics | None = None,
        on_snapshot: Callable[[Snapshot], None] = lambda snapshot: None,
        trial: Trial | None = None,
        alerts: Callable[[], Sequence[Alert]] = tuple,
        on_alert: Callable[[Alert], None] = lambda alert: None,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self._poller = poller
        self._decider = decider
        self._journal = journal
        self._writer = writer
        self._clock = clock
        self._meter = meter
        self._metrics = metrics or Metrics()
        self._on_snapshot = on_snapshot
        self._cycle = journal.last_cycle()
        self._feeds_at_s: float | None = None
        self._messages: list[str] = []
        self._identities: dict[str, dict[str, Any]] = {}
        self._cohort_of = {member.address: member.cohort for member in decider.members}
        self._strangers: dict[str, Identity] = {}
        self._preset_w: dict[str, dict[str, float]] = {}
        self._decision: Any = None
        self._track = Track()
        self._market: Market | None = None
        self._blocked: dict[str, tuple[Finding, ...]] = {}
        self._why: dict[str, Why] = {}
        self._heard = 0
        self._trial, self._alerts, self._on_alert = trial, alerts, on_alert
        self._candidates: frozenset[str] = frozenset()
        self._words: list[tuple[int, str, str]] = []
        self._kept_rollout: Any = None

    # ------------------------------------------------------------------ beginning and end

    async def start(self) -> None:
        """Take up what an earlier run left: memory, identities, and writes whose outcome is not known.

        Raises:
            JournalError: the journal cannot be read or written.
        """
        documents = self._journal.recall()
        if MEMORY_KEY in documents:
            self._decider.recall(documents[MEMORY_KEY])
        self._note_unremembered(documents)
        self._identities = dict(documents.get(IDENTITIES_KEY, {}))
        self._decision = documents.get(DECISION_KEY)
        now_s = self._clock.now_s()
        detail = {"mode": self.settings.mode, "policy": asdict(self.policy)}
        self._journal.note("start", at_s=now_s, policy=self._label, detail=detail)
        self._heard = self._journal.last_audit()
        self._kept_rollout = documents.get(ROLLOUT_KEY)
        if self._trial is not None:
            self._start_trial(self._trial, now_s)
        if isinstance(self._writer, Actuator):
            left = await self._writer.recover()
            if left:
                self._say(f"{len(left)} writes of an earlier run are not settled yet; their miners are left alone.")

    def _note_unremembered(self, documents: Mapping[str, Any]) -> None:
        """Tell the decider of writes of a cycle that did not come to its end."""
        if MEMORY_KEY in documents and LAST_INTENT_KEY not in documents:
            return
        lost = self._journal.intents_after(documents.get(LAST_INTENT_KEY, 0))
        first = {intent.miner: self._journal.first_values(intent.miner).get(TOP_PRESET) for intent in lost}
        self._decider.note_unremembered([(one.miner, one.at_s, one.write) for one in lost if not one.refused], first)

    async def run(self, stop: asyncio.Event) -> None:
        """Run cycles until ``stop`` is set.

        A cycle that takes longer than ``poll_s`` is followed by the next at once, and the lag is told.
        """
        while not stop.is_set():
            began_s = self._clock.monotonic_s()
            await self.cycle()
            left_s = self.settings.poll_s - (self._clock.monotonic_s() - began_s)
            if left_s < 0.0:
                took_s = self.settings.poll_s - left_s
                self._say(f"A cycle took {took_s:.0f} s, longer than {self.settings.poll_s:g} s.")
                continue
            waiting = asyncio.ensure_future(self._clock.sleep(left_s))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            stopping.cancel()

    # ------------------------------------------------------------------ a cycle

    async def cycle(self) -> Snapshot:
        """Make one cycle.

        A journal that cannot be written stops all writes of the cycle; what was not journaled is not sent.
        """
        began_s = self._clock.monotonic_s()
        site = SiteNow() if self._meter is None else await self._meter()
        if self._feeds_at_s is None or began_s - self._feeds_at_s >= self.settings.feeds_s:
            self._feeds_at_s = began_s
            await self._decider.book.refresh(self._clock.now_s())
        lap = self._known_only(await self._poller.lap())
        passed: Pass | None = None
        plans: dict[str, Plan] = {}
        results: tuple[Result, ...] = ()
        try:
            self._take_releases(lap)
            self._preflight(lap)
            self._writer.settle(lap.answers)
            passed = self._pass(lap, site)
            plans = self._writer.plan(passed.desired, lap.answers)
            if passed.decision is not None:
                self._cycle += 1
                self._why, self._decision = passed.why, asdict(passed.decision)
                self._expect(passed.decision)
            results = await self._act(passed, plans)
            self._measure(passed, lap)
            if self._trial is not None:
                self._advance(self._trial, passed)
            documents = {
                MEMORY_KEY: self._decider.to_json(),
                IDENTITIES_KEY: self._identities,
                DECISION_KEY: self._decision,
                LAST_INTENT_KEY: self._journal.last_intent(),
            }
            if self._kept_rollout is not None:
                documents[ROLLOUT_KEY] = self._kept_rollout
            self._journal.remember(documents, cycle=self._cycle, at_s=self._clock.now_s())
        except JournalError as error:
            self._metrics.count_journal_error()
            self._say(f"The journal failed, so nothing is written to miners: {error}")
            passed = passed or self._pass(lap, site)
        for result in results:
            if result.intent is not None and result.state is not None:
                self._metrics.count_write(_kind(result.write), result.state.value)
        snapshot = self._snapshot(passed, lap, plans, site)
        self._metrics.observe_cycle(self._clock.monotonic_s() - began_s)
        self._metrics.publish(snapshot)
        self._on_snapshot(snapshot)
        return snapshot

    @property
    def _label(self) -> str:
        return f"{self.policy.name} {self.policy.version}".strip()

    def _label_of(self, name: str) -> str:
        """Name and version of the policy that a miner runs."""
        return self._label if self._trial is None or name not in self._candidates else self._trial.state.candidate

    def _known_only(self, lap: Lap) -> Lap:
        """The lap without answers of machines that are not those of before at their address."""
        for name, identity in lap.identities.items():
            told = _who(identity)
            known = self._identities.setdefault(name, told)
            if known == told or not any(known.values()):
                self._strangers.pop(name, None)
            elif self._strangers.get(name) != identity:
                self._strangers[name] = identity
                self._say(f"Another machine answers at {name} ({_title(identity)}); it is left alone until released.")
        if not self._strangers:
            return lap
        mine = {name: answers for name, answers in lap.answers.items() if name not in self._strangers}
        latest = {name: answers for name, answers in lap.latest.items() if name not in self._strangers}
        facts = {name: facts for name, facts in lap.facts.items() if name not in self._strangers}
        return replace(lap, answers=mine, latest=latest, facts=facts)

    def _take_releases(self, lap: Lap) -> None:
        """Take what people released: a machine that replaced another is accepted, and begins without a past."""
        now_s = self._clock.now_s()
        entries = self._journal.audit_after(self._heard)
        self._heard = entries[-1].id if entries else self._heard
        released = {entry.miner for entry in entries if entry.action == "resume" and entry.miner is not None}
        for name in released & self._strangers.keys():
            self._identities[name] = _who(self._strangers.pop(name))
            self._journal.forget(name, at_s=now_s, reason="another machine was accepted at this address")
        for name in released & self._cohort_of.keys():
            self._poller.forget_facts(name)
        latest = {name: lap.latest[name].configuration.switcher.top_preset for name in released & lap.latest.keys()}
        self._decider.release(name for name, top in latest.items() if not self._is_own_ceiling(name, top))
        self._words += [(one.id, one.action, one.reason) for one in entries if one.action in (GO_BACK, GO_ANEW)]

    def _is_own_ceiling(self, name: str, top_preset: str | None) -> bool:
        """Whether a miner's top preset is what the bridge last moved it to, and so is nobody's wish."""
        # By number: after the clock was set back, the latest by time is not the last.
        intents = sorted(self._journal.intents(name), key=lambda intent: intent.id, reverse=True)
        writes = (intent.write for intent in intents if not intent.refused)
        last = next((write for write in writes if isinstance(write, SetPreset)), None)
        return last is not None and last.top_preset is not None and last.top_preset == top_preset

    def _preflight(self, lap: Lap) -> None:
        """Before it may act, look whether each miner has a net of its own and can do without the bridge."""
        for name, facts in lap.facts.items():
            if self.settings.mode is Mode.SHADOW or name in self._strangers:
                continue
            spec = self._decider.cohorts[self._cohort_of[name]]
            found = preflight(
                name, spec, lap.identities[name], facts, lap.fields.get(name, {}), self._decider.settings.limits
            )
            before = self._blocked.get(name, ())
            self._blocked[name] = tuple(one for one in found if one.severity is Severity.BLOCKING)
            if self._blocked[name]:
                self._poller.forget_facts(name, BLOCKED_AGAIN_S)
            if self._blocked[name] and self._blocked[name] != before:
                self._say(f"{name} is left alone: " + " ".join(one.sentence for one in self._blocked[name]))

    def _pass(self, lap: Lap, site: SiteNow) -> Pass:
        if lap.facts:
            self._decider.learn(lap.facts)
            for name, facts in lap.facts.items():
                self._preset_w[name] = {preset.name: preset.power_w for preset in facts.presets}
        opened = {intent.miner for intent in self._journal.open_intents()}
        pauses = self._journal.pauses()
        now = {}
        for name, answers in lap.latest.items():
            owned = self._journal.owned(name)
            now[name] = MinerNow(
                reading=answers.reading,
                configuration=answers.configuration,
                pending=name in opened,
                by_hand=owned.held is not None or bool(self._blocked.get(name)) or name in pauses,
                halted_by=owned.halted_by,
            )
        now_s = self._clock.now_s()
        if self._trial is not None:
            self._candidates = self._trial.candidates(self._cohort_of, now_s)
        return self._decider.step(now_s, self._clock.monotonic_s(), now, site, self._candidates)

    async def _act(self, passed: Pass, plans: Mapping[str, Plan]) -> tuple[Result, ...]:
        """Do what the mode allows with the plans."""
        wanted = {name: plan for name, plan in plans.items() if plan.writes and not self._blocked.get(name)}
        if not isinstance(self._writer, Actuator):
            return ()
        now_s = self._clock.now_s()
        if self.settings.mode is Mode.ADVISE:
            for name, plan in wanted.items():
                self._journal.propose(
                    name,
                    plan.writes,
                    reasons=self._reasons(passed, name),
                    explanation=_explanation(passed, name),
                    cycle=self._cycle,
                    policy=self._label_of(name),
                    at_s=now_s,
                    expires_at_s=now_s + self.settings.proposal_s,
                )
            approved = self._journal.take_approved(now_s)
            orders = [Order(a.miner, a.writes, a.reasons) for a in approved if self._still_wanted(a, wanted)]
        else:
            orders = [Order(name, plan.writes, self._reasons(passed, name)) for name, plan in wanted.items()]
        results: tuple[Result, ...] = ()
        for label in sorted({self._label_of(order.miner) for order in orders}):
            mine = [order for order in orders if self._label_of(order.miner) == label]
            results += await self._writer.apply(mine, cycle=self._cycle, policy=label)
        sent = [self._journal.intent(result.intent) for result in results if result.intent is not None]
        halted = {intent.miner for intent in sent if is_halt(intent.write) and not intent.refused}
        self._decider.note_sent({intent.miner for intent in sent}, halted)
        return results

    def _still_wanted(self, approval: Approval, wanted: Mapping[str, Plan]) -> bool:
        """Whether an approved proposal is what the guard allows now; what has changed is proposed anew."""
        plan = wanted.get(approval.miner)
        if plan is not None and plan.writes == approval.writes:
            return True
        self._say(f"Proposal {approval.id} for {approval.miner} was approved, but is not what is allowed now.")
        return False

    def _reasons(self, passed: Pass, name: str) -> tuple[str, ...]:
        why = passed.why.get(name, Why.NONE)
        told = () if why is Why.NONE else (why.sentence,)
        return (*told, *passed.trouble) or (f"Policy {self._label_of(name)}.",)

    # ------------------------------------------------------------------ prediction and outcome

    def _expect(self, decision: Decision) -> None:
        predicted = Values(
            decision.expected_power_w, decision.expected_hashrate_ths, decision.expected_profit_usd_per_h
        )
        self._track.predict(decision.at_s, predicted)
        revenue, price = (
            cast(float, decision.observation[name])
            for name in ("hash_revenue_usd_per_ths_day", "price_last_usd_per_mwh")
        )
        paid = float(np.mean(self._decider.fleet.curves.net_revenue_factor))
        self._market = Market(revenue * paid / 24.0, price)
        self._journal.expect("site", asdict(predicted), cycle=self._cycle, at_s=decision.at_s, horizons_s=HORIZONS_S)

    def _measure(self, passed: Pass, lap: Lap) -> None:
        """Take the present measurements, and tell the horizons that are over."""
        now_s = self._clock.now_s()
        hashrate_ths = sum(answers.reading.hashrate_ths or 0.0 for answers in lap.answers.values())
        if self._market is not None:
            profit_usd_per_h = self._market.profit_usd_per_h(hashrate_ths, passed.power_w)
            self._track.measure(now_s, Values(passed.power_w, hashrate_ths, profit_usd_per_h))
        due = self._journal.outcomes_due(now_s)
        if due:
            found = {row.id: as_document(self._track.outcome(row.at_s, row.horizon_s)) for row in due}
            self._journal.measured(found, now_s)

    # ------------------------------------------------------------------ the rollout

    def _start_trial(self, trial: Trial, now_s: float) -> None:
        state, moves = trial.start(
            self._kept_rollout, self._label, self._models, now_s, self._local_day(now_s), self._heard
        )
        self._tell_moves(moves, now_s)
        trial.take(state)
        self._kept_rollout = trial.to_json()
        said = self._journal.audit_after(state.heard)
        self._words = [(one.id, one.action, one.reason) for one in said if one.action in (GO_BACK, GO_ANEW)]

    def _advance(self, trial: Trial, passed: Pass) -> None:
        """Book the cycle, and let the rollout move; a move is journaled before it is taken over."""
        now_s = self._clock.now_s()
        conditions = conditions_of(self._alerts(), self._candidates, len(self._decider.members))
        if passed.candidate_error:
            conditions.append(Condition(Effect.ROLL_BACK, passed.candidate_error))
        seen = self._seen(passed, now_s)
        state, moves = trial.after(seen, self._market, conditions, self._words, now_s, self._local_day(now_s))
        self._tell_moves(moves, now_s)
        trial.take(state)
        self._words = []
        self._kept_rollout = trial.to_json()

    def _seen(self, passed: Pass, now_s: float) -> list[Seen]:
        """Each miner for the ledger; silent where it does not answer, or neither policy ruled it."""
        pauses, held = self._journal.pauses(), self._journal.held()
        ruled = self.settings.mode is Mode.AUTO and not passed.trouble and WHOLE_SITE not in pauses
        curves, found = self._decider.fleet.curves, []
        for index, member in enumerate(self._decider.members):
            name, record = member.address, self._decider.memory.miners.get(member.address)
            one = Seen(
                name,
                self._decider.cohorts[member.cohort].model,
                float(curves.power_rated_w[index]),
                float(curves.hashrate_rated_ths[index]),
            )
            left_alone = name in pauses or name in held or name in self._strangers or bool(self._blocked.get(name))
            if ruled and not left_alone and record is not None and record.seen and now_s - record.known_s <= AGE_MAX_S:
                one = replace(
                    one,
                    power_w=record.power_w,
                    hashrate_ths=record.hashrate_ths,
                    temp_chip_c=record.temp_chip_c if math.isfinite(record.temp_chip_c) else None,
                    hashing=record.hashing > 0.0,
                    stands_as_told=record.target is not None and not record.target.run,
                )
            found.append(one)
        return found

    def _tell_moves(self, moves: Iterable[Move], now_s: float) -> None:
        for move in moves:
            self._journal.note(move.action, at_s=now_s, policy=self._label, reason=move.text)
            self._say(move.text)
            self._on_alert(move.alert)

    def _local_day(self, now_s: float) -> float:
        return self._decider.book.calendar(now_s)["local_day"]

    @property
    def _models(self) -> dict[str, str]:
        return {member.address: self._decider.cohorts[member.cohort].model for member in self._decider.members}

    # ------------------------------------------------------------------ what is told

    def _say(self, message: str) -> None:
        LOG.info("%s", message)
        self._messages = [*self._messages, message][-MESSAGES_KEPT:]

    def _snapshot(self, passed: Pass, lap: Lap, plans: Mapping[str, Plan], site: SiteNow) -> Snapshot:
        now_s, decider = self._clock.now_s(), self._decider
        pauses = self._journal.pauses()
        miners = [
            self._miner_view(
                member, lap, passed, now_s, paused=not pauses.keys().isdisjoint({WHOLE_SITE, member.address})
            )
            for member in decider.members
        ]
        return Snapshot(
            at_s=now_s,
            site=self.settings.site,
            mode=self.settings.mode.value,
            paused=WHOLE_SITE in pauses,
            miners=tuple(miners),
            power_w=site.fresh_power_w(now_s),
            cap_w=decider.settings.cap_w if math.isfinite(decider.settings.cap_w) else None,
            feeds=tuple(_feed_views(decider, now_s)),
            policy=self.policy,
            actions=tuple(self._actions(plans, passed)),
            rollout="" if self._trial is None else self._trial.summary,
            messages=(*self._messages, *passed.trouble)[-MESSAGES_KEPT:],
        )

    def _miner_view(self, member: Member, lap: Lap, passed: Pass, now_s: float, *, paused: bool) -> MinerView:
        name = member.address
        # What limited the last decision goes on until the next.
        why = max(passed.why.get(name, Why.NONE), self._why.get(name, Why.NONE))
        answers, record = lap.latest.get(name), self._decider.memory.miners.get(name)
        target = None if record is None else record.target
        view = MinerView(
            name=name,
            model=self._decider.cohorts[member.cohort].model,
            group=member.group,
            state=State.UNKNOWN.value,
            commanded_power_w=None if target is None else target.power_w,
            holds=(*(("paused",) if paused else ()), *(() if why is Why.NONE else (why.name.lower(),))),
            wave="" if self._trial is None else self._trial.wave(name),
        )
        if answers is None:
            return view
        reading = answers.reading
        return replace(
            view,
            state=reading.state.value,
            age_s=max(now_s - reading.at_s, 0.0),
            hashrate_ths=reading.hashrate_ths,
            power_w=reading.power_w,
            temp_chip_c=reading.temp_chip_c,
            temp_board_c=reading.temp_board_c,
            preset_power_w=self._preset_w.get(name, {}).get(reading.preset or ""),
            throttle=reading.throttle,
        )

    def _actions(self, plans: Mapping[str, Plan], passed: Pass) -> Sequence[ActionView]:
        found = [
            ActionView(intent.miner, in_words(intent.write), "pending", intent.at_s, "; ".join(intent.reasons))
            for intent in self._journal.open_intents()
        ]
        found += [
            ActionView(
                approval.miner,
                ", ".join(in_words(write) for write in approval.writes),
                "awaiting approval",
                approval.at_s,
                "; ".join(approval.reasons),
            )
            for approval in self._journal.approvals(ApprovalState.PROPOSED)
        ]
        now_s = self._clock.now_s()
        for name, plan in plans.items():
            if plan.notes:
                told = "; ".join(note.sentence for note in plan.notes)
                found.append(ActionView(name, "nothing", "blocked", now_s, told))
            elif plan.writes and self.settings.mode is Mode.SHADOW:
                told = "Shadow mode writes nothing. " + "; ".join(self._reasons(passed, name))
                found.append(ActionView(name, ", ".join(map(in_words, plan.writes)), "blocked", now_s, told))
        return sorted(found, key=lambda action: action.since_s)


def _who(identity: Identity) -> dict[str, Any]:
    return {"serial": identity.serial, "mac": identity.mac}


def _explanation(passed: Pass, name: str) -> object:
    decision = passed.decision
    if decision is None:
        return {"trouble": list(passed.trouble)}
    mine = next((asdict(miner) for miner in decision.miners if miner.address == name), None)
    return {"observation": decision.observation, "action": decision.action, "miner": mine}


def _kind(write: Write) -> str:
    return type(write).__name__.removeprefix("Set").lower()


def in_words(write: Write) -> str:
    """A write for people.

    >>> in_words(SetThrottle(0.8))
    'throttle 80 %'
    """
    match write:
        case SetPreset(name):
            return f"preset {name}"
        case SetThrottle(share):
            return f"throttle {100.0 * share:.0f} %"
        case SetPower(command):
            return command.value
        case _:
            return _kind(write)


def _title(identity: Identity) -> str:
    return f"{identity.model} {identity.serial or identity.mac}".strip()


def _feed_views(decider: Decider, now_s: float) -> list[FeedView]:
    views = []
    for status in decider.book.status(now_s):
        age_s = status.behind_s if math.isfinite(status.behind_s) else None
        told = f"{status.freshness.value} ({status.error})" if status.error else status.freshness.value
        views.append(FeedView(status.name, age_s, min(series_rule(status.name).keep_s, AGE_SHOWN_S), told))
    return views
