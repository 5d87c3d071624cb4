"""Tuning one device: what a trial of a setting measures, costs and risks."""
