"""The augmentation study: whether generated spectrograms help a classifier that has few real ones to learn from."""
