"""A folder that is a queue: jobs that are added one by one, of any settings, and the process that works them off."""
