"""Continued pretraining of a text encoder: masked tokens of unlabelled texts are guessed (Gururangan et al. 2020)."""
