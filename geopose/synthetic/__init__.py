"""Procedural cities rendered obliquely into the competition's file layout."""
