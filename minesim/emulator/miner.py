"""One emulated miner: its configuration, its log books and what it does with a command.

The physics of all miners is one :class:`minesim.emulator.twin.FleetTwin`; a miner writes its command and set-up there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minesim.emulator.models import MinerModel, ModelPreset
from minesim.emulator.settings import MANUAL, Tree, default_settings, merged
from minesim.emulator.twin import FAN_OFF_DUTY, NEVER_C, FleetTwin

MINING_MODE, PAUSED_MODE, STOPPED_MODE = "mining", "paused", "stopped"
REBOOT_AFTER_S = 3.0
"""What the firmware answers to a reboot."""
REBOOT_DOWN_S = 60.0
"""Without a web server after it (assumed)."""
PAUSE_REFUSED = "CGMiner err: Cgminer error failed-to-activate-pause-mode "
RESUME_REFUSED = "CGMiner err: Cgminer error failed-to-activate-resume-mode "
LOG_LINES = 200


class Refused(Exception):
    """The firmware answers a command with 500 and this text."""


@dataclass(frozen=True)
class Identity:
    """Who the miner is on the network."""

    host: str
    mac: str
    serial: str
    hostname: str


class Wall:
    """The wall clock of a miner: when the emulation started, what has passed, and how wrong the miner is."""

    def __init__(self, start_at_s: float, twin: FleetTwin) -> None:
        self._start_at_s = start_at_s
        self._twin = twin
        self.offset_s = 0.0

    def at_s(self, elapsed_s: float | None = None) -> float:
        """Seconds since 1970 UTC now, or at a time of the emulation."""
        elapsed_s = self._twin.elapsed_s if elapsed_s is None else elapsed_s
        return self._start_at_s + elapsed_s + self.offset_s

    def text(self) -> str:
        """As the firmware writes it in its logs."""
        return f"{dt.datetime.fromtimestamp(self.at_s(), dt.UTC):%Y/%m/%d %H:%M:%S}"


class EmulatedMiner:
    """One miner.

    Args:
        index: its number in the fleet.
        model: hardware.
        version: firmware, e.g. ``1.3.4``.
        twin: physics of the fleet.
        start_at_s: wall clock at the start of the emulation, s since 1970 UTC.
        seed: of names and tokens.
        password: of the web interface.

    Attributes:
        untuned: presets whose tuning this unit lacks; tests may add names.
        writes: how often each writing path was asked for, however it was answered; unlocking and locking do not count.
        dangerous: how often endpoints were called that can brick, lock or wipe a unit. Apart from API keys and the
            password they only count.
    """

    def __init__(
        self, index: int, model: MinerModel, version: str, twin: FleetTwin, start_at_s: float, seed: int, password: str
    ) -> None:
        self.index = index
        self.model = model
        self.version = version
        self.generation = ".".join(version.split(".")[:2])
        self.has_throttle = tuple(int(part) for part in version.split(".")[:3]) >= (1, 3, 3)
        self.twin = twin
        self.wall = Wall(start_at_s, twin)
        self.password = password
        self._seed = seed
        digest = self.digest("identity")
        self.identity = Identity(
            host="127.0.0.1",
            mac=":".join(("02", *(digest[i : i + 2].upper() for i in range(0, 10, 2)))),
            serial=f"EMU{digest[10:24].upper()}",
            hostname="antminer",
        )
        tuned = [i for i, preset in enumerate(model.presets) if preset.tuned]
        start = min(int(twin.preset[index]), tuned[-1])
        self.settings: Tree = default_settings(
            model, self.generation, twin.params.firmware, start, f"site.{index + 1:04d}", self.identity.hostname
        )
        self.applied_preset: str = self.settings["miner"]["overclock"]["preset"]
        self.untuned: set[str] = set()
        self.modified: dict[str, tuple[int, int]] = {}
        self.mode = MINING_MODE if twin.run[index] > 0.0 else STOPPED_MODE
        self.throttle_pct = 100
        self._announced: tuple[int, str] | None = None
        self.started_s = -1.0
        self.restart_required = False
        self.finds = False
        self.locates = False
        self.restarts = 0
        self.booted_s = 0.0
        self.down_until_s = -1.0
        self.tokens: dict[str, float] = {}
        self.tokens_given = 0
        self.wrong_passwords = 0
        self.locked_until_s = -1.0
        self.api_keys: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.writes: Counter[str] = Counter()
        self.dangerous: Counter[str] = Counter()
        self.events: deque[tuple[float, str, int | None]] = deque(maxlen=LOG_LINES)
        self.logs: dict[str, deque[str]] = {}
        self.api_log: deque[tuple[float, str, str, int]] = deque(maxlen=LOG_LINES)
        self.pool = 0
        self._preset_target: tuple[int, int] | None = None
        self._pool_th: dict[int, float] = {}
        self._pool_from_th = 0.0
        self.log("status", f"INFO: Initializing [{model.full_name} ({version})]")
        self._apply()

    # ------------------------------------------------------------------ small things

    def digest(self, *parts: object) -> str:
        """A text of 64 hexadecimal digits that depends on seed, miner and parts alone."""
        text = ":".join(str(part) for part in (self._seed, self.index, *parts))
        return hashlib.sha256(text.encode()).hexdigest()

    def log(self, kind: str, text: str) -> None:
        """Add a line to a log book."""
        self.logs.setdefault(kind, self.new_log()).append(f"[{self.wall.text()}] {text}")

    @staticmethod
    def new_log() -> deque[str]:
        """An empty log book."""
        return deque(maxlen=LOG_LINES)

    def rebooting(self, elapsed_s: float) -> bool:
        """Whether the web server is away for a reboot."""
        return self.down_until_s - REBOOT_DOWN_S <= elapsed_s < self.down_until_s

    def event(self, kind: str, board: int | None = None) -> None:
        """Note an event for the metrics."""
        self.events.append((self.twin.elapsed_s, kind, board))

    @property
    def announced(self) -> str | None:
        """State that a command has announced and that the next control step will bring."""
        if self._announced is None or self._announced[0] != self.twin.step_count:
            return None
        return self._announced[1]

    def _announce(self, state: str) -> None:
        self._announced = self.twin.step_count, state

    def configured_preset(self) -> str:
        """Name of the configured preset."""
        name: str = self.settings["miner"]["overclock"]["preset"]
        return name

    def tuned(self, preset: ModelPreset) -> bool:
        """Whether this unit was tuned for a preset."""
        return preset.tuned and preset.name not in self.untuned

    def tune_of(self, preset: ModelPreset) -> tuple[int, int]:
        """Clock in MHz and rail in 10 mV of a tuned preset."""
        return self.modified.get(preset.name, (round(preset.freq_mhz), round(100 * preset.volt_v)))

    # ------------------------------------------------------------------ mining

    def stop(self, mode: str) -> None:
        """Stop (``mode`` stopped) or pause (paused).

        Raises:
            Refused: mining is not on.
        """
        if self.mode != MINING_MODE:
            raise Refused(PAUSE_REFUSED)
        self.mode = mode
        self.twin.run[self.index] = 0.0
        self._announce("shutting-down")
        self.event("stop")
        self.log("status", "INFO: Mining stopped" if mode == STOPPED_MODE else "INFO: Mining paused")

    def start(self, mode: str) -> None:
        """Start from stopped or resume from paused, as ``mode`` says.

        Raises:
            Refused: the miner is in another mode.
        """
        if self.mode != mode:
            raise Refused(RESUME_REFUSED)
        self._begin("starting")
        if self.twin.state.firmware.running[self.index] > 0.0:
            # The stop came within the same control step: the twin would not notice either.
            self.twin.restart(self.index)
        self.started_s = self.twin.elapsed_s
        self.event("start")
        self.log("status", "INFO: Mining started")

    def restart(self) -> None:
        """Restart mining, from any mode; what waited for a restart applies."""
        self.restarts += 1
        self._begin("restarting")
        self.twin.restart(self.index)
        self.event("restart")
        self.log("status", "INFO: Restarting")

    def reboot(self) -> None:
        """Reboot: the web server is gone for a while, sessions are lost, and mining starts unless told otherwise."""
        misc = self.settings["miner"]["misc"]
        stays = misc.get("remain_stopped_on_reboot", False) or misc.get("restore_miner_state_on_reboot", False)
        now_s = self.twin.elapsed_s
        self.down_until_s = now_s + REBOOT_AFTER_S + REBOOT_DOWN_S
        self.booted_s = self.down_until_s
        self.tokens.clear()
        self.finds = self.locates = False
        self.event("reboot")
        self.log("status", "INFO: Rebooting")
        if self.mode == MINING_MODE or not stays:
            self.restart()
        if misc.get("automatic_pause_on_boot", False):
            self.mode = PAUSED_MODE
            self.twin.run[self.index] = 0.0

    def _begin(self, announced: str) -> None:
        self.mode = MINING_MODE
        self.twin.run[self.index] = 1.0
        self._announce(announced)
        self.restart_required = False
        if self.applied_preset != self.configured_preset():
            self.applied_preset = self.configured_preset()
            self._apply()

    def throttle(self, percent: int) -> None:
        """Throttle to 20 to 100 % of the preset."""
        self.throttle_pct = percent
        self.twin.throttle[self.index] = percent / 100.0

    # ------------------------------------------------------------------ settings

    def write_settings(self, patch: Mapping[str, Any], *, defer: bool = False) -> bool:
        """Merge a partial write into the settings and apply it.

        Args:
            patch: any subset of the tree.
            defer: keep a new preset until the next restart of mining.

        Returns:
            Whether a restart of mining is required.

        Raises:
            SettingsRefused: a value is impossible; then nothing is applied.
        """
        before = self.settings["miner"]["overclock"]
        tree = merged(self.settings, patch, self.model, self.generation)
        asked = (patch.get("miner") or {}).get("overclock") or {}
        self._choose_preset(tree["miner"]["overclock"], before, asked)
        after = tree["miner"]["overclock"]
        waits = after["modded_psu"] != before["modded_psu"] or after["chains"] != before["chains"]
        waits = waits or (defer and after["preset"] != self.applied_preset)
        self.settings = tree
        if after["preset"] != before["preset"]:
            self.log("status", f"INFO: Switching to preset {after['preset']}")
            if not waits:
                self.applied_preset = after["preset"]
        self.restart_required = self.restart_required or waits
        self._apply()
        return waits

    def _choose_preset(self, after: Tree, before: Tree, asked: Mapping[str, Any]) -> None:
        """Refuse an impossible preset without a word, and keep voltage and clocks in step with the preset."""
        name = after["preset"]
        if name == MANUAL:
            return
        index = self.model.preset_index(name)
        preset = None if index is None else self.model.presets[index]
        if preset is None or not self.tuned(preset) or (preset.modded_psu and not after["modded_psu"]):
            after["preset"], after["globals"] = before["preset"], before["globals"]
            return
        given = asked.get("globals") or {}
        freq, volt = given.get("freq") or 0, given.get("volt") or 0
        if freq and (freq, volt or self.tune_of(preset)[1]) != self.tune_of(preset):
            # Voltage and clocks of another preset, sent along with a name, overwrite what was tuned for it.
            self.modified[name] = (freq, volt or self.tune_of(preset)[1])
        tune = self.tune_of(preset)
        after["globals"] = {"freq": tune[0], "volt": tune[1]}

    def _apply(self) -> None:
        """Carry the settings over into the twin."""
        i, twin, setup = self.index, self.twin, self.twin.setup
        cooling, overclock, misc = (self.settings["miner"][name] for name in ("cooling", "overclock", "misc"))
        setup.trip_c[i] = misc["restart_temp"] or NEVER_C
        fw = twin.params.firmware
        mode, low = cooling["mode"], max(cooling["fan_min_duty"] / 100.0, FAN_OFF_DUTY)
        if mode["name"] == "auto" or self.model.liquid:
            target = mode["param"] if mode["name"] == "auto" else fw.fan_target_c
            setup.fan_target_c[i], setup.fan_duty_min[i] = target, low
            setup.fan_duty_boot[i] = max(low, fw.fan_duty_boot)
        else:
            duty = max(mode["param"] / 100.0, FAN_OFF_DUTY) if mode["name"] == "manual" else FAN_OFF_DUTY
            setup.fan_target_c[i] = NEVER_C
            setup.fan_duty_min[i] = setup.fan_duty_boot[i] = duty
        self._apply_preset(overclock)
        twin.changed()

    def _apply_preset(self, overclock: Tree) -> None:
        i, twin, setup = self.index, self.twin, self.twin.setup
        switcher = overclock["preset_switcher"]
        index = self._running_index(self.applied_preset)
        top = self.model.preset_index(switcher["top_preset"] or "")
        was_on = setup.switcher_on[i] > 0.0
        on = bool(switcher["enabled"])
        setup.switcher_on[i] = float(on)
        setup.switcher_decrease_c[i] = switcher["decrease_temp"]
        setup.switcher_rise_c[i] = switcher["rise_temp"]
        setup.switcher_check_s[i] = switcher["check_time"]
        setup.switcher_floor[i] = float(self.model.preset_index(switcher["min_preset"] or "") or 0)
        tuned_last = max(k for k, preset in enumerate(self.model.presets) if preset.tuned)
        ceiling = max(min(top, tuned_last), index) if on and top is not None else index
        before, self._preset_target = self._preset_target, (ceiling, index)
        if before == (ceiling, index) and on == was_on:
            return
        rose = before is not None and before[0] > before[1]
        if ceiling > index or rose or (was_on and not on):
            twin.start_switcher(i, ceiling, index)
        else:
            twin.set_preset(i, index)

    def _running_index(self, name: str) -> int:
        index = self.model.preset_index(name)
        if index is None:
            return self.model.nearest_tuned(self.settings["miner"]["overclock"]["globals"]["freq"])
        if name in self.modified:
            return self.model.nearest_tuned(self.modified[name][0])
        return index

    # ------------------------------------------------------------------ pools

    def switch_pool(self, pool: int, work_th: float) -> None:
        """Make another user pool the working one.

        Raises:
            Refused: there is none of that number.
        """
        if not 0 <= pool < len(self.settings["miner"]["pools"]):
            raise Refused("Could not find pool")
        self._pool_th[self.pool] = self.pool_work_th(self.pool, work_th)
        self._pool_from_th = work_th
        self.pool = pool

    def pool_work_th(self, pool: int, work_th: float) -> float:
        """Hashes that went to a pool, TH, when the miner has computed ``work_th`` in all."""
        return self._pool_th.get(pool, 0.0) + (work_th - self._pool_from_th if pool == self.pool else 0.0)
