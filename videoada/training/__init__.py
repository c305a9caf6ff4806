"""Exit heads and step policies for a model of your own."""
