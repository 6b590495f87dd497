"""How kernels are compiled: fast, and with the same results on every processor.

Numba's full fastmath lets the compiler fuse multiplications with additions and change the order of sums. Then a
processor with other instructions rounds differently, and tiles of the same seed differ in a few pixels.

By default Numba counts references to the arrays of a scene at every use of them. That takes longer than the work
itself, so it is turned off here. Therefore kernels create no arrays: they fill those of their caller.
"""

import hashlib
from pathlib import Path

import numba

# Numba stamps a cached kernel with its own file only, but it holds the code of inlined functions of other files, too.
_SOURCES = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
_CACHE = Path(__file__).parent / "__pycache__" / f"kernels-{hashlib.sha256(_SOURCES).hexdigest()[:12]}"
numba.config.CACHE_DIR = str(_CACHE)

_OPTIONS = {
    "cache": True,
    "fastmath": {"nnan", "ninf", "nsz"},  # no NaN, no infinities, no signed zeros: what is left of fastmath
    "error_model": "numpy",  # divisions by zero are not looked for
    "_nrt": False,  # references are not counted
}

kernel = numba.njit(**_OPTIONS)
inlined = numba.njit(**_OPTIONS, forceinline=True)
