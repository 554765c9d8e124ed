// Vec for any CPU: four floats as a vector of GCC's and Clang's C++, which any target can compute.
// The reference that the other instruction sets are tested against.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// The name of a kernel over this vector type, and which of four numbers is its own.
#define BITLITE_VEC_KERNEL(family) family##_scalar
#define BITLITE_VEC_OF(scalar, avx2, avx512, neon) scalar

namespace {

// A vector instead of an array: the compiler would take apart and find again what is four wide, in
// ten times the time.
typedef float Floats __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(16)));

struct Vec {
  static constexpr int kWidth = 4;
  Floats v;
};

#define VEC_EACH(expr)                                   \
  Vec y;                                                 \
  for (int i = 0; i < Vec::kWidth; ++i) y.v[i] = (expr); \
  return y

inline Vec Load(const float* p) {
  Vec y;
  std::memcpy(&y.v, p, sizeof y.v);
  return y;
}
// Calls: inlined, their four branches would stand in every tile of every kernel.
[[gnu::noinline, maybe_unused]] Vec LoadN(const float* p, int n) { VEC_EACH(i < n ? p[i] : 0.0f); }
inline void Store(float* p, Vec a) { std::memcpy(p, &a.v, sizeof a.v); }
[[gnu::noinline, maybe_unused]] void StoreN(float* p, Vec a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
// Codes as floats; nibbles: the i-th of each word, 0..15.
inline Vec LoadCodes(const int8_t* p) { VEC_EACH(static_cast<float>(p[i])); }
inline Vec LoadNibbles(const uint8_t* p, int i) {
  Vec y;
  for (int j = 0; j < Vec::kWidth; ++j) {
    y.v[j] = static_cast<float>(p[4 * j + i / 2] >> (i % 2 * 4) & 15);
  }
  return y;
}
// Accumulators, modulo 2^32.
struct Ints {
  Words v;
};
inline Ints LoadInts(const int32_t* p) {
  Ints y;
  std::memcpy(&y.v, p, sizeof y.v);
  return y;
}
inline Ints AddProduct(Ints a, Ints b, int32_t factor) {
  return {a.v + b.v * static_cast<uint32_t>(factor)};
}
inline Vec ToFloat(Ints a) { return {__builtin_convertvector((Integers)a.v, Floats)}; }
inline Vec Set(float a) { return {Floats{a, a, a, a}}; }
inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
// As the x86 instructions: the second operand when either is NaN.
inline Vec Min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
inline Vec Max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
inline Vec Fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
inline Vec Abs(Vec a) { VEC_EACH(std::fabs(a.v[i])); }
inline Vec Sqrt(Vec a) { VEC_EACH(std::sqrt(a.v[i])); }
inline Vec Round(Vec a) { VEC_EACH(std::nearbyint(a.v[i])); }
inline Vec Floor(Vec a) { VEC_EACH(std::floor(a.v[i])); }
inline Vec Ceil(Vec a) { VEC_EACH(std::ceil(a.v[i])); }
// a < b ? x : y (y when unordered)
inline Vec IfLess(Vec a, Vec b, Vec x, Vec y) { return {a.v < b.v ? x.v : y.v}; }
// x where a is NaN, else y
inline Vec IfNan(Vec a, Vec x, Vec y) { return {a.v != a.v ? x.v : y.v}; }
inline Vec CopySign(Vec magnitude, Vec sign) { VEC_EACH(std::copysign(magnitude.v[i], sign.v[i])); }
// a * 2^n for integral n, |n| <= 300
inline Vec Scale2(Vec a, Vec n) { VEC_EACH(std::ldexp(a.v[i], static_cast<int>(n.v[i]))); }
// The float of whose bits the lowest nine of a are the highest.
inline Vec ExponentOf(Vec a) { return {(Floats)((Words)a.v << 23)}; }
// a = mantissa * 2^exponent with mantissa in [0.5, 1), for positive normal a
inline Vec Mantissa(Vec a) {
  int e;
  VEC_EACH(std::frexp(a.v[i], &e));
}
inline Vec Exponent(Vec a) {
  Vec y;
  for (int i = 0; i < Vec::kWidth; ++i) {
    int e;
    std::frexp(a.v[i], &e);
    y.v[i] = static_cast<float>(e);
  }
  return y;
}
inline float Sum(Vec a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }

#undef VEC_EACH

}  // namespace
