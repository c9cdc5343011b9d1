"""Facts of a run turned into model cards."""
