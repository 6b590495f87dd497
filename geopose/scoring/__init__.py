"""The challenge's score and its submission tarballs."""
