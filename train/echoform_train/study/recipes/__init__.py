"""Recipes: uses of generated images other than as labelled ones, each with a rival of the same idea without them."""
