"""Locks: what the inputs ask, what is pinned, whether it still fits, and how it is made anew."""
