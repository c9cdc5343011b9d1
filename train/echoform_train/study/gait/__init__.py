"""Gait in spectrograms: limits of what walkers do, and distances between generated and real features."""
