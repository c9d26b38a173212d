"""Registries: who may push, what is there, and the documents that lie beside an image."""
