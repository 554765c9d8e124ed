#include "packed_gemm_s16.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace bitlite {
namespace {

constexpr int64_t kLargestCode = 32768;
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
constexpr int64_t kMostInDouble = int64_t{1} << 50;  // of a sum, and of a bias

// The runs of a block of columns w [columns, segments, length], as long as they can be.
template <typename W>
void AppendRuns(const W* w, int64_t columns, int64_t segments, int64_t length,
                std::vector<GemmS16Run>& runs) {
  int64_t size[kColumnsS16] = {};
  for (int64_t s = 0; s < segments; ++s) {
    int64_t first = 0;
    for (int64_t i = 0; i < length; i += 2) {
      int64_t more[kColumnsS16], most = 0, alone = 0;
      for (int64_t c = 0; c < columns; ++c) {
        const W* at = w + (c * segments + s) * length + i;
        more[c] = std::abs(int{at[0]}) + (i + 1 < length ? std::abs(int{at[1]}) : 0);
        alone = std::max(alone, more[c]);
        most = std::max(most, size[c] + more[c]);
      }
      if (alone * kLargestCode > kMost) Refuse("two weights of -32768 side by side");
      if (most * kLargestCode > kMost) {
        if (i / 2 > first) {
          runs.push_back({static_cast<int32_t>(s), static_cast<int32_t>(first),
                          static_cast<int32_t>(i / 2 - first), true});
          first = i / 2;
        } else {
          runs.back().flush = true;
        }
        std::fill(size, size + kColumnsS16, 0);
      }
      for (int64_t c = 0; c < columns; ++c) size[c] += more[c];
    }
    runs.push_back({static_cast<int32_t>(s), static_cast<int32_t>(first),
                    static_cast<int32_t>((length + 1) / 2 - first), false});
  }
  runs.back().flush = true;
}

}  // namespace

OutputsS16 OutputsS16Of(const StepSpec& spec, PlanContext& plan, int64_t channels) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(x.dtype == DType::kI16, "input is not int16");
  Require(w.constant && (w.dtype == DType::kI8 || w.dtype == DType::kI16),
          "weights are not an int8 or int16 constant");
  Require(w.quantized() && (w.scale.size() == 1 || w.axis == 0),
          "weights are not quantized along their outputs");
  Require(y.dtype == DType::kI16 || y.dtype == DType::kF32, "output is not int16 or float32");
  Require(!RoundsAsGemmlowp(spec), "rounding is not rne_f32");
  Require(ZeroPointOf(x) == 0, "the input's zero point is not 0");
  for (int64_t z : w.zero_point) Require(z == 0, "a weight's zero point is not 0");
  OutputsS16 out;
  out.real = y.dtype == DType::kF32;
  if (out.real) {
    const Clamp clamp = ClampOf(spec);
    out.low = static_cast<float>(clamp.low);
    out.high = static_cast<float>(clamp.high);
  } else {
    Require(ZeroPointOf(y) == 0, "the output's zero point is not 0");
    const Range range = OutputRange(spec, y);
    out.low = static_cast<float>(range.qmin);
    out.high = static_cast<float>(range.qmax);
  }
  const double sx = ScaleOf(x), sy = out.real ? 1.0 : ScaleOf(y);
  const size_t columns = static_cast<size_t>(channels);
  for (size_t i = 0; i < columns; ++i) {
    const double sw = w.scale[w.scale.size() == 1 ? 0 : i];
    if (!(sw > 0) || !std::isfinite(sw)) Refuse(w.name + ": scale is not positive");
    out.multiplier.push_back(static_cast<float>(sx * sw / sy));
  }
  out.bias.assign(columns, 0);
  out.bias_f32.assign(columns, 0.0f);
  const TensorSpec* bias = plan.OptionalIn(2);
  if (bias == nullptr) return out;
  Require(bias->constant && bias->count == channels, "bias is not a constant of one per channel");
  const bool whole = bias->dtype == DType::kI32 || bias->dtype == DType::kI64;
  Require(whole || (out.real && bias->dtype == DType::kF32), "bias is not int32 or int64");
  if (plan.check_only) return out;
  for (size_t i = 0; i < columns; ++i) {
    if (bias->dtype == DType::kF32) {
      std::memcpy(&out.bias_f32[i], static_cast<const float*>(bias->data) + i, sizeof(float));
    } else if (bias->dtype == DType::kI32) {
      int32_t v;
      std::memcpy(&v, static_cast<const int32_t*>(bias->data) + i, sizeof(v));
      out.bias[i] = v;
    } else {
      std::memcpy(&out.bias[i], static_cast<const int64_t*>(bias->data) + i, sizeof(int64_t));
    }
  }
  return out;
}

template <typename W>
PackedGemmS16::PackedGemmS16(const GemmS16Kernel& kernel, const W* w, int64_t columns,
                             int64_t segments, int64_t segment_length, const OutputsS16& out,
                             int64_t first_column)
    : kernel_(kernel),
      columns_(columns),
      segments_(segments),
      pairs_((segment_length + 1) / 2),
      real_(out.real),
      low_(out.low),
      high_(out.high),
      wide_(sizeof(W) > 1) {
  const size_t padded = static_cast<size_t>(blocks() * kColumnsS16);
  const int64_t block_size = segments * pairs_ * 2 * kColumnsS16;
  bias_.Reset(padded);
  multiplier_.Reset(padded);
  bias_f32_.Reset(padded);
  w_.Reset(static_cast<size_t>(blocks() * block_size) * sizeof(W));
  std::memset(bias_.data(), 0, padded * sizeof(int64_t));
  std::memset(multiplier_.data(), 0, padded * sizeof(float));
  std::memset(bias_f32_.data(), 0, padded * sizeof(float));
  std::memset(w_.data(), 0, w_.size());
  for (int64_t block = 0; block < blocks(); ++block) {
    const int64_t begin = block * kColumnsS16, end = std::min(columns, begin + kColumnsS16);
    bool in_int32 = true;
    for (int64_t o = begin; o < end; ++o) {
      const size_t from = static_cast<size_t>(first_column + o), at = static_cast<size_t>(o);
      const int64_t bias = bias_[at] = out.bias[from];
      multiplier_[at] = out.multiplier[from];
      bias_f32_[at] = out.bias_f32[from];
      const W* row = w + o * segments * segment_length;
      W* to = reinterpret_cast<W*>(w_.data()) + block * block_size + o % kColumnsS16 * 2;
      int64_t size = 0;
      for (int64_t s = 0; s < segments; ++s) {
        for (int64_t i = 0; i < segment_length; ++i) {
          const W v = row[s * segment_length + i];
          to[(s * pairs_ + i / 2) * 2 * kColumnsS16 + i % 2] = v;
          size += std::abs(int{v});
        }
      }
      in_int32 = in_int32 && bias <= kMost && bias >= -kMost &&
                 size * kLargestCode + std::abs(bias) <= kMost;
      in_double_ = in_double_ && bias <= kMostInDouble && bias >= -kMostInDouble &&
                   size <= kMostInDouble / kLargestCode;
    }
    first_run_.push_back(runs_.size());
    if (!in_int32) {
      AppendRuns(w + begin * segments * segment_length, end - begin, segments, segment_length,
                 runs_);
    }
  }
  first_run_.push_back(runs_.size());
}

template PackedGemmS16::PackedGemmS16(const GemmS16Kernel&, const int8_t*, int64_t, int64_t,
                                      int64_t, const OutputsS16&, int64_t);
template PackedGemmS16::PackedGemmS16(const GemmS16Kernel&, const int16_t*, int64_t, int64_t,
                                      int64_t, const OutputsS16&, int64_t);

void PackedGemmS16::Run(const int16_t* const* rows, int64_t m, const int32_t* segments,
                        int64_t first, int64_t last, void* y, int64_t y_stride) const noexcept {
  GemmS16Tile t{};
  t.segments = segments;
  t.segment_count = static_cast<int32_t>(segments_);
  t.segment_pairs = static_cast<int32_t>(pairs_);
  t.in_double = in_double_;
  t.y_stride = y_stride;
  t.real = real_;
  t.low = low_;
  t.high = high_;
  const size_t size = real_ ? sizeof(float) : sizeof(int16_t);
  const int64_t tiles = CeilDiv(m, kernel_.max_mr);
  for (int64_t b = first; b < last; ++b) {
    const int64_t column = b * kColumnsS16;
    t.w = w_.data() + column * segments_ * pairs_ * 2 * (wide_ ? 2 : 1);
    t.bias = bias_.data() + column;
    t.multiplier = multiplier_.data() + column;
    t.bias_f32 = bias_f32_.data() + column;
    t.n = static_cast<int32_t>(std::min<int64_t>(kColumnsS16, columns_ - column));
    t.runs = runs_.data() + first_run_[static_cast<size_t>(b)];
    t.run_count = static_cast<int32_t>(first_run_[static_cast<size_t>(b) + 1] -
                                       first_run_[static_cast<size_t>(b)]);
    for (int64_t i = 0, row = 0; i < tiles; ++i) {
      const int64_t end = m * (i + 1) / tiles;
      t.rows = rows + row;
      t.y = static_cast<uint8_t*>(y) + (row * y_stride + column) * static_cast<int64_t>(size);
      kernel_.tile(static_cast<int>(end - row), wide_)(t);
      row = end;
    }
  }
}

}  // namespace bitlite
