"""The classifiers of a study: classical augmentations, networks and their training."""
