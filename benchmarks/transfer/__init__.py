"""Transfer learning beside its peers: `python -m benchmarks.transfer`."""
