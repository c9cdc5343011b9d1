"""The generator of a study: copies of few real images to learn from, its training, and sampling from it."""
