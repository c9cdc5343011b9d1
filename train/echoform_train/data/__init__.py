"""From a folder of images to tensors: layouts, colour maps, the split and what may be wrong with a file."""
