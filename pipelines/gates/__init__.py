"""The conditions that a candidate must fulfil before it ships."""
