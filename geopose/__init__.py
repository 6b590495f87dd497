"""Monocular geocentric pose: heights above ground and lean from one oblique satellite image."""
