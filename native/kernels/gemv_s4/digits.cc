#include "digits.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gemv_s4.h"

namespace bitlite {
namespace {

constexpr int kBits = 22;  // of kDigits digits: what a float rounds exactly by an addition
constexpr float kRound = 0x1.8p23f;
constexpr float kEven = 64.0f;       // the most by which the largest passes the mean of the others
constexpr float kUneven = 16384.0f;  // the same with 8 bits more
constexpr float kLeast = 0x1p-90f;   // a block's largest whose unit is a normal number

struct Block {
  float largest, others;  // of magnitudes: the largest, the mean of the others
};

Block Look(const float* x, int64_t n) noexcept {
  constexpr int kChains = 8;
  float most[kChains] = {}, sum[kChains] = {};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (int c = 0; c < kChains; ++c) {
      const float a = std::fabs(x[i + c]);
      most[c] = a > most[c] ? a : most[c];
      sum[c] += a;
    }
  }
  for (; i < n; ++i) {
    const float a = std::fabs(x[i]);
    most[0] = a > most[0] ? a : most[0];
    sum[0] += a;
  }
  float largest = 0, total = 0;
  for (int c = 0; c < kChains; ++c) {
    largest = std::max(largest, most[c]);
    total += sum[c];
  }
  if (!std::isfinite(total)) return {INFINITY, 0};
  // Without cancellation where the others are far below.
  float others = total - largest;
  if (others < largest * 0x1p-12f) {
    others = 0;
    bool seen = false;
    for (i = 0; i < n; ++i) {
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

// 2^e of a normal number, e from -126 on.
float PowerOfTwo(int e) noexcept {
  const uint32_t bits = static_cast<uint32_t>(e + 127) << 23;
  float v;
  std::memcpy(&v, &bits, sizeof(v));
  return v;
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
  std::memset(digits, 0, static_cast<size_t>(blocks * lines * kNibbles * count));
  std::memset(sums, 0, static_cast<size_t>(blocks * kMostDigits) * sizeof(int32_t));
  for (int64_t b = 0; b < blocks; ++b, digits += lines * kNibbles * count, sums += kMostDigits) {
    if (units[b] == 0) continue;
    const int e = std::ilogb(units[b]);
    const float up = PowerOfTwo(kBits - 1 - e);
    units[b] = PowerOfTwo(e - kBits + 1 - (count > kDigits ? 8 : 0));
    const float* from = x + b * block;
    for (int64_t i = 0, n = std::min(block, k - b * block); i < n; ++i) {
      const float v = from[i] * up, whole = v + kRound - kRound;
      int8_t* to = digits + (i / kNibbles * count * 2 + i % 2) * 4 + i % kNibbles / 2;
      if (count > kDigits) {
        // Halves of a whole one above are 128: one less then.
        *to = static_cast<int8_t>(std::min(127.0f, (v - whole) * 256.0f + kRound - kRound));
        sums[0] += *to;
        to += 8;
      }
      // Each byte behind the offset holds a digit raised by 128.
      const uint32_t raised =
          (static_cast<uint32_t>(static_cast<int32_t>(whole)) + 0x808080u) ^ 0x808080u;
      for (int d = 0; d < kDigits; ++d) {
        to[8 * d] = static_cast<int8_t>(static_cast<uint8_t>(raised >> (8 * d)));
        sums[count - kDigits + d] += to[8 * d];
      }
    }
  }
  return count;
}

}  // namespace bitlite
