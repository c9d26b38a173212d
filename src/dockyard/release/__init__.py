"""From a version tag to images that others can pull, step by step."""
