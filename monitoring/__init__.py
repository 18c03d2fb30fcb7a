"""Watching the endpoint: window, reference, drift signals, quality, verdict, report, and the decision to retrain."""
