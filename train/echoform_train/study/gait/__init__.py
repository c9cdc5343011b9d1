"""Gait in spectrograms: limits of the features of walkers, and distances between generated and real features."""
