"""Whether adapting to the prompt pays: own decisions against static masks, others' masks and a batch's decisions."""
