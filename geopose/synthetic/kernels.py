"""How kernels are compiled: fast, and with the same results on every processor.

Numba's full fastmath lets the compiler fuse multiplications with additions and change the order of sums. Then a
processor with other instructions rounds differently, and tiles of the same seed differ in a few pixels.

By default Numba counts references to the arrays of a scene at every use of them. That takes longer than the work
itself, so it is turned off here. Therefore kernels create no arrays: they fill those of their caller.
"""

import numba

_OPTIONS = {
    "cache": True,
    "fastmath": {"nnan", "ninf", "nsz"},  # no NaN, no infinities, no signed zeros: what is left of fastmath
    "error_model": "numpy",  # divisions by zero are not looked for
    "_nrt": False,  # references are not counted
}

kernel = numba.njit(**_OPTIONS)
inlined = numba.njit(**_OPTIONS, forceinline=True)
