// How weights are packed; packed_gemm_s8_run.cc multiplies by them.
#include "packed_gemm_s8.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "kernels/common/kernels.h"
#include "shared_constants.h"

namespace bitlite {
namespace {

// Columns of a block and their activations of a step, at most.
constexpr int kMaxWidth = 64, kMaxStep = 8;

// y[i * KSTEP + j] = rows[j * stride + i]. As many columns as a vector has bytes are left to the
// compiler, which then knows how many they are.
template <int KSTEP>
void Interleave(const int8_t* rows, int64_t stride, int n, int8_t* __restrict y) {
  constexpr int kVector = 16;
  int i = 0;
  for (; i + kVector <= n; i += kVector) {
    for (int c = 0; c < kVector; ++c) {
      for (int j = 0; j < KSTEP; ++j) y[(i + c) * KSTEP + j] = rows[j * stride + i + c];
    }
  }
  for (; i < n; ++i) {
    for (int j = 0; j < KSTEP; ++j) y[i * KSTEP + j] = rows[j * stride + i];
  }
}

// Columns of kstep activations: y's i-th is the one at place[i], four together where `fours` says.
void Permute(const int8_t* columns, const int64_t* place, int width, int kstep, bool fours,
             int8_t* y) {
  if (fours && kstep == 4) {
    for (int i = 0; i < width; i += 4) std::memcpy(y + 4 * i, columns + 4 * place[i], 16);
    return;
  }
  for (int i = 0; i < width; ++i) {
    std::memcpy(y + i * kstep, columns + place[i] * kstep, static_cast<size_t>(kstep));
  }
}

// The magnitude of what two weights of one sign add up to; of two signs, of the larger one.
int PairSum(int a, int b) {
  return (a < 0) == (b < 0) ? std::abs(a + b) : std::max(std::abs(a), std::abs(b));
}

using InterleaveFn = void (*)(const int8_t* rows, int64_t stride, int n, int8_t* y);

InterleaveFn InterleaveOf(int kstep) {
  return kstep == 2   ? Interleave<2>
         : kstep == 4 ? Interleave<4>
         : kstep == 8 ? Interleave<8>
                      : Interleave<1>;
}

// Widths of the blocks for `vectors` vectors of columns: the widest have the cheapest epilogue.
std::vector<int> BlockWidths(int64_t vectors, int max_nv, int64_t min_blocks) {
  int nv = max_nv;
  while (nv > 1 && CeilDiv(vectors, nv) < min_blocks) --nv;
  std::vector<int> widths;
  for (; vectors > 0; vectors -= widths.back()) {
    widths.push_back(static_cast<int>(std::min<int64_t>(nv, vectors)));
  }
  return widths;
}

}  // namespace

const GemmS8Kernel& SelectGemmS8(IsaMask isa) { return SelectKernel<gemm_s8>(isa).fn(); }
const VectorS8Kernel& SelectVectorS8(IsaMask isa) { return SelectKernel<vector_s8>(isa).fn(); }

PackedGemmS8::PackedGemmS8(const GemmS8Kernel& kernel, const VectorS8Kernel& vector,
                           const Weights& weights, const RequantEpilogue& out, int32_t x_zero,
                           const Options& options)
    : kernel_(kernel),
      vector_(vector),
      out_(out),
      segments_(weights.segments),
      segment_length_(weights.segment_length),
      steps_(static_cast<int32_t>(CeilDiv(weights.segment_length, kernel.kstep))),
      x0_(kernel.packed_value(x_zero)),
      row_add_(out.weight_zero.size() == 1),
      dynamic_(options.dynamic) {
  const int64_t n = weights.columns;
  const int64_t length = segments_ * segment_length_;
  direct_ = (out.weight_zero.empty() || row_add_) && !(out.gemmlowp && out.residual);
  scale_.resize(n);
  if (out.gemmlowp) {
    mantissa_.resize(n);
    exponent_.resize(n);
  }
  for (int64_t o = 0; o < n; ++o) {
    const double acc_scale = PerColumn(out.acc_scale, o);
    if (out.dtype == DType::kF32) {
      scale_[o] = static_cast<float>(acc_scale);
      continue;
    }
    const double multiplier =
        acc_scale / (out.gemmlowp ? static_cast<float>(out.y_scale) : out.y_scale);
    scale_[o] = static_cast<float>(multiplier);
    const double bias = out.bias.empty() ? 0 : std::fabs(static_cast<double>(out.bias[o]));
    const double widest = out.weight_zero.empty() ? 128 : 255;
    const double bound = bias + 255 * widest * static_cast<double>(length);
    if (out.gemmlowp) {
      const GemmlowpMultiplier m = QuantizeMultiplier(multiplier);
      mantissa_[o] = m.mantissa;
      exponent_[o] = m.exponent;
      direct_ &= FitsGemmlowp(bound, m);
    } else {
      direct_ &= FitsInt32(bound, scale_[o]);
    }
  }
  if (out.residual) direct_ &= FitsInt32(256, out.lhs_scale) && FitsInt32(256, out.rhs_scale);

  int64_t column = 0, at = 0;
  for (int nv :
       BlockWidths(CeilDiv(n, kernel.lanes), kernel.widest(options.rows), options.min_blocks)) {
    const int width = nv * kernel.lanes;
    blocks_.push_back(
        {nv, static_cast<int32_t>(std::min<int64_t>(width, n - column)), column, at, 0});
    column += width;
    // Blocks start on cache lines.
    at += CeilDiv(segments_ * steps_ * kernel.kstep * width, 64) * 64;
  }
  packed_columns_ = column;
  packed_bytes_ = static_cast<size_t>(at);
  multiplier_.Reset(column);
  bias_f32_.Reset(column);
  for (const Block& block : blocks_) {
    for (int i = 0; i < block.nv * kernel.lanes; ++i) {
      const int64_t o = ColumnAt(block, i);
      multiplier_[block.column + i] = o < n ? scale_[o] : 0.0f;
      bias_f32_[block.column + i] = o < n && !out.bias_f32.empty() ? out.bias_f32[o] : 0.0f;
    }
  }
  if (direct_ && out.gemmlowp) PackGemmlowp();
  if (options.computed) return;
  w_.Reset(packed_bytes_);
  bias_.Reset(column);
  for (int64_t b = 0; b < blocks(); ++b) {
    PackBlock(weights, b, w_.data(), bias_.data());
    Block& block = blocks_[b];
    if (kernel.pair_limit > 0) {
      block.excess = static_cast<int64_t>(excess_.steps.size());
      block.excess_at = static_cast<int64_t>(excess_.weights.size());
      block.excess_steps =
          TakeExcess(kernel, block.nv, segments_, steps_, w_.data() + block.at, excess_);
    }
  }
  Share(w_);
  if (!dynamic_) return;
  column_sums_.resize(column);
  for (int64_t o = 0; o < n; ++o) column_sums_[o] = SumColumn(weights, o);
}

int32_t TakeExcess(const GemmS8Kernel& kernel, int nv, int64_t segments, int64_t steps, int8_t* w,
                   ExcessS8& excess) {
  const int64_t step_bytes = static_cast<int64_t>(nv) * kernel.lanes * kernel.kstep;
  const size_t before = excess.steps.size();
  for (int64_t s = 0; s < segments; ++s) {
    for (int64_t k = 0; k < steps; ++k, w += step_bytes) {
      bool exceeds = false;
      for (int64_t i = 0; i < step_bytes; i += 2) {
        exceeds |= PairSum(w[i], w[i + 1]) > kernel.pair_limit;
      }
      if (!exceeds) continue;
      excess.steps.push_back({static_cast<int32_t>(s), static_cast<int32_t>(k * kernel.kstep)});
      for (int64_t i = 0; i < step_bytes; i += 2) {
        const int rest = std::max(0, PairSum(w[i], w[i + 1]) - kernel.pair_limit);
        const int8_t taken = static_cast<int8_t>(w[i + 1] < 0 ? -rest : rest);
        excess.weights.push_back(0);
        excess.weights.push_back(taken);
        w[i + 1] = static_cast<int8_t>(w[i + 1] - taken);
      }
    }
  }
  return static_cast<int32_t>(excess.steps.size() - before);
}

double PackedGemmS8::ExcessShare(const GemmS8Kernel& kernel, const Weights& weights) noexcept {
  const int64_t width = static_cast<int64_t>(kernel.max_nv) * kernel.lanes;
  int64_t exceeding = 0, all = 0;
  for (int64_t first = 0; first < weights.columns; first += width) {
    const int64_t end = std::min(weights.columns, first + width);
    for (int64_t s = 0; s < weights.segments; ++s) {
      for (int64_t k = 0; k < weights.segment_length; k += kernel.kstep, ++all) {
        const int64_t last = std::min<int64_t>(weights.segment_length, k + kernel.kstep) - 1;
        bool exceeds = false;
        for (int64_t o = first; o < end; ++o) {
          const uint8_t* w = weights.data + o * weights.column_stride +
                             s * weights.segment_length * weights.stride;
          for (int64_t i = k; i < last; i += 2) {
            exceeds |= PairSum(static_cast<int8_t>(w[i * weights.stride] ^ weights.flip),
                               static_cast<int8_t>(w[(i + 1) * weights.stride] ^ weights.flip)) >
                       kernel.pair_limit;
          }
        }
        exceeding += exceeds;
      }
    }
  }
  return static_cast<double>(exceeding) / static_cast<double>(std::max<int64_t>(1, all));
}

const GemmS8Kernel& FasterOfPairs(const GemmS8Kernel& kernel,
                                  const std::vector<PackedGemmS8::Weights>& weights) {
  if (kernel.of_pairs == nullptr) return kernel;
  const GemmS8Kernel& pairs = kernel.of_pairs();
  double share = 0;
  for (const PackedGemmS8::Weights& w : weights) {
    share += PackedGemmS8::ExcessShare(pairs, w) / static_cast<double>(weights.size());
  }
  // A step of pairs takes three quarters to seven eighths of what it takes otherwise.
  constexpr double kMostShare = 0.25;
  return share < kMostShare ? pairs : kernel;
}

// The column that stands at position i of a block.
int64_t PackedGemmS8::ColumnAt(const Block& block, int i) const noexcept {
  const bool permuted = direct_ && out_.dtype == DType::kI8;
  return block.column + (permuted ? kernel_.column(block.nv, i) : i);
}

void PackedGemmS8::PackGemmlowp() {
  gemmlowp_multipliers_.Reset(static_cast<size_t>(packed_columns_));
  for (const Block& block : blocks_) {
    for (int i = 0; i < block.nv * kernel_.lanes; ++i) {
      const int64_t o = ColumnAt(block, i);
      if (o >= static_cast<int64_t>(mantissa_.size())) continue;
      gemmlowp_multipliers_.Set(static_cast<size_t>(block.column + i),
                                ColumnOf({mantissa_[o], exponent_[o]}));
    }
  }
}

int32_t PackedGemmS8::SumColumn(const Weights& weights, int64_t o) noexcept {
  const uint8_t* w = weights.data + o * weights.column_stride;
  const int64_t length = weights.segments * weights.segment_length;
  int64_t sum = 0;
  if (weights.stride == 1) {
    for (int64_t i = 0; i < length; ++i) sum += static_cast<int8_t>(w[i] ^ weights.flip);
  } else {
    for (int64_t i = 0; i < length; ++i) {
      sum += static_cast<int8_t>(w[i * weights.stride] ^ weights.flip);
    }
  }
  return Wrap(sum);
}

// Columns side by side, as those of a matrix that is not transposed: whole rows of them at a time.
void PackedGemmS8::PackRows(const Weights& weights, const Block& block, int8_t* packed,
                            int32_t* bias) const noexcept {
  const int kstep = kernel_.kstep, width = block.nv * kernel_.lanes;
  const int8_t* w = reinterpret_cast<const int8_t*>(weights.data) + block.column;
  const InterleaveFn interleave = InterleaveOf(kstep);
  bool permuted = false, fours = true;
  int64_t place[kMaxWidth];
  for (int i = 0; i < width; ++i) {
    place[i] = ColumnAt(block, i) - block.column;
    permuted |= place[i] != i;
    fours &= place[i] == place[i / 4 * 4] + i % 4;
  }
  int32_t sums[kMaxWidth] = {};
  vector_.sum_of_rows(w, weights.stride, segment_length_, block.n, sums, false);
  for (int i = 0; i < width; ++i) {
    const int64_t o = block.column + place[i];
    const bool given = !out_.bias.empty() && o < weights.columns;
    bias[block.column + i] = Wrap((given ? static_cast<int64_t>(out_.bias[o]) : 0) -
                                  static_cast<int64_t>(x0_) * sums[place[i]]);
  }
  int8_t line[kMaxWidth * kMaxStep] = {};
  for (int64_t k = 0; k < segment_length_; k += kstep, packed += width * kstep) {
    const int8_t* rows = w + k * weights.stride;
    int64_t stride = weights.stride;
    int8_t last[kMaxStep][kMaxWidth];
    if (k + kstep > segment_length_) {
      std::memset(last, 0, sizeof(last));
      for (int64_t j = 0; k + j < segment_length_; ++j) {
        std::memcpy(last[j], rows + j * stride, static_cast<size_t>(block.n));
      }
      rows = last[0];
      stride = kMaxWidth;
    }
    interleave(rows, stride, block.n, permuted ? line : packed);
    if (permuted) Permute(line, place, width, kstep, fours, packed);
  }
}

void PackedGemmS8::PackBlock(const Weights& weights, int64_t b, int8_t* packed,
                             int32_t* bias) const noexcept {
  const Block& block = blocks_[b];
  const int kstep = kernel_.kstep, width = block.nv * kernel_.lanes;
  const int64_t step_bytes = static_cast<int64_t>(width) * kstep;
  packed += block.at;
  if (segment_length_ % kstep != 0 || block.n < width) {
    std::memset(packed, 0, static_cast<size_t>(segments_ * steps_ * step_bytes));
  }
  if (weights.column_stride == 1 && segments_ == 1 && weights.flip == 0 && !dynamic_) {
    return PackRows(weights, block, packed, bias);
  }
  for (int i = 0; i < width; ++i) {
    const int64_t o = ColumnAt(block, i);
    bias[block.column + i] = 0;
    if (o >= weights.columns) continue;
    if (!dynamic_) {
      // The activations' zero point adds a constant: it moves into the bias.
      bias[block.column + i] = Wrap((out_.bias.empty() ? 0 : static_cast<int64_t>(out_.bias[o])) -
                                    static_cast<int64_t>(x0_) * SumColumn(weights, o));
    }
    const uint8_t* w = weights.data + o * weights.column_stride;
    int8_t* dst = packed + static_cast<int64_t>(i) * kstep;
    for (int64_t s = 0; s < segments_; ++s) {
      int64_t k = 0;
      if (weights.stride == 1 && kstep == 4) {
        const uint32_t flip = weights.flip * 0x01010101u;
        for (; k + 4 <= segment_length_; k += 4, dst += step_bytes) {
          uint32_t four;
          std::memcpy(&four, w + k, 4);
          four ^= flip;
          std::memcpy(dst, &four, 4);
        }
      } else if (weights.stride == 1 && kstep == 2) {
        const uint16_t flip = static_cast<uint16_t>(weights.flip * 0x0101u);
        for (; k + 2 <= segment_length_; k += 2, dst += step_bytes) {
          uint16_t two;
          std::memcpy(&two, w + k, 2);
          two ^= flip;
          std::memcpy(dst, &two, 2);
        }
      }
      for (; k < segment_length_; k += kstep, dst += step_bytes) {
        const int64_t count = std::min<int64_t>(kstep, segment_length_ - k);
        for (int64_t j = 0; j < count; ++j) {
          dst[j] = static_cast<int8_t>(w[(k + j) * weights.stride] ^ weights.flip);
        }
      }
      w += segment_length_ * weights.stride;
    }
  }
}

}  // namespace bitlite
