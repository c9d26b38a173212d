"""Compose stacks: what they need, how they start, and ways into them."""
