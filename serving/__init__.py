"""The endpoint: a BentoML service around one bundle, and the tools that build, run, verify and ask it."""
