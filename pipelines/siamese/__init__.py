"""Continued pretraining of an image backbone: two views of an unlabelled picture are to look alike (SimSiam, Chen and He 2021)."""
