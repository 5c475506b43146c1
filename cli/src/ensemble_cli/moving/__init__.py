"""Moving in: from a model repository written by hand to an InferenceEnsemble."""
