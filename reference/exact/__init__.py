"""The exact tier: ball arithmetic of one row at a time, from the definition; short enough for a sceptic to read."""
