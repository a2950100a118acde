"""Training: patches, steps, schedules and checkpoints; one loop (Lightning) for every method."""
