"""Speeds, our way beside the common way."""
