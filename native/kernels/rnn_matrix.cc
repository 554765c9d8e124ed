#include "rnn_matrix.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "dynamic_s8.h"
#include "spatial_s8.h"

namespace bitlite {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

size_t Lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

// The least and greatest value, 0 among them; NaN is not looked at.
void Widen(const float* x, int64_t n, float* low, float* high) noexcept {
  constexpr int kChains = 16;
  float lows[kChains] = {}, highs[kChains] = {};
  int64_t i = 0;
  for (; i + kChains <= n; i += kChains) {
    for (int c = 0; c < kChains; ++c) {
      lows[c] = x[i + c] < lows[c] ? x[i + c] : lows[c];
      highs[c] = x[i + c] > highs[c] ? x[i + c] : highs[c];
    }
  }
  for (; i < n; ++i) {
    lows[0] = x[i] < lows[0] ? x[i] : lows[0];
    highs[0] = x[i] > highs[0] ? x[i] : highs[0];
  }
  for (int c = 0; c < kChains; ++c) {
    *low = std::min(*low, lows[c]);
    *high = std::max(*high, highs[c]);
  }
}

}  // namespace

int64_t RnnGates::RowOf(int64_t column) const {
  const int64_t unit = column / (count * kRnnBlock) * kRnnBlock + column % kRnnBlock;
  const int64_t gate = first + column / kRnnBlock % count;
  return unit < hidden ? gate * hidden + unit : -1;
}

Aligned<float> InColumns(const float* values, const RnnGates& gates) {
  Aligned<float> y(static_cast<size_t>(gates.columns()));
  for (int64_t c = 0; c < gates.columns(); ++c) {
    const int64_t row = gates.RowOf(c);
    y[c] = row < 0 || values == nullptr ? 0.0f : values[row];
  }
  return y;
}

RnnCodes::RnnCodes(const GemmS8Kernel& kernel, const VectorS8Kernel& vector, int64_t k,
                   int64_t rows)
    : kernel_(&kernel), vector_(&vector), k_(k), row_bytes_(k * kernel.act_bytes()) {
  sums_ = pointers_ + Lines(static_cast<size_t>(rows) * sizeof(void*));
  line_ = sums_ + Lines(static_cast<size_t>(rows) * sizeof(int32_t));
  image_ = line_ + Lines(static_cast<size_t>(k));
  bytes_ = image_ + Lines(static_cast<size_t>(rows * row_bytes_ + kSlackS8));
}

void RnnCodes::Take(uint8_t* memory, int64_t row, const int8_t* codes) const noexcept {
  kernel_->load(memory + image_ + row * row_bytes_, codes, k_);
}

DynamicS8 RnnCodes::Quantize(uint8_t* memory, const float* x, int64_t rows,
                             int64_t stride) const noexcept {
  float low = 0, high = 0;
  for (int64_t r = 0; r < rows; ++r) Widen(x + r * stride, k_, &low, &high);
  const DynamicS8 params = ChooseDynamic(low, high);
  int8_t* line = reinterpret_cast<int8_t*>(memory + line_);
  for (int64_t r = 0; r < rows; ++r) {
    vector_->quantize(x + r * stride, line, k_, 1.0f / params.scale,
                      {params.zero_point, -128, 127});
    Take(memory, r, line);
  }
  return params;
}

LayerS8::Rows RnnCodes::Rows(uint8_t* memory, int64_t rows,
                             const DynamicS8* params) const noexcept {
  static constexpr int32_t kSegment = 0;
  const uint8_t** address = reinterpret_cast<const uint8_t**>(memory + pointers_);
  for (int64_t r = 0; r < rows; ++r) address[r] = memory + image_ + r * row_bytes_;
  LayerS8::Rows found{address, rows, &kSegment};
  found.sums = reinterpret_cast<int32_t*>(memory + sums_);
  found.dynamic = params;
  return found;
}

RnnMatrix::RnnMatrix(const PlanContext& plan, const TensorSpec& w, int64_t d, const RnnGates& gates,
                     Aligned<float> bias, bool dynamic, int64_t parts)
    : gates_(gates),
      k_(w.shape[2]),
      parts_(parts),
      kernel_(BITLITE_SELECT(gemm_f32, plan.isa)),
      bias_(std::move(bias)) {
  if (bias_.size() == 0) bias_ = InColumns(nullptr, gates);
  if (dynamic) {
    PackCodes(plan, w, d);
  } else {
    PackFloat(w, d);
  }
}

void RnnMatrix::PackFloat(const TensorSpec& w, int64_t d) {
  const WeightValues values(w);
  const float* from = values.data() + d * w.shape[1] * k_;
  std::vector<float> ordered(static_cast<size_t>(gates_.columns() * k_));
  for (int64_t c = 0; c < gates_.columns(); ++c) {
    const int64_t row = gates_.RowOf(c);
    if (row >= 0) std::copy_n(from + row * k_, k_, ordered.data() + c * k_);
  }
  w_.Reset(ordered.size());
  PackPanels(ordered.data(), gates_.columns(), k_, k_, 1, w_.data());
}

void RnnMatrix::PackCodes(const PlanContext& plan, const TensorSpec& w, int64_t d) {
  const int8_t* from = static_cast<const int8_t*>(w.data) + d * w.shape[1] * k_;
  const auto at = [](const auto& v, int64_t i) { return v[v.size() == 1 ? 0 : i]; };
  bool zeros = true;
  for (int64_t z : w.zero_point) zeros &= z == 0;
  for (int64_t part = 0; part < parts_; ++part) {
    const int64_t first = Column(part), n = Column(part + 1) - first;
    OutputS8 out;
    out.dtype = DType::kF32;
    out.fmin = -kInf;
    out.fmax = kInf;
    std::vector<int8_t> codes(static_cast<size_t>(n * k_));
    for (int64_t c = 0; c < n; ++c) {
      const int64_t row = gates_.RowOf(first + c);
      out.acc_scale.push_back(row < 0 ? 1.0 : at(w.scale, row));
      out.bias_f32.push_back(bias_[first + c]);
      const int64_t zero = zeros || row < 0 ? 0 : at(w.zero_point, row);
      if (!zeros) out.weight_zero.push_back(static_cast<int32_t>(zero));
      if (row >= 0) std::memcpy(codes.data() + c * k_, from + row * k_, static_cast<size_t>(k_));
    }
    LayerS8::Options options;
    options.dynamic = true;
    layers_.emplace_back(
        SelectGemmS8(plan.isa), SelectVectorS8(plan.isa),
        LayerS8::Weights{reinterpret_cast<const uint8_t*>(codes.data()), n, 1, k_, k_, 1}, out, 0,
        options);
  }
}

void RnnMatrix::Multiply(const float* const* x, int64_t m, int64_t part, float* y) const noexcept {
  // A part of the weights that stays in the second level of cache while rows pass by.
  constexpr int64_t kColumnStep = 4 * kGemmPanel;
  constexpr int64_t kBlockFloats = 128 * 1024;
  const int64_t block = std::max(kColumnStep, kBlockFloats / k_ / kColumnStep * kColumnStep);
  const int64_t end = Column(part + 1);
  const int64_t tiles = CeilDiv(m, kernel_.row->a);
  GemmF32Tile t;
  t.taps = 1;
  t.kc = k_;
  t.panel_stride = k_ * kGemmPanel;
  t.residual = nullptr;
  t.ldr = 0;
  t.ldy = gates_.columns();
  t.lo = -kInf;
  t.hi = kInf;
  for (int64_t column = Column(part); column < end; column += block) {
    t.n = std::min(block, end - column);
    t.w = w_.data() + column / kGemmPanel * t.panel_stride;
    t.bias = bias_.data() + column;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = m * tile / tiles;
      t.a = x + row;
      t.rows = static_cast<int>(m * (tile + 1) / tiles - row);
      t.y = y + row * t.ldy + column;
      kernel_.fn(t);
    }
  }
}

void RnnMatrix::Multiply(const LayerS8::Rows& x, int64_t part, float* y) const noexcept {
  const LayerS8& layer = layers_[part];
  if (layer.needs_row_sums()) layer.SumRows(x);
  layer.Run(x, 0, layer.blocks(), y + Column(part), gates_.columns(), nullptr, 0);
}

}  // namespace bitlite
