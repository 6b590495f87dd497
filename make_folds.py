"""Split the training tiles of a competition folder into folds: python make_folds.py --data DIR --out FILE"""

from geopose.cli import run_command
from geopose.data.folds import main

if __name__ == "__main__":
    run_command(main)
