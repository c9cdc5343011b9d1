"""The generator of a study: varied copies of few real images as training data, the training, and sampling."""
