// Small arrays of vectors become registers only when the loops over them are unrolled.
#pragma once

#if defined(__clang__)
#define FM_UNROLL _Pragma("unroll")
#else
#define FM_UNROLL _Pragma("GCC unroll 16")
#endif
