"""Train one fold of one config: python train.py CONFIG [key=value ...]"""

from geopose.cli import run_command
from geopose.training.command import main

if __name__ == "__main__":
    run_command(main)
