"""Accuracies of classifiers: measurement, comparison, and the verdict of a study."""
