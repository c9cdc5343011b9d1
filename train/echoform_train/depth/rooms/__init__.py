"""Synthetic rooms seen by a depth camera: random scenes, exact geometry by ray casting, then the errors of a sensor."""
