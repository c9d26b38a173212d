"""A Docker Engine: found, asked, started where there is none, and read."""
