"""What every training shares: run, settings, checkpoints, seeds, schedules, precision, provenance."""
