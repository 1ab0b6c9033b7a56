"""A handle on one sandbox for the Python API: the manager's verbs without its id."""
