"""The parts that all trainings share: the run, its settings, checkpoints, schedules, seeds, precision, provenance."""
