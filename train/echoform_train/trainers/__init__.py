"""One trained model per file: its flags, its presets, and `main`, which trains it and returns a `TrainingResult`.

Every training raises ValueError if a setting is out of range or the output folder holds another run, and
FloatingPointError if a loss stops being finite. It raises PushError if the result is to be pushed to the Hub and cannot
be; where possible this is noticed before the training.
"""
