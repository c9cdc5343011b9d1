"""Micro-Doppler radar: simulated walkers and their returns, measured samples, spectrograms, and gait read from them."""
