// packed_fully_connected: x [...,K] float32, w [O,K] int8 codes of `bits` 8 or 4, bias [O]?,
// scale [O], offset [O]; y = (x w') * scale + sum(x) * offset + bias. Attrs bits act keep_dims.
// The weights stay packed: memory is a quarter or an eighth of the float weights', and so is what a
// vector has to read.
#include "packed_f32.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/activation.h"
#include "kernels/common/kernels.h"
#include "step.h"

namespace bitlite {
namespace {

constexpr int kMaxRows = 4;
constexpr int64_t kBlockColumns = 8 * kPackedPanel;

int64_t CeilOf(int64_t a, int64_t b) { return (a + b - 1) / b; }

class PackedF32 final : public Step {
 public:
  PackedF32(int64_t m, int64_t n, int64_t k, int bits, const FusedAct& act, const PlanContext& plan)
      : m_(m),
        n_(n),
        k_(k),
        bits_(bits),
        act_(act),
        kernel_(SelectKernel<packed_f32>(plan.isa).fn),
        unary_(SelectKernel<unary_f32>(plan.isa).fn),
        row_tiles_(std::max<int64_t>(1, CeilOf(m, kMaxRows))),
        blocks_(std::max<int64_t>(1, CeilOf(n, kBlockColumns))),
        panel_stride_((bits == 8 ? k : CeilOf(k, 2)) * kPackedPanel) {
    phases = {row_tiles_ * blocks_};
    cost_ns = static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(m) / 20.0;
  }

  void Pack(const int8_t* w, const float* bias, const float* scale, const float* offset) {
    const int64_t panels = CeilOf(n_, kPackedPanel);
    const size_t padded = static_cast<size_t>(panels * kPackedPanel);
    for (Aligned<float>* a : {&scale_, &offset_, &bias_}) {
      a->Reset(padded);
      std::memset(a->data(), 0, padded * sizeof(float));
    }
    for (int64_t j = 0; j < n_; ++j) {
      scale_[j] = scale[j];
      // The nibbles are stored 8 higher.
      offset_[j] = bits_ == 8 ? offset[j] : offset[j] - 8.0f * scale[j];
      if (bias != nullptr) bias_[j] = bias[j];
    }
    w_.Reset(static_cast<size_t>(panels * panel_stride_));
    std::memset(w_.data(), 0, w_.size());
    for (int64_t j = 0; j < n_; ++j) {
      uint8_t* to = w_.data() + j / kPackedPanel * panel_stride_ + j % kPackedPanel;
      const int8_t* from = w + j * k_;
      for (int64_t i = 0; i < k_; ++i) {
        if (bits_ == 8) {
          to[i * kPackedPanel] = static_cast<uint8_t>(from[i]);
        } else {
          const unsigned code = static_cast<unsigned>(from[i] + 8) & 15u;
          to[i / 2 * kPackedPanel] |= static_cast<uint8_t>(i % 2 == 0 ? code : code << 4);
        }
      }
    }
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* rows[kMaxRows];
    float sums[kMaxRows];
    PackedF32Tile t{};
    t.a = rows;
    t.k = k_;
    t.bits = bits_;
    t.panel_stride = panel_stride_;
    t.row_sums = sums;
    t.ldy = n_;
    t.lo = act_.lo;
    t.hi = act_.hi;
    int64_t summed = -1;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t tile = item / blocks_, column = item % blocks_ * kBlockColumns;
      const int64_t first = tile * kMaxRows;
      t.rows = static_cast<int>(std::min<int64_t>(kMaxRows, m_ - first));
      if (t.rows <= 0) continue;
      if (summed != tile) {
        for (int r = 0; r < t.rows; ++r) {
          rows[r] = args.In<float>(0) + (first + r) * k_;
          sums[r] = SumOf(rows[r]);
        }
        summed = tile;
      }
      t.n = std::min(kBlockColumns, n_ - column);
      t.w = w_.data() + column / kPackedPanel * panel_stride_;
      t.scale = scale_.data() + column;
      t.offset = offset_.data() + column;
      t.bias = bias_.data() + column;
      t.y = args.Out<float>(0) + first * n_ + column;
      kernel_(t);
      if (act_.unary) {
        for (int r = 0; r < t.rows; ++r) act_.Apply(unary_, t.y + r * t.ldy, t.n);
      }
    }
  }

 private:
  float SumOf(const float* x) const noexcept {
    constexpr int kChains = 16;
    float sums[kChains] = {};
    int64_t i = 0;
    for (; i + kChains <= k_; i += kChains) {
      for (int c = 0; c < kChains; ++c) sums[c] += x[i + c];
    }
    for (; i < k_; ++i) sums[0] += x[i];
    float sum = 0;
    for (float s : sums) sum += s;
    return sum;
  }

  const int64_t m_, n_, k_;
  const int bits_;
  const FusedAct act_;
  packed_f32::Fn* const kernel_;
  unary_f32::Fn* const unary_;
  const int64_t row_tiles_, blocks_, panel_stride_;
  Aligned<uint8_t> w_;
  Aligned<float> scale_, offset_, bias_;
};

const float* FloatsOf(const TensorSpec& t, int64_t n) {
  Require(t.constant && t.dtype == DType::kF32 && t.count == n,
          "bias, scale or offset is not a float32 constant of one value per output");
  return static_cast<const float*>(t.data);
}

}  // namespace

std::unique_ptr<Step> MakePackedFullyConnected(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const int bits = static_cast<int>(spec.Int("bits", 8));
  spec.Ignore("keep_dims");
  Require(bits == 8 || bits == 4, "bits are not 8 or 4");
  Require(w.constant && w.dtype == DType::kI8 && w.rank() == 2, "weights are not an int8 matrix");
  const int64_t n = w.shape[0], k = w.shape[1];
  Require(k > 0 && x.count % k == 0, "input is not made of rows of the weight's K values");
  Require(x.dtype == DType::kF32 && plan.Out(0).dtype == DType::kF32, "operands are not float32");
  Require(plan.Out(0).count == x.count / k * n, "output shape does not follow from the inputs");
  const float* bias = plan.Has(2) ? FloatsOf(plan.In(2), n) : nullptr;
  const float* scale = FloatsOf(plan.In(3), n);
  const float* offset = FloatsOf(plan.In(4), n);
  const FusedAct act = ParseAct(spec);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<PackedF32>(x.count / k, n, k, bits, act, plan);
  step->Pack(static_cast<const int8_t*>(w.data), bias, scale, offset);
  return step;
}

}  // namespace bitlite
