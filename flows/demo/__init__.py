"""`regraft demo`: the whole loop on real data, with the real tools."""
