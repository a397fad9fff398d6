// Vectors of float32, read from and written to maps of float32 or bfloat16 at any address.

#pragma once

#include <algorithm>
#include <cstdint>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#define UNROLL _Pragma("GCC unroll 16")  // else arrays of vectors don't become registers

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Anywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Half __attribute__((vector_size(2 * kLanes)));
typedef uint16_t HalfAnywhere __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

// Two bfloat16 that are multiplied by two others, and added up in float32.
typedef uint32_t Pair;

inline Vector load(const float *p) { return *reinterpret_cast<const Anywhere *>(p); }
inline void store(float *p, Vector v) { *reinterpret_cast<Anywhere *>(p) = v; }

// bfloat16 is the upper half of float32.
inline Vector load(const uint16_t *p) {
  const Half half = *reinterpret_cast<const HalfAnywhere *>(p);
  return reinterpret_cast<Vector>(__builtin_convertvector(half, Bits) << 16);
}
// To the nearest, ties to even; NaN stays one. AVX-512 BF16 takes numbers below 1e-38 for 0.
inline void store(uint16_t *p, Vector v) {
#ifdef __AVX512BF16__
  *reinterpret_cast<HalfAnywhere *>(p) =
      reinterpret_cast<Half>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v)));
#else
  const Bits bits = reinterpret_cast<Bits>(v), nan = Bits{} + 0x7fc0;
  const Bits near = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const auto number = v == v;
  const Bits chosen = (near & reinterpret_cast<const Bits &>(number)) |
                      (nan & ~reinterpret_cast<const Bits &>(number));
  *reinterpret_cast<HalfAnywhere *>(p) = __builtin_convertvector(chosen, Half);
#endif
}

inline uint16_t half_of(float value) {
  uint16_t halves[kLanes];
  store(halves, Vector{} + value);
  return halves[0];
}

// sum + a * b, where b has a number a lane.
inline Vector multiply_add(Vector sum, float a, Vector b) { return sum + a * b; }
#ifdef __AVX512BF16__
constexpr bool kPairs = true;
typedef uint32_t BitsAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
inline Bits load(const Pair *p) { return *reinterpret_cast<const BitsAnywhere *>(p); }
inline void store(Pair *p, Bits v) {
  *reinterpret_cast<BitsAnywhere *>(p) = v;
}
// Of each lane, a number of the first and one of the second, or 0 if there is none.
inline Bits pairs_of(const uint16_t *first, const uint16_t *second) {
  const auto bits = [](const uint16_t *p) {
    return __builtin_convertvector(*reinterpret_cast<const HalfAnywhere *>(p), Bits);
  };
  return second ? bits(first) | bits(second) << 16 : bits(first);
}
inline Vector multiply_add(Vector sum, Pair a, Bits b) {
  return reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                                                   reinterpret_cast<__m512bh>(Bits{} + a),
                                                   reinterpret_cast<__m512bh>(b)));
}
#else
constexpr bool kPairs = false;
#endif

// `count` channels, the rest 0.
template <class T>
inline Vector load_some(const T *p, int64_t count) {
  if (count >= kLanes) return load(p);
  T some[kLanes] = {};
  std::copy_n(p, count, some);
  return load(some);
}
template <class T>
inline void store_some(T *p, Vector v, int64_t count) {
  if (count >= kLanes) return store(p, v);
  T some[kLanes];
  store(some, v);
  std::copy_n(some, count, p);
}

}  // namespace
