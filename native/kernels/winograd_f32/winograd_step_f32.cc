// 3x3 convolutions by Winograd's algorithm: the windows of a band are transformed, every point of
// them is multiplied with its weights for a block of output channels, and transformed back. What a
// band holds fits the cache.
#include "winograd_step_f32.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/common/kernels.h"
#include "kernels/gemm_f32/gemm_pack.h"

namespace bitlite {
namespace {

constexpr int64_t kBandBytes = 192 * 1024;
constexpr int64_t kBlock = WinogradOutF32::kChannels;
static_assert(kBlock == kGemmPanel, "a block of output channels is a panel of weights");
constexpr int kMaxTileRows = 16;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t WindowsOf(const Window& w) {
  return w.batch * CeilDiv(w.out[1], kWinogradOut) * CeilDiv(w.out[2], kWinogradOut);
}

double TransformNs(const Window& w, int64_t out_channels) {
  constexpr double kInNs = 3.5, kOutNs = 2.5;  // a channel of a window
  return static_cast<double>(WindowsOf(w)) *
         (kInNs * static_cast<double>(w.channels) + kOutNs * static_cast<double>(out_channels));
}

double Products(const Window& w, int64_t out_channels) {
  return static_cast<double>(WindowsOf(w)) * kWinogradPoints * static_cast<double>(w.channels) *
         static_cast<double>(PanelsOf(out_channels) * kGemmPanel);
}

class WinogradStepF32 final : public LineStep {
 public:
  WinogradStepF32(const Window& window, int64_t out_channels, const FusedAct& act,
                  const PlanContext& plan);
  void Pack(const TensorSpec& w, const TensorSpec* bias);

  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;
  void SpreadRows(int64_t stride) override { out_stride_ = stride; }

  // It works by windows, not by lines.
  Range Needs(int64_t) const override { return {0, 0}; }
  void RunLine(const float*, int64_t, float*, const float*, uint8_t*) const noexcept override {}
  void RunFrom(const float* const*, int64_t, float*, const float*,
               uint8_t*) const noexcept override {}

 private:
  // The first output of a window.
  struct Place {
    int64_t batch, line, column;
  };
  Place Locate(int64_t window) const {
    return {window / across_ / down_, window / across_ % down_ * kWinogradOut,
            window % across_ * kWinogradOut};
  }
  void Transform(const float* x, int64_t window, float* v) const;
  void Multiply(const float* v, int64_t windows, int64_t block, float* m) const;
  void Outputs(const StepArgs& args, const float* m, int64_t window, int64_t block) const;

  const Window w_;
  const int64_t n_;
  const FusedAct act_;
  const Kernel<gemm_f32> product_;
  winograd_in_f32::Fn* const in_;
  winograd_out_f32::Fn* const out_;
  unary_f32::Fn* const unary_;
  int64_t down_, across_, windows_;  // windows of an image, and of all
  int64_t bands_, chunks_ = 1;       // chunks: parts of the output channels
  int64_t out_stride_;               // floats from one output pixel to the next
  int64_t v_stride_;                 // floats from window to window
  size_t v_bytes_;
  Aligned<float> weights_;  // [block][point][channel][kBlock]
  Aligned<float> bias_, zeros_;
};

WinogradStepF32::WinogradStepF32(const Window& window, int64_t out_channels, const FusedAct& act,
                                 const PlanContext& plan)
    : w_(window),
      n_(out_channels),
      act_(act),
      product_(SelectKernel<gemm_f32>(plan.isa)),
      in_(SelectKernel<winograd_in_f32>(plan.isa).fn),
      out_(SelectKernel<winograd_out_f32>(plan.isa).fn),
      unary_(SelectKernel<unary_f32>(plan.isa).fn),
      down_(CeilDiv(w_.out[1], kWinogradOut)),
      across_(CeilDiv(w_.out[2], kWinogradOut)),
      windows_(WindowsOf(w_)),
      out_stride_(n_),
      // A line more, so that the rows of a tile do not fall on the same sets of the cache.
      v_stride_(kWinogradPoints * w_.channels + 16) {
  const int64_t m_floats = kWinogradPoints * kBlock;
  const int64_t window_bytes = (v_stride_ + m_floats) * static_cast<int64_t>(sizeof(float));
  bands_ = std::max<int64_t>(1, CeilDiv(windows_ * window_bytes, kBandBytes));
  cost_ns = GemmCostNs(Products(w_, n_)) + TransformNs(w_, n_);
  if (plan.threads > 1) {
    // Few windows in a band use the registers badly: then the channels are shared instead.
    constexpr int64_t kFewestWindows = 24, kItemsPerThread = 2;
    const int64_t wanted =
        CeilDiv(bands_, kItemsPerThread * plan.threads) * kItemsPerThread * plan.threads;
    if (windows_ / wanted >= kFewestWindows) {
      bands_ = wanted;
    } else if (bands_ < plan.threads) {
      chunks_ = std::min<int64_t>(PanelsOf(n_), plan.threads);
    }
  }
  phases = {bands_ * chunks_};
  const int64_t most = CeilDiv(windows_, bands_);
  v_bytes_ = static_cast<size_t>(CeilDiv(most * v_stride_, 16) * 64);
  thread_scratch = v_bytes_ + static_cast<size_t>(most * m_floats) * sizeof(float);
  in_place = 1u << 3;
  can_spread = true;
}

// G w G^T, in double: each element is rounded once.
void WinogradStepF32::Pack(const TensorSpec& w, const TensorSpec* bias) {
  const double root = std::sqrt(2.0);
  // Row i: 1, p, p^2 of its point over the product of its distances to the others.
  const double g[kWinogradIn][3] = {{1, 0, 0},
                                    {1.0 / 6, root / 6, 1.0 / 3},
                                    {1.0 / 6, -root / 6, 1.0 / 3},
                                    {-2.0 / 3, -root / 3, -1.0 / 3},
                                    {-2.0 / 3, root / 3, -1.0 / 3},
                                    {0, 0, 1}};
  const WeightValues values(w);
  const int64_t channels = w_.channels, blocks = PanelsOf(n_);
  const int64_t point_step = channels * kBlock;
  weights_.Reset(static_cast<size_t>(blocks * kWinogradPoints * point_step));
  std::memset(weights_.data(), 0, weights_.size() * sizeof(float));
  for (int64_t o = 0; o < n_; ++o) {
    for (int64_t c = 0; c < channels; ++c) {
      double half[kWinogradIn][3];  // [point row][kernel column]
      for (int i = 0; i < kWinogradIn; ++i) {
        for (int kx = 0; kx < 3; ++kx) {
          half[i][kx] = 0;
          for (int ky = 0; ky < 3; ++ky) {
            half[i][kx] += g[i][ky] * values.data()[((o * 3 + ky) * 3 + kx) * channels + c];
          }
        }
      }
      float* to =
          weights_.data() + o / kBlock * kWinogradPoints * point_step + c * kBlock + o % kBlock;
      for (const auto& line : half) {
        for (const auto& row : g) {
          *to = static_cast<float>(line[0] * row[0] + line[1] * row[1] + line[2] * row[2]);
          to += point_step;
        }
      }
    }
  }
  bias_ = PackBias(bias, n_);
  zeros_.Reset(static_cast<size_t>(std::max(channels, kBlock)));
  std::memset(zeros_.data(), 0, zeros_.size() * sizeof(float));
}

void WinogradStepF32::Transform(const float* x, int64_t window, float* v) const {
  const Place at = Locate(window);
  const float* pixels[kWinogradPoints];
  const float** to = pixels;
  for (int i = 0; i < kWinogradIn; ++i) {
    const int64_t line = at.line - w_.pad[1] + i;
    const bool inside = line >= 0 && line < w_.in[1];
    const float* from = x + (at.batch * w_.in[1] + line) * w_.in[2] * w_.channels;
    for (int j = 0; j < kWinogradIn; ++j) {
      const int64_t column = at.column - w_.pad[2] + j;
      const bool there = inside && column >= 0 && column < w_.in[2];
      *to++ = there ? from + column * w_.channels : zeros_.data();
    }
  }
  in_({pixels, w_.channels, v});
}

void WinogradStepF32::Multiply(const float* v, int64_t windows, int64_t block, float* m) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const int64_t point_step = w_.channels * kBlock, m_stride = kWinogradPoints * kBlock;
  const int64_t tiles = CeilDiv(windows, product_.mr);
  const float* rows[kMaxTileRows];
  GemmF32Tile t;
  t.a = rows;
  t.taps = 1;
  t.kc = w_.channels;
  t.panel_stride = 0;
  t.bias = zeros_.data();
  t.residual = nullptr;
  t.ldr = 0;
  t.ldy = m_stride;
  t.n = kBlock;
  t.lo = -kInfinity;
  t.hi = kInfinity;
  t.w = weights_.data() + block * kWinogradPoints * point_step;
  for (int64_t point = 0; point < kWinogradPoints; ++point, t.w += point_step) {
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = windows * tile / tiles;
      t.rows = static_cast<int>(windows * (tile + 1) / tiles - first);
      for (int r = 0; r < t.rows; ++r) {
        rows[r] = v + (first + r) * v_stride_ + point * w_.channels;
      }
      t.y = m + first * m_stride + point * kBlock;
      product_.fn(t);
    }
  }
}

void WinogradStepF32::Outputs(const StepArgs& args, const float* m, int64_t window,
                              int64_t block) const {
  const Place at = Locate(window);
  const int64_t pixel = (at.batch * w_.out[1] + at.line) * w_.out[2] + at.column;
  const int64_t channel = block * kBlock;
  const float* residual = args.In<float>(3);
  WinogradOutF32 t;
  t.m = m;
  t.channels = static_cast<int>(std::min(kBlock, n_ - channel));
  t.lines = static_cast<int>(std::min<int64_t>(kWinogradOut, w_.out[1] - at.line));
  t.columns = static_cast<int>(std::min<int64_t>(kWinogradOut, w_.out[2] - at.column));
  t.bias = bias_.data() + channel;
  t.residual = residual == nullptr ? nullptr : residual + pixel * n_ + channel;
  t.residual_line = w_.out[2] * n_;
  t.residual_pixel = n_;
  t.y = args.Out<float>(0) + pixel * out_stride_ + channel;
  t.y_line = w_.out[2] * out_stride_;
  t.y_pixel = out_stride_;
  t.lo = act_.lo;
  t.hi = act_.hi;
  out_(t);
  for (int i = 0; i < t.lines; ++i) {
    act_.ApplyRows(unary_, t.y + i * t.y_line, t.columns, t.channels, t.y_pixel);
  }
}

void WinogradStepF32::Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept {
  float* v = reinterpret_cast<float*>(args.thread_scratch);
  float* m = reinterpret_cast<float*>(args.thread_scratch + v_bytes_);
  const int64_t blocks = PanelsOf(n_);
  int64_t transformed = -1;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t band = item / chunks_, chunk = item % chunks_;
    const int64_t first = windows_ * band / bands_;
    const int64_t windows = windows_ * (band + 1) / bands_ - first;
    if (transformed != band) {
      for (int64_t i = 0; i < windows; ++i) {
        Transform(args.In<float>(0), first + i, v + i * v_stride_);
      }
      transformed = band;
    }
    for (int64_t b = blocks * chunk / chunks_; b < blocks * (chunk + 1) / chunks_; ++b) {
      Multiply(v, windows, b, m);
      for (int64_t i = 0; i < windows; ++i) {
        Outputs(args, m + i * kWinogradPoints * kBlock, first + i, b);
      }
    }
  }
}

}  // namespace

bool WinogradTakes(const Window& w, int64_t out_channels) {
  for (int d = 0; d < 3; ++d) {
    if (w.kernel[d] != (d == 0 ? 1 : 3) || w.stride[d] != 1 || w.dilation[d] != 1) return false;
  }
  if (w.in[0] != 1 || w.out[0] != 1 || w.pad[0] != 0) return false;
  // Rates of products: sums of few channels are too short for the registers. Weights are 4 times as
  // many, and each band reads them all.
  constexpr double kPlainRate = 40, kRate = 30, kBytesPerNs = 30, kGain = 0.8;
  const double columns = static_cast<double>(PanelsOf(out_channels) * kGemmPanel);
  const double plain = static_cast<double>(w.batch * w.out_positions() * 9 * w.channels) * columns;
  const double bytes = kWinogradPoints * 4.0 * static_cast<double>(w.channels) * columns;
  return Products(w, out_channels) / kRate + TransformNs(w, out_channels) + bytes / kBytesPerNs <
         kGain * plain / kPlainRate;
}

std::unique_ptr<LineStep> MakeWinogradF32(const Window& window, const FusedAct& act,
                                          const TensorSpec& w, const TensorSpec* bias,
                                          const PlanContext& plan) {
  auto step = std::make_unique<WinogradStepF32>(window, w.shape[0], act, plan);
  step->Pack(w, bias);
  return step;
}

}  // namespace bitlite
