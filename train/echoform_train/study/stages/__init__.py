"""The stages of a study, one per file: what each depends on and what it makes."""
