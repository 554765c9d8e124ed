// Every function of vector_s8 against plain loops over requant.h, to the bit. Runs of all lengths
// around a vector's.
#include <algorithm>
#include <string>
#include <vector>

#include "requant.h"
#include "tests/benching.h"
#include "tests/kernel_cases.h"
#include "tests/testing.h"
#include "tests/values.h"

namespace bitlite {
namespace {

constexpr int kLengths[] = {1, 2, 15, 16, 31, 32, 33, 63, 64, 65, 127, 130, 300};
constexpr OutputCodesS8 kOutputs[] = {{3, -128, 127}, {-128, -128, 127}, {-20, -20, 90}};

std::vector<int8_t> Codes(Random& random, int n) {
  std::vector<int8_t> x(static_cast<size_t>(n));
  for (int8_t& v : x) v = Code(random);
  return x;
}

// Accumulators whose requantized values lie on both sides of the codes, and some anywhere.
std::vector<int32_t> Accumulators(Random& random, int n) {
  std::vector<int32_t> x(static_cast<size_t>(n));
  for (int32_t& v : x) {
    v = static_cast<int32_t>(random());
    if (random() % 4 != 0) v %= 200000;
  }
  return x;
}

int32_t Rounded(float v, const OutputCodesS8& out) {
  return RoundClamp(v, out.zero_point, out.qmin, out.qmax);
}

float BinaryValue(const BinaryS8Args& t, int op, int64_t i) {
  const int32_t p = t.a[i * t.a_step] - t.a_zero, q = t.b[i * t.b_step] - t.b_zero;
  if (op == 0) {
    const float left = static_cast<float>(p) * t.lhs_scale;
    return left + static_cast<float>(q) * t.rhs_scale;
  }
  if (op == 2 && p >= 0) return static_cast<float>(p) * t.rhs_scale;
  return static_cast<float>(p * q) * t.lhs_scale;
}

// Of values within the codes, of those that int32 holds, and beyond.
constexpr float kScales[][2] = {{0.013f, 0.37f}, {8000.0f, -8000.0f}, {9e7f, -3e8f}};

void CheckBinary(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(1);
  for (int n : kLengths) {
    for (const OutputCodesS8& out : kOutputs) {
      for (int repeat = 0; repeat < 9; ++repeat) {
        const auto& scales = kScales[repeat / 3];
        const std::vector<int8_t> a = Codes(random, n), b = Codes(random, n);
        std::vector<int8_t> y(static_cast<size_t>(n));
        std::vector<uint8_t> near_tie(static_cast<size_t>(n));
        BinaryS8Args t = {a.data(), b.data(), repeat % 3 != 1, repeat % 3 != 2, y.data(), n,
                          5,        -90,      scales[0],       scales[1],       out};
        const auto check = [&](const char* what, int op) {
          for (int i = 0; i < n; ++i) {
            CHECK(y[i] == Rounded(BinaryValue(t, op, i), out))
                << symbol << " " << what << " n=" << n << " at " << i;
          }
        };
        kernel.add(t);
        check("add", 0);
        kernel.mul(t);
        check("mul", 1);
        kernel.prelu(t);
        check("prelu", 2);
        const RoundingTieBand band = {0.4f, 0.1f};
        for (int op : {0, 1}) {
          (op == 0 ? kernel.add_flagging_ties : kernel.mul_flagging_ties)(t, band, near_tie.data());
          check("with ties", op);
          const float low = static_cast<float>(out.qmin - out.zero_point);
          const float high = static_cast<float>(out.qmax - out.zero_point);
          for (int i = 0; i < n; ++i) {
            const float v = std::min(std::max(BinaryValue(t, op, i), low), high);
            const float rest = std::fabs(v - std::nearbyint(v));
            const bool near =
                rest >= band.half_rest || (rest <= band.whole_rest && v < 0 && v > low);
            CHECK(near_tie[i] == near) << symbol << " ties n=" << n << " at " << i << ": " << v;
          }
        }
      }
    }
  }
}

void CheckRows(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(6);
  for (int n : kLengths) {
    for (const OutputCodesS8& out : kOutputs) {
      for (int repeat = 0; repeat < 6; ++repeat) {
        const int rows = repeat / 2 * 3 + 1;
        const bool by_row = repeat % 2 == 0;
        const std::vector<int8_t> a = Codes(random, rows * n);
        const Buffer b = Normal(static_cast<size_t>(by_row ? rows : n), random);
        std::vector<int8_t> y(a.size());
        RowsS8Args t = {a.data(), y.data(), rows, n, b.get(), by_row, -7, 0.37f, 1.7f, out};
        const auto check = [&](const char* what, auto run, auto value) {
          const auto wrong = [&](int i) {
            return y[i] !=
                   Rounded(value(static_cast<float>(a[i] + 7), b[by_row ? i / n : i % n]), out);
          };
          t.a = a.data();
          run(t);
          for (int i = 0; i < rows * n; ++i) {
            CHECK(!wrong(i)) << symbol << " " << what << " n=" << n << " at " << i;
          }
          y = a;
          t.a = y.data();
          run(t);
          for (int i = 0; i < rows * n; ++i) {
            CHECK(!wrong(i)) << symbol << " " << what << " in place, n=" << n << " at " << i;
          }
        };
        check("add_rows", kernel.add_rows, [](float p, float v) { return p * 0.37f + v; });
        check("mul_rows", kernel.mul_rows, [](float p, float v) { return p * v * 1.7f; });
        check("prelu_rows", kernel.prelu_rows,
              [](float p, float v) { return p < 0 ? p * v * 1.7f : p * 0.37f; });
        t.b_scale = 1;
        check("prelu_rows by factors", kernel.prelu_rows,
              [](float p, float v) { return p < 0 ? p * v : p * 0.37f; });
      }
    }
  }
}

void CheckConversions(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(2);
  for (int n : kLengths) {
    for (const OutputCodesS8& out : kOutputs) {
      const std::vector<int8_t> codes = Codes(random, n);
      const std::vector<int32_t> acc = Accumulators(random, n);
      const Buffer reals = Normal(static_cast<size_t>(n), random);
      for (int i = 0; i < n; i += 7) reals[i] = i % 2 == 0 ? kInf : NAN;
      for (int i = 3; i < n; i += 7) reals[i] = 0.125f * static_cast<float>(i % 9);
      std::vector<int8_t> y(static_cast<size_t>(n));
      std::vector<float> back(static_cast<size_t>(n));
      const auto check = [&](const char* what, auto want) {
        for (int i = 0; i < n; ++i) {
          CHECK(y[i] == want(i)) << symbol << " " << what << " n=" << n << " at " << i;
        }
      };
      kernel.quantize(reals.get(), y.data(), n, 20.0f, out);
      check("quantize", [&](int i) {
        const float v = reals[i] * 20.0f;
        return Rounded(v == v ? v : 0.0f, out);
      });
      kernel.quantize_fused(reals.get(), y.data(), n, 20.0f, out);
      check("quantize_fused", [&](int i) {
        return QuantizeGemmlowp(reals[i], 20.0f, out.zero_point, out.qmin, out.qmax);
      });
      for (bool infinite : {true, false}) {
        std::vector<float> values(reals.get(), reals.get() + n);
        for (float& v : values) v = std::isinf(v) && !infinite ? NAN : v;
        for (float bound : {0.0f, 0.5f}) {
          float low = -bound, high = bound, least = low, most = high;
          for (float v : values) {
            least = v < least ? v : least;
            most = v > most ? v : most;
          }
          kernel.widen_range(values.data(), n, &low, &high);
          CHECK(low == least && high == most) << symbol << " widen_range n=" << n;
        }
      }
      kernel.dequantize(codes.data(), back.data(), n, -9, 0.13f);
      for (int i = 0; i < n; ++i) {
        CHECK(back[i] == static_cast<float>(codes[i] + 9) * 0.13f) << symbol << " dequantize";
      }
      for (float m : {1.3f, 8000.0f, 9e7f}) {
        kernel.requantize(codes.data(), y.data(), n, -9, m, out);
        check("requantize",
              [&](int i) { return Rounded(static_cast<float>(codes[i] + 9) * m, out); });
      }
      kernel.requantize_s32(acc.data(), y.data(), n, 1000, 7e-4f, out);
      const auto requantized = [&](uint32_t sum) {
        return RequantizeRneF32(static_cast<int32_t>(sum - 1000u), 7e-4f, out.zero_point, out.qmin,
                                out.qmax);
      };
      check("requantize_s32", [&](int i) { return requantized(static_cast<uint32_t>(acc[i])); });
      std::vector<int32_t> mantissa, exponent;
      for (int i = 0; i < n; ++i) {
        const GemmlowpMultiplier m = QuantizeMultiplier(std::ldexp(1e-3, i % 12 - 1));
        mantissa.push_back(m.mantissa);
        exponent.push_back(m.exponent);
      }
      kernel.requantize_s32_gemmlowp(acc.data(), y.data(), n, mantissa.data(), exponent.data(),
                                     out);
      check("requantize_s32_gemmlowp", [&](int i) {
        return RequantizeGemmlowp(acc[i], {mantissa[i], exponent[i]}, out.zero_point, out.qmin,
                                  out.qmax);
      });
      for (int taps : {1, 2, 9}) {
        const int step = n + 2;
        const std::vector<int32_t> sums = Accumulators(random, step * taps);
        kernel.requantize_window_sums(sums.data(), step, taps, y.data(), n, 1000, 7e-4f, out);
        check("requantize_window_sums", [&](int i) {
          uint32_t sum = 0;
          for (int t = 0; t < taps; ++t) sum += static_cast<uint32_t>(sums[t * step + i]);
          return requantized(sum);
        });
      }
    }
  }
}

void CheckExtremesAndSums(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(3);
  for (int n : kLengths) {
    const std::vector<int8_t> x = Codes(random, n), z = Codes(random, n);
    CHECK(kernel.largest(x.data(), n) == *std::max_element(x.begin(), x.end())) << symbol << n;
    CHECK(kernel.smallest(x.data(), n) == *std::min_element(x.begin(), x.end())) << symbol << n;
    int64_t total = 0;
    for (int8_t v : x) total += v;
    CHECK(kernel.sum(x.data(), n) == total) << symbol << " sum n=" << n;
    std::vector<int8_t> high = z, low = z;
    kernel.maximum(high.data(), x.data(), n);
    kernel.minimum(low.data(), x.data(), n);
    for (int i = 0; i < n; ++i) {
      CHECK(high[i] == std::max(x[i], z[i]) && low[i] == std::min(x[i], z[i])) << symbol << n;
    }
    for (int rows : {1, 2, 7, 40}) {
      const int step = n + 3;
      const std::vector<int8_t> image = Codes(random, step * rows);
      std::vector<int32_t> sums(static_cast<size_t>(n), 11), fresh(static_cast<size_t>(n), 11);
      kernel.largest_of_rows(image.data(), step, rows, n, high.data());
      kernel.smallest_of_rows(image.data(), step, rows, n, low.data());
      kernel.sum_of_rows(image.data(), step, rows, n, sums.data(), true);
      kernel.sum_of_rows(image.data(), step, rows, n, fresh.data(), false);
      for (int i = 0; i < n; ++i) {
        int most = -128, least = 127, sum = 0;
        for (int r = 0; r < rows; ++r) {
          most = std::max<int>(most, image[r * step + i]);
          least = std::min<int>(least, image[r * step + i]);
          sum += image[r * step + i];
        }
        CHECK(high[i] == most && low[i] == least && sums[i] == sum + 11 && fresh[i] == sum)
            << symbol << " rows=" << rows << " n=" << n << " at " << i;
      }
    }
  }
}

void CheckBlends(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(4);
  for (int channels : {1, 3, 4, 16, 33}) {
    const int width = 9, wide = 20;
    const std::vector<int8_t> x = Codes(random, width * channels);
    std::vector<ColumnBlendS8> columns;
    for (int w = 0; w < wide; ++w) {
      const int16_t left = static_cast<int16_t>(random() % (kOneS8 + 1));
      columns.push_back({static_cast<int64_t>(random() % width) * channels,
                         static_cast<int64_t>(random() % width) * channels, left,
                         static_cast<int16_t>(kOneS8 - left)});
    }
    std::vector<int32_t> top(static_cast<size_t>(wide * channels)), bottom(top.size());
    kernel.blend_columns(x.data(), columns.data(), wide, channels, top.data());
    for (int w = 0; w < wide; ++w) {
      for (int c = 0; c < channels; ++c) {
        const ColumnBlendS8& at = columns[w];
        CHECK(top[w * channels + c] == x[at.at_left + c] * at.left + x[at.at_right + c] * at.right)
            << symbol << " blend_columns channels=" << channels;
      }
    }
    std::reverse_copy(top.begin(), top.end(), bottom.begin());
    std::vector<int8_t> y(top.size());
    const int n = static_cast<int>(y.size());
    kernel.blend_rows(top.data(), bottom.data(), n, 300, kOneS8 - 300, y.data());
    for (int i = 0; i < n; ++i) {
      const int32_t sum = top[i] * 300 + bottom[i] * (kOneS8 - 300) + (1 << 19);
      CHECK(y[i] == sum >> 20) << symbol << " blend_rows at " << i;
    }
  }
}

void CheckWindows(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(7);
  for (int channels : kLengths) {
    for (int count : {1, 4, 255}) {
      const int windows = 3, step = 2 * channels;
      std::vector<int64_t> taps;
      for (int k = 0; k < count; ++k) taps.push_back(k * (channels + 5));
      const std::vector<int8_t> x =
          Codes(random, static_cast<int>(taps.back()) + windows * step + channels);
      std::vector<int8_t> y(static_cast<size_t>(windows * channels));
      const OutputCodesS8 out = kOutputs[count % 3];
      kernel.average_windows(
          {x.data(), y.data(), taps.data(), count, windows, step, channels, 50, 0.21f, out});
      for (int i = 0; i < windows * channels; ++i) {
        int32_t sum = 0;
        for (int64_t tap : taps) sum += x[tap + i / channels * step + i % channels];
        CHECK(y[i] == RequantizeRneF32(sum - 50, 0.21f, out.zero_point, out.qmin, out.qmax))
            << symbol << " average_windows channels=" << channels << " at " << i;
      }
    }
  }
}

void CheckSoftmax(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(8);
  SoftmaxS8Table table{};
  for (int d = 0; d < 256; ++d) {
    table.whole[d] = static_cast<int32_t>(std::rint(std::exp(-d * 0.05) * 16777216.0));
    table.low[d] = static_cast<uint16_t>(table.whole[d]);
    table.high[d] = static_cast<uint16_t>(table.whole[d] >> 16);
  }
  table.y_scale = 1 / 256.0;
  for (int n : kLengths) {
    const std::vector<int8_t> x = Codes(random, n);
    std::vector<float> y(static_cast<size_t>(n) + 1, 5.0f);
    kernel.softmax_row(x.data(), n, table, y.data());
    const int top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (int8_t v : x) sum += table.whole[top - v];
    const float m = static_cast<float>(1.0 / (sum * table.y_scale));
    for (int i = 0; i < n; ++i) {
      CHECK(y[i] == static_cast<float>(table.whole[top - x[i]]) * m)
          << symbol << " softmax_row n=" << n << " at " << i;
    }
    CHECK(y[n] == 5.0f) << symbol << " softmax_row writes beyond n=" << n;
  }
}

void CheckMaps(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(5);
  const std::vector<int8_t> table = Codes(random, 256);
  for (int n : kLengths) {
    const std::vector<int8_t> x = Codes(random, n);
    std::vector<int8_t> y(static_cast<size_t>(n));
    kernel.clamp(x.data(), y.data(), n, -77, 60);
    for (int i = 0; i < n; ++i) {
      CHECK(y[i] == std::min(std::max<int>(x[i], -77), 60)) << symbol << " clamp n=" << n;
    }
    kernel.lookup(x.data(), y.data(), n, table.data());
    for (int i = 0; i < n; ++i) CHECK(y[i] == table[x[i] + 128]) << symbol << " lookup n=" << n;
    for (bool greater : {false, true}) {
      for (int slope : {17000, 300}) {
        const LinesS8 lines = {
            {17000, static_cast<int16_t>(slope)}, {90, -77}, greater, 6, -90, 99};
        kernel.lines(x.data(), y.data(), n, lines);
        for (int i = 0; i < n; ++i) {
          const int a = (x[i] * 17000 >> 8) + 90, b = (x[i] * slope >> 8) - 77;
          const int v = (greater ? std::max(a, b) : std::min(a, b)) >> 6;
          CHECK(y[i] == std::clamp(v, -90, 99)) << symbol << " lines n=" << n << " at " << i;
        }
      }
    }
  }
}

// Tables whose ends are flat over all lengths, looked up for every code.
void CheckFlatEnds(const char* symbol, const VectorS8Kernel& kernel) {
  Random random(9);
  std::vector<int8_t> codes, y(256);
  for (int c = -128; c < 128; ++c) codes.push_back(static_cast<int8_t>(c));
  for (int first = 0; first <= 256; first += 3) {
    for (int last = 0; first + last <= 256; last += 5) {
      std::vector<int8_t> table = Codes(random, 256);
      std::fill_n(table.begin(), first, int8_t{3});
      std::fill_n(table.rbegin(), last, int8_t{-9});
      kernel.lookup(codes.data(), y.data(), 256, table.data());
      CHECK(y == table) << symbol << " lookup, flat for " << first << " and " << last << " codes";
    }
  }
}

}  // namespace

template <>
void TestKernel(const Kernel<vector_s8>& entry) {
  CheckBinary(entry.symbol, entry.fn());
  CheckRows(entry.symbol, entry.fn());
  CheckConversions(entry.symbol, entry.fn());
  CheckExtremesAndSums(entry.symbol, entry.fn());
  CheckBlends(entry.symbol, entry.fn());
  CheckWindows(entry.symbol, entry.fn());
  CheckSoftmax(entry.symbol, entry.fn());
  CheckMaps(entry.symbol, entry.fn());
  CheckFlatEnds(entry.symbol, entry.fn());
}

// Times of the elementwise int8 functions: billions of codes per second.
template <>
void TimeKernel(const Kernel<vector_s8>& entry) {
  using benching::kElements;
  const VectorS8Kernel& kernel = entry.fn();
  const OutputCodesS8 out = {3, -128, 127};
  const std::vector<int8_t> a(kElements, 17), b(kElements, -5);
  std::vector<int8_t> y(kElements);
  std::vector<uint8_t> near_tie(kElements);
  std::vector<int32_t> acc(kElements, 12345), mantissa(kElements, 1 << 30), exponent(kElements, -5);
  std::vector<float> reals(kElements, 0.37f);
  const int64_t n = kElements, side = 64;
  const BinaryS8Args t = {a.data(), b.data(), 1, 1, y.data(), n, 4, -7, 0.3f, 0.7f, out};
  const RoundingTieBand band = {0.499f, 0.001f};
  const std::vector<ColumnBlendS8> columns(side, {0, side, 512, 512});
  const auto report = [&](const char* what, auto call) {
    benching::ReportElements(entry.symbol, what, benching::Time(call));
  };
  report("add", [&] { kernel.add(t); });
  report("mul", [&] { kernel.mul(t); });
  report("prelu", [&] { kernel.prelu(t); });
  RowsS8Args rows = {a.data(), y.data(), n / side, side, reals.data(), false, 4, 0.3f, 0.2f, out};
  report("add of a row", [&] { kernel.add_rows(rows); });
  report("mul by a row", [&] { kernel.mul_rows(rows); });
  report("prelu by a row", [&] { kernel.prelu_rows(rows); });
  rows.b_scale = 1;
  report("prelu by a row of factors", [&] { kernel.prelu_rows(rows); });
  rows.by_row = true;
  report("mul of each row", [&] { kernel.mul_rows(rows); });
  report("add, flagging ties", [&] { kernel.add_flagging_ties(t, band, near_tie.data()); });
  report("mul, flagging ties", [&] { kernel.mul_flagging_ties(t, band, near_tie.data()); });
  report("quantize", [&] { kernel.quantize(reals.data(), y.data(), n, 9.0f, out); });
  report("quantize, fused", [&] { kernel.quantize_fused(reals.data(), y.data(), n, 9.0f, out); });
  report("dequantize", [&] { kernel.dequantize(a.data(), reals.data(), n, 3, 0.1f); });
  report("requantize", [&] { kernel.requantize(a.data(), y.data(), n, 3, 0.7f, out); });
  report("requantize of int32",
         [&] { kernel.requantize_s32(acc.data(), y.data(), n, 9, 1e-3f, out); });
  report("requantize of int32, gemmlowp", [&] {
    kernel.requantize_s32_gemmlowp(acc.data(), y.data(), n, mantissa.data(), exponent.data(), out);
  });
  report("maximum", [&] { kernel.maximum(y.data(), a.data(), n); });
  report("minimum", [&] { kernel.minimum(y.data(), a.data(), n); });
  report("largest", [&] { y[0] = kernel.largest(a.data(), n); });
  report("smallest", [&] { y[0] = kernel.smallest(a.data(), n); });
  report("sum", [&] { acc[0] = static_cast<int32_t>(kernel.sum(a.data(), n)); });
  report("largest of 64 rows",
         [&] { kernel.largest_of_rows(a.data(), side, side, side, y.data()); });
  report("smallest of 64 rows",
         [&] { kernel.smallest_of_rows(a.data(), side, side, side, y.data()); });
  report("sum of 64 rows",
         [&] { kernel.sum_of_rows(a.data(), side, side, side, acc.data(), false); });
  report("requantize of window sums", [&] {
    kernel.requantize_window_sums(acc.data(), side, 9, y.data(), n - 8 * side, 9, 1e-3f, out);
  });
  report("blend of columns",
         [&] { kernel.blend_columns(a.data(), columns.data(), side, side, acc.data()); });
  report("blend of rows",
         [&] { kernel.blend_rows(acc.data(), acc.data(), n, 512, 512, y.data()); });
  const std::vector<int64_t> taps = {0, side, n / 2, n / 2 + side};
  report("average of 4 codes", [&] {
    kernel.average_windows(
        {a.data(), y.data(), taps.data(), 4, n / 4 / side, 2 * side, side, 9, 0.3f, out});
  });
  SoftmaxS8Table powers{};
  std::fill_n(powers.whole, 256, 70000);
  powers.y_scale = 0.01;
  report("softmax of a row", [&] { kernel.softmax_row(a.data(), n, powers, reals.data()); });
  const LinesS8 lines = {{17000, 300}, {5, 7}, true, 6, -100, 100};
  report("lines", [&] { kernel.lines(a.data(), y.data(), n, lines); });
  report("clamp", [&] { kernel.clamp(a.data(), y.data(), n, -100, 100); });
  std::vector<int8_t> table;
  for (int i = 0; i < 256; ++i) table.push_back(static_cast<int8_t>(i / 2));
  report("lookup", [&] { kernel.lookup(a.data(), y.data(), n, table.data()); });
  std::fill_n(table.begin(), 64, table[64]);
  report("lookup, a quarter flat", [&] { kernel.lookup(a.data(), y.data(), n, table.data()); });
}

}  // namespace bitlite
