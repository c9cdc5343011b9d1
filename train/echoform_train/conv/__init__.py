"""Convolutional autoencoders of pictures: their start from VGG, their export and their measuring."""
