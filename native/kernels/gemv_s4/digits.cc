#include "digits.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "gemv_s4.h"

namespace bitlite {
namespace {

constexpr int kBits = 22;  // of kDigits digits: what a float rounds exactly by an addition
constexpr float kRound = 0x1.8p23f;
constexpr float kEven = 64.0f;       // the most by which the largest passes the mean of the others
constexpr float kUneven = 16384.0f;  // the same with 8 bits more
constexpr float kLeast = 0x1p-90f;   // a block's largest whose unit is a normal number

// Vectors of the compiler, which every instruction set has.
typedef float Floats __attribute__((vector_size(4 * kNibbles)));
typedef int32_t Ints __attribute__((vector_size(4 * kNibbles)));

struct Block {
  float largest, others;  // of magnitudes: the largest, the mean of the others
};

Block Look(const float* x, int64_t n) noexcept {
  Ints most = {};  // of magnitudes, whose order is that of their bits
  Floats sum = {};
  const auto add = [&](const float* line) {
    Ints magnitude;
    std::memcpy(&magnitude, line, sizeof(magnitude));
    magnitude &= 0x7fffffff;
    most = magnitude > most ? magnitude : most;
    sum += (Floats)magnitude;
  };
  int64_t i = 0;
  for (; i + kNibbles <= n; i += kNibbles) add(x + i);
  if (i < n) {
    float rest[kNibbles] = {};
    std::copy(x + i, x + n, rest);
    add(rest);
  }
  float largest = 0, total = 0;
  for (int c = 0; c < kNibbles; ++c) {
    largest = std::max(largest, ((Floats)most)[c]);
    total += sum[c];
  }
  if (!std::isfinite(total)) return {INFINITY, 0};
  // Without cancellation where the others are far below.
  float others = total - largest;
  if (others < largest * 0x1p-12f) {
    others = 0;
    bool seen = false;
    for (int64_t i = 0; i < n; ++i) {
      const float a = std::fabs(x[i]);
      if (a == largest && !seen) {
        seen = true;
      } else {
        others += a;
      }
    }
  }
  return {largest, n > 1 ? others / static_cast<float>(n - 1) : 0};
}

// 2^e of a normal number, e from -126 on, and its inverse.
float PowerOfTwo(int e) noexcept {
  const uint32_t bits = static_cast<uint32_t>(e + 127) << 23;
  float v;
  std::memcpy(&v, &bits, sizeof(v));
  return v;
}
int ExponentOf(float normal) noexcept {
  uint32_t bits;
  std::memcpy(&bits, &normal, sizeof(bits));
  return static_cast<int>(bits >> 23 & 255) - 127;
}

// Values that are digits.
inline void Narrow(const Ints& values, int8_t* to) noexcept {
#if defined(__SSE2__)
  __m128i halves[2];
  std::memcpy(halves, &values, sizeof(values));
  const __m128i words = _mm_packs_epi32(halves[0], halves[1]);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(words, words));
#else
  for (int i = 0; i < kNibbles; ++i) to[i] = static_cast<int8_t>(values[i]);
#endif
}

// The digits of a line of activations that `up` takes to units, in their order; adds to the sums of
// pairs.
template <int D>
inline void Line(const float* x, float up, int8_t* digits, Ints (&sums)[kPairs]) noexcept {
  constexpr int kLower = D - kDigits;  // digits behind the point
  const Floats v = Floats{x[0], x[2], x[4], x[6], x[1], x[3], x[5], x[7]} * up;
  const Floats whole = v + kRound - kRound;
  const Ints units = __builtin_convertvector(whole, Ints);
  // Each byte behind the offset holds a digit raised by 128.
  const Ints raised = (units + 0x808080) ^ 0x808080;
  Ints of[D];
  for (int d = 0; d < kDigits; ++d) of[d + kLower] = raised << (24 - 8 * d) >> 24;
  if constexpr (kLower > 0) {
    // Halves of a whole one above are 128: one less then.
    const Ints rest = __builtin_convertvector((v - whole) * 256.0f + kRound - kRound, Ints);
    of[0] = rest + (rest > 127);
  }
  for (int d = 0; d < D; ++d) {
    sums[d / 2] += d % 2 == 0 ? of[d] : of[d] * 256;
    Narrow(of[d], digits + d * kNibbles);
  }
}

// The digits of n activations of a block, and the sums of their pairs.
template <int D>
void Lines(const float* x, int64_t n, float up, int8_t* digits, int32_t* sums) noexcept {
  Ints by_place[kPairs] = {};
  for (; n >= kNibbles; n -= kNibbles, x += kNibbles, digits += D * kNibbles) {
    Line<D>(x, up, digits, by_place);
  }
  if (n > 0) {
    float rest[kNibbles] = {};
    std::copy(x, x + n, rest);
    Line<D>(rest, up, digits, by_place);
  }
  for (int p = 0; p < kPairs; ++p) {
    sums[p] = 0;
    for (int i = 0; i < kNibbles; ++i) sums[p] += by_place[p][i];
  }
}

}  // namespace

int64_t DigitBytes(int64_t k, int64_t block) {
  const int64_t lines = (block + kNibbles - 1) / kNibbles;
  return (k + block - 1) / block * lines * kNibbles * kMostDigits;
}

int DigitsOf(const float* x, int64_t k, int64_t block, int8_t* digits, float* units,
             int32_t* sums) noexcept {
  const int64_t blocks = (k + block - 1) / block, lines = (block + kNibbles - 1) / kNibbles;
  int count = kDigits;
  for (int64_t b = 0; b < blocks; ++b) {
    const Block seen = Look(x + b * block, std::min(block, k - b * block));
    units[b] = seen.largest;
    if (seen.largest == 0) continue;
    if (!(seen.largest >= kLeast) || seen.largest > 0x1p126f) return 0;
    if (seen.others == 0 || seen.largest <= kEven * seen.others) continue;
    if (seen.largest > kUneven * seen.others) return 0;
    count = kMostDigits;
  }
  const int64_t line_bytes = kNibbles * count;
  for (int64_t b = 0; b < blocks; ++b, digits += lines * line_bytes, sums += kPairs) {
    const int64_t n = units[b] == 0 ? 0 : std::min(block, k - b * block);
    const int64_t filled = (n + kNibbles - 1) / kNibbles;
    std::memset(digits + filled * line_bytes, 0,
                static_cast<size_t>((lines - filled) * line_bytes));
    std::memset(sums, 0, kPairs * sizeof(int32_t));
    if (n == 0) continue;
    const int e = ExponentOf(units[b]);
    const float up = PowerOfTwo(kBits - 1 - e);
    units[b] = PowerOfTwo(e - kBits + 1 - (count > kDigits ? 8 : 0));
    const float* from = x + b * block;
    if (count > kDigits) {
      Lines<kMostDigits>(from, n, up, digits, sums);
    } else {
      Lines<kDigits>(from, n, up, digits, sums);
    }
  }
  return count;
}

}  // namespace bitlite
