// gemv_s4 against its scalar kernel, bit for bit, and digits against the activations they stand
// for.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "digits.h"
#include "kernels/common/kernels.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

struct Row {
  std::vector<int8_t> digits;
  std::vector<float> units;
  std::vector<int32_t> sums;
  int count;

  Row(const std::vector<float>& x, int64_t block)
      : digits(static_cast<size_t>(DigitBytes(static_cast<int64_t>(x.size()), block))),
        units((x.size() + static_cast<size_t>(block) - 1) / static_cast<size_t>(block)),
        sums(units.size() * kPairs),
        count(DigitsOf(x.data(), static_cast<int64_t>(x.size()), block, digits.data(), units.data(),
                       sums.data())) {}
};

std::vector<float> NormalRow(int64_t k, uint32_t seed) {
  Random random(seed);
  const Buffer values = Normal(static_cast<size_t>(k), random);
  return std::vector<float>(values.get(), values.get() + k);
}

void CheckAgainstScalar(const Kernel<gemv_s4>& entry, int64_t n, int64_t k, int64_t block,
                        bool offsets, float outlier, bool extreme = false) {
  std::vector<float> x = NormalRow(k, static_cast<uint32_t>(n * 100 + k));
  x[static_cast<size_t>(k / 2)] *= outlier;
  Row row(x, block);
  CHECK(row.count == (outlier > 1000 ? kMostDigits : kDigits)) << row.count << " digits";
  const int64_t blocks = static_cast<int64_t>(row.units.size());
  const int64_t lines = (block + kNibbles - 1) / kNibbles;
  const int64_t width = (n + kColumnsS4 - 1) / kColumnsS4 * kColumnsS4;
  Random random(7);
  const size_t columns = static_cast<size_t>(blocks * width);
  const Buffer scale = Normal(columns, random), offset = Normal(columns, random);
  const Buffer bias = Normal(columns, random), sums = Normal(columns, random);
  const Buffer raw = Normal(columns * static_cast<size_t>(lines), random);
  std::vector<uint32_t> w(columns * static_cast<size_t>(lines));
  std::memcpy(w.data(), raw.get(), w.size() * sizeof(float));
  if (extreme) {
    std::fill(row.digits.begin(), row.digits.end(), int8_t{-128});
    std::fill(row.sums.begin(), row.sums.end(), 0);
    std::fill(w.begin(), w.end(), 0xffffffffu);
  }
  std::vector<int32_t> first = row.sums;
  for (int32_t& s : first) s *= offsets ? 0 : -8;
  std::vector<float> y(static_cast<size_t>(n) + 1, 77.0f), want = y;
  GemvS4Tile t{};
  t.x = row.digits.data();
  t.units = row.units.data();
  t.first = first.data();
  t.row_sums = sums.get();
  t.digits = row.count;
  t.blocks = blocks;
  t.lines = lines;
  t.width = width;
  t.w = w.data();
  t.scale = scale.get();
  t.offset = offsets ? offset.get() : nullptr;
  t.bias = bias.get();
  t.n = n;
  t.lo = -20.0f;
  t.hi = 30.0f;
  t.y = want.data();
  KernelTable<gemv_s4>().front().fn(t);
  t.y = y.data();
  entry.fn(t);
  CHECK(std::memcmp(y.data(), want.data(), y.size() * sizeof(float)) == 0)
      << entry.symbol << " n=" << n << " k=" << k << " block=" << block;
}

}  // namespace

template <>
void TestKernel(const Kernel<gemv_s4>& entry) {
  for (bool offsets : {false, true}) {
    for (float outlier : {1.0f, 3000.0f}) {
      for (int64_t n : {1, 15, 16, 17, 33, 48, 63, 64}) {
        CheckAgainstScalar(entry, n, 96, 32, offsets, outlier);
      }
      CheckAgainstScalar(entry, 64, 200, 64, offsets, outlier);
      CheckAgainstScalar(entry, 20, 75, 20, offsets, outlier);
      CheckAgainstScalar(entry, 20, 500, 500, offsets, outlier);
      const int64_t most = kMostLines * kNibbles;
      CheckAgainstScalar(entry, 16, most, most, offsets, outlier, true);
    }
  }
}

BITLITE_TEST(DigitsAreTheActivationsWithinHalfAUnit) {
  for (float outlier : {1.0f, 3000.0f}) {
    constexpr int64_t kSize = 75, kBlock = 20, kLinesOf = 3;
    std::vector<float> x = NormalRow(kSize, 3);
    x[30] *= outlier;
    const Row row(x, kBlock);
    for (int64_t i = 0; i < kSize; ++i) {
      const int64_t b = i / kBlock, at = i % kBlock, line = b * kLinesOf + at / kNibbles;
      double value = 0, power = 1;
      for (int d = 0; d < row.count; ++d, power *= 256) {
        const int64_t from = ((line * row.count + d) * 2 + at % 2) * 4 + at % kNibbles / 2;
        value += power * row.digits[static_cast<size_t>(from)];
      }
      const double unit = row.units[static_cast<size_t>(b)];
      const double most =
          row.count > kDigits ? 1.0 : 0.5;  // the lowest of four digits stops at 127
      CHECK(std::abs(value * unit - x[static_cast<size_t>(i)]) <= most * unit) << "of " << i;
    }
  }
}

BITLITE_TEST(RowsThatDigitsAreTooFewForHaveNone) {
  const float most = std::numeric_limits<float>::max();
  for (float odd : {1e6f, most, std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(64, 1.0f);
    x[40] = odd;
    CHECK(Row(x, 32).count == 0) << odd;
  }
  CHECK(Row(std::vector<float>(64, 1e-30f), 32).count == 0) << "next to nothing";
  CHECK(Row(std::vector<float>(64, 0.0f), 32).count == kDigits) << "nothing";
  std::vector<float> alone(64, 0.0f);
  alone[5] = 1e6f;
  CHECK(Row(alone, 32).count == kDigits) << "one alone";
}

template <>
void TimeKernel(const Kernel<gemv_s4>& entry) {
  constexpr int64_t k = 4096, block = 32, blocks = k / block, n = kMostColumnsS4;
  const Row row(NormalRow(k, 1), block);
  const Aligned<float> columns = benching::Floats(blocks * n);
  Aligned<uint32_t> w(static_cast<size_t>(k / kNibbles * n));
  std::memset(w.data(), 0x35, w.size() * sizeof(uint32_t));
  Aligned<float> y(static_cast<size_t>(n));
  GemvS4Tile t{};
  t.x = row.digits.data();
  t.units = row.units.data();
  t.first = row.sums.data();
  t.digits = row.count;
  t.blocks = blocks;
  t.lines = block / kNibbles;
  t.width = t.n = n;
  t.w = w.data();
  t.scale = t.bias = columns.data();
  t.y = y.data();
  t.lo = -1e30f;
  t.hi = 1e30f;
  const double seconds = benching::Time([&] { entry.fn(t); });
  benching::Report(entry.symbol, seconds, 2.0 * static_cast<double>(k * n),
                   benching::FmaPeakGops(entry.symbol));
}

}  // namespace bitlite
