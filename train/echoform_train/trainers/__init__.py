"""One training per file: settings, presets and loop."""
