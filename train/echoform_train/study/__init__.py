"""The augmentation study: what generated spectrograms add to a classifier of few real ones."""
