"""The report of a run: what its page shows, from what the stages wrote; and text and charts for it."""
