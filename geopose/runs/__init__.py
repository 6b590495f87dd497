"""Run folders, and what is done with finished runs."""
