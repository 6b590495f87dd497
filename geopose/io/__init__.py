"""The files of the competition and of users. Only this package knows about centimetres, 65535, px/cm and file names.

The modules, from the bytes up:

files.py         files that are written completely or not at all
names.py         file names of a tile
nodata.py        which values of a raster are no data; colours.py: which bands are red, green and blue
png.py           PNG files that were cut off; cog.py: Cloud-Optimized GeoTIFFs
rasters.py       images and heights: reading, windows, encoding
poses.py         scale and angle of a tile
tables.py        the CSV tables of a folder
image_folder.py  folders of images whose labels are not read
"""
