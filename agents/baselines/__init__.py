"""Rules: controllers without learning, the baselines that everything else is measured against."""

from __future__ import annotations

from agents.baselines.base import Knowledge, Rule
from agents.baselines.fixed import AlwaysStock, BestFixedPreset, FixedPresetParams
from agents.baselines.myopic import MyopicBestPreset, PeakAvoiding, PeakAvoidingParams
from agents.baselines.patience import Patient, PatientParams
from agents.baselines.reserve import ReserveOffering, ReserveOfferingParams
from agents.baselines.table import RULES, RuleEntry, applicable, build, rules, tuned_params, tuned_rules
from agents.baselines.threshold import HysteresisParams, HysteresisThrottle, Threshold, ThresholdParams

__all__ = [
    "RULES",
    "AlwaysStock",
    "BestFixedPreset",
    "FixedPresetParams",
    "HysteresisParams",
    "HysteresisThrottle",
    "Knowledge",
    "MyopicBestPreset",
    "Patient",
    "PatientParams",
    "PeakAvoiding",
    "PeakAvoidingParams",
    "Rule",
    "ReserveOffering",
    "ReserveOfferingParams",
    "RuleEntry",
    "Threshold",
    "ThresholdParams",
    "applicable",
    "build",
    "rules",
    "tuned_params",
    "tuned_rules",
]
