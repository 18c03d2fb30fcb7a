"""Method `adapt`: a trained model meets unlabelled samples of another domain."""
