"""One trained model per file: its flags, its presets, and `main`, which trains it and returns a `TrainingResult`.

Every training raises FloatingPointError if a loss stops being finite, and ValueError if the output folder holds another
run. It raises PushError if the result is to be pushed to the Hub and cannot be; where possible this is noticed before
the training.
"""
