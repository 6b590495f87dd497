"""How kernels are compiled: fast, and with the same results on every processor.

Numba's full fastmath lets the compiler fuse multiplications with additions and change the order of sums. Then a
processor with other instructions rounds differently, and tiles of the same seed differ in a few pixels.
"""

import numba

_EXACT = {"nnan", "ninf", "nsz"}  # no NaN, no infinities, no signed zeros: what is left of fastmath

kernel = numba.njit(cache=True, fastmath=_EXACT)
inlined = numba.njit(cache=True, fastmath=_EXACT, inline="always")
