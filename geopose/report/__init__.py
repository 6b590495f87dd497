"""Pictures and pages of data and results."""
