"""Base images: by digest from a registry, or made from Debian's packages where there is none."""
