"""How kernels are compiled: fast, and with the same results on every processor.

Numba's full fastmath lets the compiler fuse multiplications with additions and change the order of sums. Then a
processor with other instructions rounds differently, and tiles of the same seed differ in a few pixels.

LLVM inlines the small functions. Numba could do it, too (inline="always"), but then it counts references to the arrays
of a scene at every use of them, which takes longer than the work itself.
"""

import numba

_EXACT = {"nnan", "ninf", "nsz"}  # no NaN, no infinities, no signed zeros: what is left of fastmath

# With NumPy's error model, kernels do not look for divisions by zero.
kernel = numba.njit(cache=True, fastmath=_EXACT, error_model="numpy")
inlined = numba.njit(cache=True, fastmath=_EXACT, error_model="numpy", forceinline=True)
