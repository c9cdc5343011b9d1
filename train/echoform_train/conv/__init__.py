"""The convolutional autoencoder of the SegNet family: training parts, quality, export.

Training parts: objective, validation, vgg (initial weights). Quality: reconstruction, quality, score_table, figures.
Export: export (the pipeline), decoding (images from latents alone).
"""
