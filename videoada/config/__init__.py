"""What is asked for: settings, prompt files, quality levels."""
