"""A private Docker Engine for a machine that has none, unpacked into the user's cache from Debian packages."""
