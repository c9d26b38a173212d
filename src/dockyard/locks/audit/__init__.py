"""What is publicly known against the locked packages."""
