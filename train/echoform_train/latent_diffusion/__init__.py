"""First stages and denoiser: training parts, quality of a first stage, transfer, and generation of images."""
