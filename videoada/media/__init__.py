"""Videos, clips and frames as files."""
