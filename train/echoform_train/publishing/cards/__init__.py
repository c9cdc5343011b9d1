"""The facts of a training as a model card, one file per family of models."""
