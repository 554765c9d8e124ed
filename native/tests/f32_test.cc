// The float kernels: every row that this CPU can run against plain loops in double. Buffers have
// the exact size of their contents, so that the address sanitizer sees a kernel that reaches
// beyond.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <set>

#include "kernels/common/kernels.h"
#include "kernels/gemm_f32/gemm_pack.h"
#include "rows.h"
#include "testing.h"

namespace bitlite {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int kSizes[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65};

using Random = std::mt19937;
using Buffer = std::unique_ptr<float[]>;

Buffer Normal(size_t n, Random& random) {
  Buffer values(new float[n]);
  std::normal_distribution<float> distribution;
  for (size_t i = 0; i < n; ++i) values[i] = distribution(random);
  return values;
}

bool Near(float got, double want, double tolerance) {
  return std::fabs(got - want) <= tolerance * (1.0 + std::fabs(want));
}

void CheckGemm(const KernelRow& row, int m, int n, int taps, int kc, bool residual) {
  Random random(static_cast<uint32_t>(m * 1000 + n * 10 + kc));
  const int k = taps * kc;
  const Buffer a = Normal(static_cast<size_t>(m * k), random),
               w = Normal(static_cast<size_t>(n * k), random);
  const Buffer r = Normal(static_cast<size_t>(m * n), random),
               b = Normal(static_cast<size_t>(n), random);
  Aligned<float> packed(static_cast<size_t>(PanelsOf(n) * kGemmPanel * k));
  PackPanels(w.get(), n, k, k, 1, packed.data());
  Aligned<float> bias(static_cast<size_t>(PanelsOf(n) * kGemmPanel));
  std::fill_n(bias.data(), bias.size(), 0.0f);
  std::copy_n(b.get(), n, bias.data());
  std::vector<const float*> pointers;
  for (int t = 0; t < taps; ++t) {
    for (int i = 0; i < m; ++i) pointers.push_back(a.get() + i * k + t * kc);
  }
  const Buffer y(new float[static_cast<size_t>(m * n)]);
  const GemmF32Tile tile = {pointers.data(),
                            m,
                            taps,
                            kc,
                            packed.data(),
                            int64_t{k} * kGemmPanel,
                            bias.data(),
                            residual ? r.get() : nullptr,
                            n,
                            y.get(),
                            n,
                            n,
                            -3.0f,
                            3.0f};
  reinterpret_cast<gemm_f32::Fn*>(row.fn)(tile);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double want = b[j] + (residual ? r[i * n + j] : 0.0);
      for (int p = 0; p < k; ++p) want += static_cast<double>(a[i * k + p]) * w[j * k + p];
      want = std::min(3.0, std::max(-3.0, want));
      CHECK(Near(y[i * n + j], want, 1e-4)) << row.symbol << " m=" << m << " n=" << n << " k=" << k;
    }
  }
}

// Codes in the panels of packed_f32.h, their values as w: row j is output j.
void CheckPacked(const KernelRow& row, int m, int n, int k, int bits) {
  Random random(static_cast<uint32_t>(m * 1000 + n * 10 + k + bits));
  const Buffer a = Normal(static_cast<size_t>(m * k), random);
  const int panels = (n + kPackedPanel - 1) / kPackedPanel;
  const int padded = panels * kPackedPanel, lines = bits == 8 ? k : (k + 1) / 2;
  const Buffer scale = Normal(static_cast<size_t>(padded), random);
  const Buffer offset = Normal(static_cast<size_t>(padded), random);
  const Buffer bias = Normal(static_cast<size_t>(padded), random);
  const Buffer raw = Normal(static_cast<size_t>(n * k), random);
  std::vector<uint8_t> packed(static_cast<size_t>(panels * lines * kPackedPanel));
  std::vector<int> code(static_cast<size_t>(n * k));
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < k; ++i) {
      const int top = bits == 8 ? 127 : 15, low = bits == 8 ? -128 : 0;
      const int c = std::min(top, std::max(low, static_cast<int>(raw[j * k + i] * top)));
      code[j * k + i] = c;
      const int line = bits == 8 ? i : i / 2;
      uint8_t& to = packed[(j / kPackedPanel * lines + line) * kPackedPanel + j % kPackedPanel];
      to = static_cast<uint8_t>(bits == 8 ? c : i % 2 == 0 ? to | c : to | c << 4);
    }
  }
  std::vector<const float*> rows;
  std::vector<float> sums;
  for (int r = 0; r < m; ++r) {
    rows.push_back(a.get() + r * k);
    sums.push_back(std::accumulate(rows[r], rows[r] + k, 0.0f));
  }
  const Buffer y(new float[static_cast<size_t>(m * n)]);
  const PackedF32Tile tile = {rows.data(),
                              m,
                              k,
                              bits,
                              packed.data(),
                              int64_t{lines} * kPackedPanel,
                              scale.get(),
                              offset.get(),
                              bias.get(),
                              sums.data(),
                              y.get(),
                              n,
                              n,
                              -500.0f,
                              500.0f};
  reinterpret_cast<packed_f32::Fn*>(row.fn)(tile);
  for (int r = 0; r < m; ++r) {
    for (int j = 0; j < n; ++j) {
      double sum = 0, size = 1;
      for (int i = 0; i < k; ++i) {
        const double part = static_cast<double>(rows[r][i]) * code[j * k + i];
        sum += part;
        size += std::abs(part);
      }
      double want = sum * scale[j] + static_cast<double>(sums[r]) * offset[j] + bias[j];
      want = std::min(500.0, std::max(-500.0, want));
      CHECK(std::abs(y[r * n + j] - want) <= 1e-5 * (size * std::abs(scale[j]) + 10))
          << row.symbol << " m=" << m << " n=" << n << " k=" << k << " bits=" << bits;
    }
  }
}

void CheckDepthwise(const KernelRow& row, int channels, int kernel, int stride, int dilation,
                    int pad) {
  Random random(static_cast<uint32_t>(channels * 100 + kernel));
  const int in_w = 11, lines = 2;
  const int out_w = (in_w + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  if (out_w < 1) return;
  const Buffer x = Normal(static_cast<size_t>(lines * in_w * channels), random);
  const Buffer w = Normal(static_cast<size_t>(lines * kernel * channels), random);
  const Buffer b = Normal(static_cast<size_t>(channels), random);
  const Buffer y(new float[static_cast<size_t>(out_w * channels)]);
  const float* rows[lines] = {x.get(), x.get() + in_w * channels};
  const DepthwiseF32Row job = {rows, lines, w.get(), b.get(), y.get(),  channels, 0,     channels,
                               in_w, out_w, kernel,  stride,  dilation, pad,      -2.0f, 2.0f};
  reinterpret_cast<depthwise_f32::Fn*>(row.fn)(job);
  for (int o = 0; o < out_w; ++o) {
    for (int c = 0; c < channels; ++c) {
      double want = b[c];
      for (int l = 0; l < lines; ++l) {
        for (int k = 0; k < kernel; ++k) {
          const int i = o * stride - pad + k * dilation;
          if (i < 0 || i >= in_w) continue;
          want +=
              static_cast<double>(rows[l][i * channels + c]) * w[(l * kernel + k) * channels + c];
        }
      }
      want = std::min(2.0, std::max(-2.0, want));
      CHECK(Near(y[o * channels + c], want, 1e-5)) << row.symbol << " channels=" << channels;
    }
  }
}

BITLITE_TEST(GemmF32) {
  ForEachRow("gemm_f32", [](const KernelRow& row) {
    for (int m = 1; m <= row.a; ++m) {
      for (int n : kSizes) {
        CheckGemm(row, m, n, 1, 9, false);
        CheckGemm(row, m, n, 3, 4, true);
      }
      CheckGemm(row, m, 200, 1, 33, false);
    }
    CheckGemm(row, 1, 17, 0, 5, false);  // no taps: the bias alone
  });
}

BITLITE_TEST(PackedF32) {
  ForEachRow("packed_f32", [](const KernelRow& row) {
    for (int bits : {4, 8}) {
      for (int m = 1; m <= row.a; ++m) {
        for (int n : kSizes) CheckPacked(row, m, n, 9, bits);
        CheckPacked(row, m, 130, 32, bits);
      }
    }
  });
}

BITLITE_TEST(DepthwiseF32) {
  ForEachRow("depthwise_f32", [](const KernelRow& row) {
    for (int channels : kSizes) {
      for (int kernel : {1, 2, 3, 5}) {
        for (int stride : {1, 2, 3}) {
          for (int dilation : {1, 2})
            CheckDepthwise(row, channels, kernel, stride, dilation, kernel / 2);
        }
      }
    }
  });
}

BITLITE_TEST(UnaryF32) {
  struct Case {
    UnaryOp op;
    double (*want)(double);
    float a, b;
  };
  const Case cases[] = {
      {UnaryOp::kClamp, [](double x) { return std::min(1.0, std::max(-1.0, x)); }, -1.0f, 1.0f},
      {UnaryOp::kLeakyRelu, [](double x) { return x < 0 ? 0.5 * x : x; }, 0.5f, 0},
      {UnaryOp::kElu, [](double x) { return x < 0 ? std::expm1(x) : x; }, 1.0f, 0},
      {UnaryOp::kSelu, [](double x) { return 2.0 * (x < 0 ? 3.0 * std::expm1(x) : x); }, 3.0f,
       2.0f},
      {UnaryOp::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 0, 0},
      {UnaryOp::kTanh, [](double x) { return std::tanh(x); }, 0, 0},
      {UnaryOp::kHardSwish, [](double x) { return x * std::min(6.0, std::max(0.0, x + 3)) / 6; }, 0,
       0},
      {UnaryOp::kHardSigmoid, [](double x) { return std::min(1.0, std::max(0.0, 0.25 * x + 0.5)); },
       0.25f, 0.5f},
      {UnaryOp::kSwish, [](double x) { return x / (1 + std::exp(-x)); }, 0, 0},
      {UnaryOp::kGeluErf, [](double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }, 0,
       0},
      {UnaryOp::kGeluTanh,
       [](double x) {
         return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
       },
       0, 0},
      {UnaryOp::kErf, [](double x) { return std::erf(x); }, 0, 0},
      {UnaryOp::kExp, [](double x) { return std::exp(x); }, 0, 0},
      {UnaryOp::kLog, [](double x) { return std::log(x); }, 0, 0},
      {UnaryOp::kSqrt, [](double x) { return std::sqrt(x); }, 0, 0},
      {UnaryOp::kRsqrt, [](double x) { return 1 / std::sqrt(x); }, 0, 0},
      {UnaryOp::kAbs, [](double x) { return std::fabs(x); }, 0, 0},
      {UnaryOp::kNeg, [](double x) { return -x; }, 0, 0},
      {UnaryOp::kSquare, [](double x) { return x * x; }, 0, 0},
      {UnaryOp::kReciprocal, [](double x) { return 1 / x; }, 0, 0},
      {UnaryOp::kFloor, [](double x) { return std::floor(x); }, 0, 0},
      {UnaryOp::kCeil, [](double x) { return std::ceil(x); }, 0, 0},
      {UnaryOp::kRound, [](double x) { return std::nearbyint(x); }, 0, 0},
      {UnaryOp::kSoftplus, [](double x) { return std::log1p(std::exp(x)); }, 0, 0},
      {UnaryOp::kMish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, 0, 0},
  };
  ForEachRow("unary_f32", [&](const KernelRow& row) {
    for (const Case& c : cases) {
      for (int n : kSizes) {
        Random random(static_cast<uint32_t>(n));
        const Buffer x = Normal(static_cast<size_t>(n), random),
                     y(new float[static_cast<size_t>(n)]);
        const bool positive =
            c.op == UnaryOp::kLog || c.op == UnaryOp::kSqrt || c.op == UnaryOp::kRsqrt;
        for (int i = 0; i < n && positive; ++i) x[i] = std::fabs(x[i]) + 0.01f;
        reinterpret_cast<unary_f32::Fn*>(row.fn)({c.op, x.get(), y.get(), n, c.a, c.b});
        for (int i = 0; i < n; ++i) {
          CHECK(Near(y[i], c.want(x[i]), 1e-6))
              << row.symbol << " op " << static_cast<int>(c.op) << " of " << x[i];
        }
      }
    }
  });
}

BITLITE_TEST(BinaryF32) {
  struct Case {
    BinaryOp op;
    double (*want)(double, double);
  };
  const Case cases[] = {
      {BinaryOp::kAdd, [](double a, double b) { return a + b; }},
      {BinaryOp::kSub, [](double a, double b) { return a - b; }},
      {BinaryOp::kMul, [](double a, double b) { return a * b; }},
      {BinaryOp::kDiv, [](double a, double b) { return a / b; }},
      {BinaryOp::kMin, [](double a, double b) { return std::min(a, b); }},
      {BinaryOp::kMax, [](double a, double b) { return std::max(a, b); }},
      {BinaryOp::kSquaredDifference, [](double a, double b) { return (a - b) * (a - b); }},
      {BinaryOp::kPRelu, [](double a, double b) { return a < 0 ? a * b : a; }},
  };
  ForEachRow("binary_f32", [&](const KernelRow& row) {
    for (const Case& c : cases) {
      for (int n : kSizes) {
        for (int repeat = 0; repeat < 4; ++repeat) {
          Random random(static_cast<uint32_t>(n));
          const bool ra = repeat & 1, rb = repeat & 2;
          const Buffer a = Normal(ra ? 1 : static_cast<size_t>(n), random);
          const Buffer b = Normal(rb ? 1 : static_cast<size_t>(n), random);
          const Buffer y(new float[static_cast<size_t>(n)]);
          reinterpret_cast<binary_f32::Fn*>(row.fn)(
              {c.op, a.get(), b.get(), y.get(), n, ra, rb, -kInf, kInf});
          for (int i = 0; i < n; ++i) {
            CHECK(Near(y[i], c.want(a[ra ? 0 : i], b[rb ? 0 : i]), 1e-5))
                << row.symbol << " op " << static_cast<int>(c.op);
          }
        }
      }
    }
  });
}

double Reduced(ReduceOp op, const std::vector<double>& values) {
  double y = op == ReduceOp::kProd  ? 1
             : op == ReduceOp::kMax ? -kInf
             : op == ReduceOp::kMin ? kInf
                                    : 0;
  for (double v : values) {
    switch (op) {
      case ReduceOp::kSum:
        y += v;
        break;
      case ReduceOp::kMax:
        y = std::max(y, v);
        break;
      case ReduceOp::kMin:
        y = std::min(y, v);
        break;
      case ReduceOp::kProd:
        y *= v;
        break;
      case ReduceOp::kSumAbs:
        y += std::fabs(v);
        break;
      case ReduceOp::kSumSquare:
        y += v * v;
        break;
    }
  }
  return y;
}

constexpr ReduceOp kReduceOps[] = {ReduceOp::kSum,  ReduceOp::kMax,    ReduceOp::kMin,
                                   ReduceOp::kProd, ReduceOp::kSumAbs, ReduceOp::kSumSquare};

BITLITE_TEST(ReduceRowsF32) {
  ForEachRow("reduce_rows_f32", [](const KernelRow& row) {
    for (ReduceOp op : kReduceOps) {
      for (int n : kSizes) {
        Random random(static_cast<uint32_t>(n));
        const int taps = 3;
        const Buffer x = Normal(static_cast<size_t>(2 * taps * n), random);
        const Buffer y(new float[static_cast<size_t>(n)]);
        const float* rows[] = {x.get(), x.get() + taps * n};
        reinterpret_cast<reduce_rows_f32::Fn*>(row.fn)(
            {op, rows, 2, taps, n, y.get(), n, 0.5f, -9.0f, 9.0f});
        for (int c = 0; c < n; ++c) {
          std::vector<double> values;
          for (int i = 0; i < 2 * taps; ++i) values.push_back(x[i * n + c]);
          const double want = std::min(9.0, std::max(-9.0, 0.5 * Reduced(op, values)));
          CHECK(Near(y[c], want, 1e-5)) << row.symbol << " n=" << n;
        }
      }
    }
  });
}

BITLITE_TEST(ReduceRunF32) {
  ForEachRow("reduce_run_f32", [](const KernelRow& row) {
    for (ReduceOp op : kReduceOps) {
      for (int n : {1, 2, 7, 16, 63, 64, 65, 200}) {
        Random random(static_cast<uint32_t>(n));
        const Buffer x = Normal(static_cast<size_t>(n), random);
        const float y = reinterpret_cast<reduce_run_f32::Fn*>(row.fn)({op, x.get(), n});
        CHECK(Near(y, Reduced(op, {x.get(), x.get() + n}), 1e-5)) << row.symbol << " n=" << n;
      }
    }
  });
}

BITLITE_TEST(SoftmaxF32) {
  ForEachRow("softmax_f32", [](const KernelRow& row) {
    for (int n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      const Buffer x = Normal(static_cast<size_t>(n), random), y(new float[static_cast<size_t>(n)]);
      for (bool log : {false, true}) {
        const float beta = log ? 1.0f : 0.5f;
        reinterpret_cast<softmax_f32::Fn*>(row.fn)({x.get(), y.get(), n, beta, log});
        double sum = 0;
        for (int i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) * beta);
        for (int i = 0; i < n; ++i) {
          const double p = std::exp(static_cast<double>(x[i]) * beta) / sum;
          CHECK(Near(y[i], log ? std::log(p) : p, 2e-6)) << row.symbol << " n=" << n;
        }
      }
    }
  });
}

BITLITE_TEST(NormF32) {
  ForEachRow("norm_f32", [](const KernelRow& row) {
    for (int n : kSizes) {
      Random random(static_cast<uint32_t>(n));
      const Buffer x = Normal(static_cast<size_t>(n), random),
                   s = Normal(static_cast<size_t>(n), random);
      const Buffer o = Normal(static_cast<size_t>(n), random), y(new float[static_cast<size_t>(n)]);
      double mean = 0, variance = 0;
      for (int i = 0; i < n; ++i) mean += x[i] / static_cast<double>(n);
      for (int i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / n;
      for (bool standardize : {false, true}) {
        for (bool affine : {false, true}) {
          reinterpret_cast<norm_f32::Fn*>(row.fn)({x.get(), y.get(), n, affine ? s.get() : nullptr,
                                                   affine ? o.get() : nullptr, standardize, 1e-3f});
          for (int i = 0; i < n; ++i) {
            double want = standardize ? (x[i] - mean) / std::sqrt(variance + 1e-3) : x[i];
            if (affine) want = want * s[i] + o[i];
            CHECK(Near(y[i], want, 1e-5)) << row.symbol << " n=" << n;
          }
        }
      }
    }
  });
}

BITLITE_TEST(PackPanelsTakesAnyStrides) {
  Random random(1);
  for (int n : kSizes) {
    for (int k : {1, 15, 16, 17, 40}) {
      const Buffer w = Normal(static_cast<size_t>(n * k), random);
      const size_t floats = static_cast<size_t>(PanelsOf(n) * kGemmPanel * k);
      Aligned<float> rows(floats), columns(floats);
      PackPanels(w.get(), n, k, k, 1, rows.data());
      PackPanels(w.get(), n, k, 1, n, columns.data());
      for (int j = 0; j < static_cast<int>(PanelsOf(n)) * kGemmPanel; ++j) {
        for (int i = 0; i < k; ++i) {
          const size_t at =
              static_cast<size_t>((j / kGemmPanel * k + i) * kGemmPanel + j % kGemmPanel);
          CHECK(rows[at] == (j < n ? w[j * k + i] : 0.0f)) << n << " " << k;
          CHECK(columns[at] == (j < n ? w[i * n + j] : 0.0f)) << n << " " << k;
        }
      }
    }
  }
}

}  // namespace
}  // namespace bitlite
