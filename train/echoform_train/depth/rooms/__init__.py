"""Synthetic rooms seen by a depth camera: random scenes, exact depth by ray casting, simulated sensor errors."""
