"""Predict a competition folder's test half into a tarball, or heights and building lean of your own images."""

from geopose.cli import run_command
from geopose.inference.command import main

if __name__ == "__main__":
    run_command(main)
