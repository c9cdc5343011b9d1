"""The laboratory: radar simulator, data, losses, one short script per model, judging and the command line."""
