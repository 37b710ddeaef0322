"""The header of every C source: types, kernels, and the C library's vector functions (libmvec)."""

from functools import lru_cache
from importlib import resources

HEAD = """\
#include <stdbool.h>
#include <stdint.h>
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#ifdef VECTOR_MATH
#define WHOLE __attribute__((simd("notinbranch")))
#else
#define WHOLE
#endif
"""
FUNCTIONS = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sin", "cos", "erf", "pow")


@lru_cache(maxsize=1)
def header() -> str:
    """Return the header: declarations of functions that libmvec may vectorise, and kernels."""
    lines = [HEAD]
    for name in FUNCTIONS:
        for kind, suffix in (("float", "f"), ("double", "")):
            takes = ", ".join([kind] * (2 if name == "pow" else 1))
            lines.append(f"WHOLE {kind} {name}{suffix}({takes});")
    vectors, kernels = (
        resources.files("espalier.core.native").joinpath(name).read_text() for name in ("vectors.h", "kernels.h")
    )
    lines.append(vectors)
    for kind, bits in (("float", "int32_t"), ("double", "int64_t")):
        lines += [f"#define REAL {kind}", f"#define BITS {bits}", f"#define NAME(what) what##_{kind}", kernels]
    return "\n".join(lines)
