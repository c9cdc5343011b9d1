"""Judges, metrics, and scores of generated images."""
