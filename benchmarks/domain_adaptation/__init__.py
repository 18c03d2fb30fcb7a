"""Adapting to another domain without its labels, on digits, product reviews and speakers: `python -m benchmarks.domain_adaptation`."""
