"""Depth images: reading, synthetic rooms, losses, metrics and baselines."""
