"""The depth autoencoder: data, training parts, quality, export.

Data: sources, image_files, dataset, config (flags), scale, rooms (synthetic images), publish (data sets on the Hub).
Training parts: augment, losses, objective, validation. Quality: reconstruction, metrics, baselines, probes, latents,
quality, score_table, painting, figures. Export: export (the pipeline), balance, encoder_export, search (by embedding).
"""
