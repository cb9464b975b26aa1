"""Hostile input by the thousand: mutations of what others give, and what each means, read a second time and plainly."""
