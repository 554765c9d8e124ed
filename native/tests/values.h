// Sizes and operands for the kernels' tests. Buffers have the exact size of their contents, so that
// the address sanitizer sees a kernel that reaches beyond.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

namespace bitlite {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int kSizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65};

using Random = std::mt19937;
using Buffer = std::unique_ptr<float[]>;

inline Buffer Normal(size_t n, Random& random) {
  Buffer values(new float[n]);
  std::normal_distribution<float> distribution;
  for (size_t i = 0; i < n; ++i) values[i] = distribution(random);
  return values;
}

inline bool Near(float got, double want, double tolerance) {
  return std::fabs(got - want) <= tolerance * (1.0 + std::fabs(want));
}

// Any code, the extremes often.
inline int8_t Code(Random& random) {
  const uint32_t r = random();
  if (r % 8 == 0) return -128;
  if (r % 8 == 1) return 127;
  return static_cast<int8_t>(r >> 8);
}

// Values in [-limit, limit].
inline std::vector<float> Uniform(int64_t n, uint32_t seed, float limit = 1.0f) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> distribution(-limit, limit);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = distribution(random);
  return values;
}

}  // namespace bitlite
