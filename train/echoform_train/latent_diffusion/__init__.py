"""First stages and denoiser: losses, codebook, objective, transfer, quality, export."""
