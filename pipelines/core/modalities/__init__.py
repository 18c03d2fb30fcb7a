"""One adapter for each kind of input; see `modality`."""
