"""Training with Catalyst, which no other package imports."""
