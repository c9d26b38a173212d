"""Adopt a project: detect what its web service is and needs, and write what is missing to ship it."""
