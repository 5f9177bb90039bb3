"""Sweeps: a grid of configs as a ledger on disk, worked off by local processes or a Ray cluster."""
