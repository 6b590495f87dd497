"""The challenge's score, and its submission tarballs: writing, reading, validation."""
