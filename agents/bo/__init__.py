"""Tuning by Bayesian optimisation, and the methods that it is compared with."""
