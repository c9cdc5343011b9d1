"""Images of a study: real ones that are chosen, generated ones that are kept, and the augmented data set."""
