"""The stages of the loop, pure functions without an orchestrator."""
