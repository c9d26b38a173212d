"""From an image's digest to a running service: destinations, the plan as a difference, and what carries it out."""
