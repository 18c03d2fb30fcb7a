"""Two-sample tests of a window against the reference. Pure functions of arrays and a random generator."""
