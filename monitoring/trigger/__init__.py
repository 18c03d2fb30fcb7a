"""What may start a retraining: the situation that is looked at, its conditions, and the decision. Pure; `monitoring.policy` decides."""
