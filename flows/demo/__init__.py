"""`regraft demo`: the whole loop on real handwritten digits, with the real tools."""
