"""The competition's files. Centimetres, 65535, px/cm and file names are known in this package only."""
