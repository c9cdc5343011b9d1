"""Judges, metrics and intervals, and the scores of generated images."""
