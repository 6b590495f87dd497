"""The version of this package. pyproject.toml reads it from here, and written files are tagged with it."""

VERSION = "1.0.0"
