"""Films: the frames that a player shows, in order."""
