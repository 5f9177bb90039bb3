"""Sweeps: a grid of configs as folders on disk, worked off by local processes or a Ray cluster."""
