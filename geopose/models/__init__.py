"""The networks and their checkpoints.

The modules, from weights to predictions:

weights.py      weights of encoders: packaged, downloaded, or from a file
encoders.py     timm networks as lists of feature maps
tone.py         one median brightness for all images
heads.py        height, flow magnitude, direction and scale
refiner.py      planes corrected at full resolution
model.py        the network, joined from encoder, decoder and heads
zoom.py         running it at another resolution than the image's own
depthwise.py    faster gradients on a CPU
checkpoints.py  weights as files
nonfinite.py    layers whose outputs are NaN or infinite
"""
