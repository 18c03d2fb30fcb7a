"""Transfer learning on texts beside its peers: `python -m benchmarks.text_transfer`."""
