"""Folders and Hub data sets of images as tensors: layouts, colour maps, checks of files, and the split."""
