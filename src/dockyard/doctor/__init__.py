"""What the pipeline needs of this machine, checked."""
