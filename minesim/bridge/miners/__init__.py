"""Miners of the site: the VNish client, discovery, polls, preflight."""
