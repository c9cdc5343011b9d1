"""The stages of a study, one per file, each with its inputs and its outputs."""
