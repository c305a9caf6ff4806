"""A prompt file into a folder, on one process or many machines."""
