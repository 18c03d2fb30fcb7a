"""Transfer learning on sounds beside its peers, on speakers never heard in training: `python -m benchmarks.sound_transfer`."""
