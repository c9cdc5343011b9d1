"""Accuracies of classifiers: measured, compared with each other, and summed up in a verdict."""
