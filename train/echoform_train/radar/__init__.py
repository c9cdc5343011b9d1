"""Micro-Doppler simulation: a walking body, what a radar receives from it, and the spectrogram of that."""
