"""Runs: the run folder, its environment, and MLflow."""
