"""Procedural cities, rendered from oblique views into the competition's file layout.

The modules, in the order in which a tile is made:

command.py      `python -m geopose synthesize`: the command line
dataset.py      places, views and file names of a folder; makes each place and writes its tiles
cities.py       what is typical of each city: districts, colours, vegetation, sun
layout.py       the plan of a place: street grid and blocks
water.py        ponds, lakes and rivers of a place
streets.py      streets of the grid and their markings, cars, trees and bridges
blocks.py       a city block and its ground; blocks_homes.py, blocks_business.py, blocks_downtown.py and
                blocks_open.py fill it
buildings.py    buildings of one part; complexes.py: of several parts; facades.py: what their walls look like;
                cars.py: cars and car parks; plants.py: trees, lawns and soil
objects.py      the boxes, trees and wall recipes of which all of these consist
placement.py    bends and turns the street grid, and cuts it to the scene
kernels.py      how kernels are compiled
ground.py       the scene: rasters of heights, colours and materials in the ground frame
paint.py        kernels that paint boxes and trees into these rasters
appearance.py   materials, textures, noise and seasons
view.py         a view of the scene and its rays
visibility.py   the height of the surface that each pixel sees
light.py        sun, sky and shadows
shading.py      colours of the visible surface; walls.py: of its walls
render.py       image and AGL of a view, from the modules before
sensor.py       air, optics, noise and compression: from the rendered image to the pixels of the file
labels.py       AGL labels as lidar gives them, with their faults
"""
