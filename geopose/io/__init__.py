"""The competition's files. Only this package knows about centimetres, 65535, px/cm and file names."""
