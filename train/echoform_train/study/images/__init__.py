"""Images of a study: subsets of real images, selection of generated images, and the augmented data set."""
