// The functions of vector_s16 against what requant.h says, one by one.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "requant.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

constexpr ClampS16 kClamp = {-32768.0f, 30000.0f};

int16_t CodeOf(float v) {
  return static_cast<int16_t>(RneSmall(std::min(std::max(v, kClamp.low), kClamp.high)));
}

std::vector<int16_t> Codes(int n, uint32_t seed) {
  Random random(seed);
  std::vector<int16_t> codes(static_cast<size_t>(n));
  for (int16_t& v : codes) v = random() % 8 == 0 ? int16_t{-32768} : static_cast<int16_t>(random());
  return codes;
}

void CheckBinary(const char* symbol, const VectorS16Kernel& kernel, int n) {
  const std::vector<int16_t> a = Codes(n, 1), b = Codes(n, 2);
  for (int64_t a_step : {1, 0}) {
    for (int64_t b_step : {1, 0}) {
      std::vector<int16_t> sum(a.size()), product(a.size());
      BinaryS16Args t = {a.data(), b.data(), a_step, b_step, sum.data(), n, 0.7f, -0.4f, kClamp};
      kernel.add(t);
      if (a_step == 1) {
        std::vector<int16_t> in_place = a;
        BinaryS16Args same = t;
        same.a = same.y = in_place.data();
        kernel.add(same);
        CHECK(in_place == sum) << symbol << " add in place of " << n;
      }
      t.y = product.data();
      t.a_scale = 3e-5f;
      kernel.mul(t);
      for (int i = 0; i < n; ++i) {
        const int16_t p = a[static_cast<size_t>(i * a_step)],
                      q = b[static_cast<size_t>(i * b_step)];
        const size_t at = static_cast<size_t>(i);
        const float left = static_cast<float>(p) * 0.7f, right = static_cast<float>(q) * -0.4f;
        CHECK(sum[at] == CodeOf(left + right)) << symbol << " add of " << n;
        CHECK(product[at] == CodeOf(static_cast<float>(p * q) * 3e-5f))
            << symbol << " mul of " << n;
      }
    }
  }
}

void CheckConversions(const char* symbol, const VectorS16Kernel& kernel, int n) {
  const size_t size = static_cast<size_t>(n);
  const std::vector<int16_t> a = Codes(n, 3), b = Codes(n, 4);
  std::vector<float> reals = Uniform(n, 5, 40000.0f), back(size);
  reals[0] = std::numeric_limits<float>::quiet_NaN();
  std::vector<int16_t> quantized(size), other(size), of_sums(size), most = a, least = a;
  std::vector<int64_t> sums(size, int64_t{1} << 40);
  kernel.quantize(reals.data(), quantized.data(), n, 1.1f, kClamp);
  kernel.dequantize(a.data(), back.data(), n, 0.3f);
  kernel.requantize(a.data(), other.data(), n, 1.3f, kClamp);
  kernel.sum_rows(a.data(), 0, 3, n, sums.data());
  kernel.requantize_s64(sums.data(), of_sums.data(), n, 1e-8f, kClamp);
  kernel.maximum(most.data(), b.data(), n);
  kernel.minimum(least.data(), b.data(), n);
  for (size_t i = 0; i < size; ++i) {
    CHECK(quantized[i] == (i == 0 ? 0 : CodeOf(reals[i] * 1.1f))) << symbol << " quantize of " << n;
    CHECK(back[i] == static_cast<float>(a[i]) * 0.3f) << symbol << " dequantize of " << n;
    CHECK(other[i] == CodeOf(static_cast<float>(a[i]) * 1.3f)) << symbol << " requantize of " << n;
    const int64_t sum = (int64_t{1} << 40) + 3 * a[i];
    CHECK(sums[i] == sum) << symbol << " sum of rows of " << n;
    CHECK(of_sums[i] == CodeOf(static_cast<float>(sum) * 1e-8f)) << symbol << " sums of " << n;
    CHECK(most[i] == std::max(a[i], b[i]) && least[i] == std::min(a[i], b[i]))
        << symbol << " order of " << n;
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<vector_s16>& entry) {
  for (int n : kSizes) {
    CheckBinary(entry.symbol, entry.fn(), n);
    CheckConversions(entry.symbol, entry.fn(), n);
  }
}

template <>
void TimeKernel(const Kernel<vector_s16>& entry) {
  using benching::kElements;
  const VectorS16Kernel& kernel = entry.fn();
  const std::vector<int16_t> a(kElements, 17), b(kElements, -5);
  std::vector<int16_t> y(kElements);
  std::vector<float> reals(kElements, 0.37f);
  const BinaryS16Args t = {a.data(), b.data(), 1, 1, y.data(), kElements, 0.3f, 0.7f, kClamp};
  const auto report = [&](const char* what, auto call) {
    benching::ReportElements(entry.symbol, what, benching::Time(call));
  };
  report("add", [&] { kernel.add(t); });
  report("mul", [&] { kernel.mul(t); });
  report("quantize", [&] { kernel.quantize(reals.data(), y.data(), kElements, 9.0f, kClamp); });
  report("dequantize", [&] { kernel.dequantize(a.data(), reals.data(), kElements, 0.1f); });
}

}  // namespace bitlite
