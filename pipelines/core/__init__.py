"""The inference core: all that a Bento carries."""
