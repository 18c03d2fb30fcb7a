"""What the stages must know of a kind of input: the training half of each modality. The inference half is `pipelines.core.modalities`."""
