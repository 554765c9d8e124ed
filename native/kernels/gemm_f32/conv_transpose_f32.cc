// conv_transpose on float32, channels last, 1 to 3 spatial axes, as a set of stride-1 convolutions:
// outputs whose position has the same remainder by the stride use the same kernel taps, at the same
// offsets. Where kernels do not overlap and have few channels, one product gives all outputs of an
// input position (ScatterF32).
//   inputs  x [N,*S,C], w [C,*K,O/group] constant, bias [O]? constant
//   attrs   stride dilation pad pad_mode output_padding group act
#include <array>
#include <cstring>

#include "gemm_pack.h"

namespace bitlite {
namespace {

constexpr int kMaxTileRows = 16;

struct Geometry {
  int64_t batch = 1, channels = 1, out_channels = 1, group = 1;
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1};
  std::array<int64_t, 3> stride{1, 1, 1}, dilation{1, 1, 1}, pad{0, 0, 0};
};

// Along one axis, the taps of the outputs residue, residue + stride, …: tap k reads input j +
// offset for the j-th of them.
struct Tap {
  int64_t k, offset;
};

struct Phase {
  std::array<int64_t, 3> residue;
  std::array<std::vector<Tap>, 3> taps;
  std::array<int64_t, 3> count;  // outputs along each axis
  int64_t tap_count = 0;
  size_t weights = 0;  // offset in the packed weights, group 0
  int64_t lines = 0;   // first work item
};

class ConvTransposeF32 final : public Step {
 public:
  ConvTransposeF32(const Geometry& geometry, const FusedAct& act, const PlanContext& plan)
      : g_(geometry),
        act_(act),
        kernel_(SelectKernel<gemm_f32>(plan.isa)),
        unary_(SelectKernel<unary_f32>(plan.isa).fn) {
    int64_t lines = 0, most_taps = 0;
    size_t floats = 0;
    const int64_t group_in = g_.channels / g_.group, group_out = g_.out_channels / g_.group;
    for (int64_t d = 0; d < g_.stride[0]; ++d) {
      for (int64_t h = 0; h < g_.stride[1]; ++h) {
        for (int64_t w = 0; w < g_.stride[2]; ++w) {
          Phase phase;
          phase.residue = {d, h, w};
          phase.tap_count = 1;
          bool empty = false;
          for (int axis = 0; axis < 3; ++axis) {
            const int64_t r = phase.residue[axis];
            phase.count[axis] = r < g_.out[axis] ? (g_.out[axis] - r - 1) / g_.stride[axis] + 1 : 0;
            empty = empty || phase.count[axis] == 0;
            phase.taps[axis] = TapsOf(axis, r);
            phase.tap_count *= static_cast<int64_t>(phase.taps[axis].size());
          }
          if (empty) continue;
          phase.weights = floats;
          phase.lines = lines;
          floats += static_cast<size_t>(g_.group * PanelsOf(group_out) * phase.tap_count *
                                        group_in * kGemmPanel);
          lines += g_.batch * phase.count[0] * phase.count[1];
          most_taps = std::max(most_taps, phase.tap_count);
          phases_.push_back(std::move(phase));
        }
      }
    }
    weights_.Reset(floats);
    phases = {lines};
    thread_scratch =
        static_cast<size_t>(std::max<int64_t>(1, most_taps) * kMaxTileRows) * sizeof(float*);
    double macs = static_cast<double>(g_.batch) * group_in * g_.out_channels;
    for (int axis = 0; axis < 3; ++axis) macs *= static_cast<double>(g_.in[axis] * g_.kernel[axis]);
    cost_ns = GemmCostNs(macs);
  }

  void Pack(const TensorSpec& w, const TensorSpec* bias) {
    const WeightValues values(w);
    const int64_t group_in = g_.channels / g_.group, group_out = g_.out_channels / g_.group;
    const int64_t taps = g_.kernel[0] * g_.kernel[1] * g_.kernel[2];
    for (const Phase& phase : phases_) {
      float* to = weights_.data() + phase.weights;
      for (int64_t group = 0; group < g_.group; ++group) {
        for (int64_t n0 = 0; n0 < group_out; n0 += kGemmPanel) {
          const int64_t columns = std::min<int64_t>(kGemmPanel, group_out - n0);
          for (const Tap& d : phase.taps[0]) {
            for (const Tap& h : phase.taps[1]) {
              for (const Tap& v : phase.taps[2]) {
                const int64_t tap = (d.k * g_.kernel[1] + h.k) * g_.kernel[2] + v.k;
                for (int64_t c = 0; c < group_in; ++c, to += kGemmPanel) {
                  const float* from =
                      values.data() + ((group * group_in + c) * taps + tap) * group_out + n0;
                  for (int64_t n = 0; n < kGemmPanel; ++n) to[n] = n < columns ? from[n] : 0.0f;
                }
              }
            }
          }
        }
      }
    }
    const Aligned<float> flat = PackBias(bias, g_.out_channels);
    const int64_t padded = PanelsOf(group_out) * kGemmPanel;
    bias_.Reset(static_cast<size_t>(g_.group * padded));
    for (int64_t group = 0; group < g_.group; ++group) {
      for (int64_t n = 0; n < padded; ++n) {
        bias_[group * padded + n] = n < group_out ? flat[group * group_out + n] : 0.0f;
      }
    }
    zeros_.Reset(static_cast<size_t>(group_in));
    std::memset(zeros_.data(), 0, zeros_.size() * sizeof(float));
  }

  // A work item is a line of one phase: outputs with the same (batch, depth, row).
  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    size_t p = 0;
    for (int64_t item = begin; item < end; ++item) {
      while (p + 1 < phases_.size() && item >= phases_[p + 1].lines) ++p;
      const Phase& phase = phases_[p];
      int64_t rest = item - phase.lines;
      const int64_t jh = rest % phase.count[1];
      rest /= phase.count[1];
      const int64_t jd = rest % phase.count[0];
      const int64_t batch = rest / phase.count[0];
      for (int64_t j = 0; j < phase.count[2]; j += kernel_.mr) {
        const int rows = static_cast<int>(std::min<int64_t>(kernel_.mr, phase.count[2] - j));
        Tile(args, phase, batch, jd, jh, j, rows);
      }
    }
  }

 private:
  std::vector<Tap> TapsOf(int axis, int64_t residue) const {
    std::vector<Tap> taps;
    for (int64_t k = 0; k < g_.kernel[axis]; ++k) {
      const int64_t at = residue + g_.pad[axis] - k * g_.dilation[axis];
      if (at % g_.stride[axis] == 0) taps.push_back({k, at / g_.stride[axis]});
    }
    return taps;
  }

  void Tile(const StepArgs& args, const Phase& phase, int64_t batch, int64_t jd, int64_t jh,
            int64_t j, int rows) const {
    const int64_t group_in = g_.channels / g_.group, group_out = g_.out_channels / g_.group;
    const float** pointers = reinterpret_cast<const float**>(args.thread_scratch);
    const int64_t od = phase.residue[0] + jd * g_.stride[0],
                  oh = phase.residue[1] + jh * g_.stride[1];
    const int64_t ow = phase.residue[2] + j * g_.stride[2];
    GemmF32Tile t;
    t.a = pointers;
    t.rows = rows;
    t.taps = phase.tap_count;
    t.kc = group_in;
    t.panel_stride = phase.tap_count * group_in * kGemmPanel;
    t.residual = nullptr;
    t.ldr = 0;
    t.ldy = g_.stride[2] * g_.out_channels;
    t.n = group_out;
    t.lo = act_.lo;
    t.hi = act_.hi;
    const int64_t position = ((batch * g_.out[0] + od) * g_.out[1] + oh) * g_.out[2] + ow;
    for (int64_t group = 0; group < g_.group; ++group) {
      const float* x = args.In<float>(0) + group * group_in;
      const float** to = pointers;
      for (const Tap& d : phase.taps[0]) {
        for (const Tap& h : phase.taps[1]) {
          const int64_t id = jd + d.offset, ih = jh + h.offset;
          const bool line = id >= 0 && id < g_.in[0] && ih >= 0 && ih < g_.in[1];
          const int64_t base = ((batch * g_.in[0] + id) * g_.in[1] + ih) * g_.in[2];
          for (const Tap& w : phase.taps[2]) {
            for (int r = 0; r < rows; ++r) {
              const int64_t iw = j + r + w.offset;
              const bool valid = line && iw >= 0 && iw < g_.in[2];
              *to++ = valid ? x + (base + iw) * g_.channels : zeros_.data();
            }
          }
        }
      }
      t.w = weights_.data() + phase.weights + group * PanelsOf(group_out) * t.panel_stride;
      t.bias = bias_.data() + group * PanelsOf(group_out) * kGemmPanel;
      t.y = args.Out<float>(0) + position * g_.out_channels + group * group_out;
      kernel_.fn(t);
      act_.ApplyRows(unary_, t.y, rows, t.n, t.ldy);
    }
  }

  const Geometry g_;
  const FusedAct act_;
  const Kernel<gemm_f32> kernel_;
  unary_f32::Fn* const unary_;
  std::vector<Phase> phases_;
  Aligned<float> weights_, bias_, zeros_;
};

// stride = kernel, no pads, one group: the outputs of an input position are the columns of one
// product, those of a tap side by side.
class ScatterF32 final : public Step {
 public:
  ScatterF32(const Geometry& geometry, const FusedAct& act, const PlanContext& plan)
      : g_(geometry),
        act_(act),
        columns_(geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2] *
                 geometry.out_channels),
        kernel_(SelectKernel<gemm_f32>(plan.isa)),
        unary_(SelectKernel<unary_f32>(plan.isa).fn) {
    phases = {g_.batch * g_.in[0] * g_.in[1]};
    thread_scratch = static_cast<size_t>(kMaxTileRows * columns_) * sizeof(float);
    cost_ns = GemmCostNs(static_cast<double>(phases[0] * g_.in[2] * g_.channels) *
                         PanelsOf(columns_) * kGemmPanel);
  }

  void Pack(const TensorSpec& w, const TensorSpec* bias) {
    const WeightValues values(w);
    weights_.Reset(static_cast<size_t>(PanelsOf(columns_) * g_.channels * kGemmPanel));
    PackPanels(values.data(), columns_, g_.channels, 1, columns_, weights_.data());
    const Aligned<float> flat = PackBias(bias, g_.out_channels);
    bias_.Reset(static_cast<size_t>(PanelsOf(columns_) * kGemmPanel));
    for (size_t n = 0; n < bias_.size(); ++n) {
      bias_[n] = static_cast<int64_t>(n) < columns_ ? flat[n % g_.out_channels] : 0.0f;
    }
  }

  // A work item is a line of the input.
  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* rows[kMaxTileRows];
    float* tile = reinterpret_cast<float*>(args.thread_scratch);
    GemmF32Tile t;
    t.a = rows;
    t.taps = 1;
    t.kc = g_.channels;
    t.w = weights_.data();
    t.panel_stride = g_.channels * kGemmPanel;
    t.bias = bias_.data();
    t.residual = nullptr;
    t.ldr = 0;
    t.y = tile;
    t.ldy = columns_;
    t.n = columns_;
    t.lo = act_.lo;
    t.hi = act_.hi;
    const int64_t run = g_.kernel[2] * g_.out_channels, line = g_.out[2] * g_.out_channels;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item % g_.in[1], d = item / g_.in[1];  // d counts over the batch, too
      for (int64_t i = 0; i < g_.in[2]; i += t.rows) {
        t.rows = static_cast<int>(std::min<int64_t>(kernel_.mr, g_.in[2] - i));
        for (int r = 0; r < t.rows; ++r) {
          rows[r] = args.In<float>(0) + (item * g_.in[2] + i + r) * g_.channels;
        }
        kernel_.fn(t);
        if (act_.unary) act_.Apply(unary_, tile, t.rows * columns_);
        const float* from = tile;
        float* to = args.Out<float>(0) + i * run;
        for (int r = 0; r < t.rows; ++r, to += run) {
          for (int64_t kd = 0; kd < g_.kernel[0]; ++kd) {
            for (int64_t kh = 0; kh < g_.kernel[1]; ++kh, from += run) {
              const int64_t row = (d * g_.kernel[0] + kd) * g_.out[1] + h * g_.kernel[1] + kh;
              for (int64_t n = 0; n < run; ++n) to[row * line + n] = from[n];
            }
          }
        }
      }
    }
  }

 private:
  const Geometry g_;
  const FusedAct act_;
  const int64_t columns_;
  const Kernel<gemm_f32> kernel_;
  unary_f32::Fn* const unary_;
  Aligned<float> weights_, bias_;
};

bool Scatters(const Geometry& g) {
  bool apart = g.group == 1 && g.out_channels < kGemmPanel;
  for (int axis = 0; axis < 3; ++axis) {
    apart = apart && g.stride[axis] == g.kernel[axis] && g.dilation[axis] == 1 &&
            g.pad[axis] == 0 && g.out[axis] == g.in[axis] * g.stride[axis];
  }
  return apart;
}

template <typename ConvTranspose>
std::unique_ptr<Step> Packed(const Geometry& g, const FusedAct& act, const PlanContext& plan,
                             const TensorSpec& w, const TensorSpec* bias) {
  auto step = std::make_unique<ConvTranspose>(g, act, plan);
  step->Pack(w, bias);
  return step;
}

}  // namespace

std::unique_ptr<Step> MakeConvTransposeF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec* bias = plan.OptionalIn(2);
  const TensorSpec& y = plan.Out(0);
  RequireWeight(w, "weight");
  Require(y.dtype == DType::kF32, "output is not float32");
  const int rank = x.rank() - 2;
  Require(rank >= 1 && rank <= 3 && w.rank() == x.rank() && y.rank() == x.rank(),
          "input, weight and output do not have the same 1 to 3 spatial axes");
  Geometry g;
  g.group = spec.Int("group", 1);
  g.batch = x.shape[0];
  g.channels = x.shape.back();
  Require(g.group >= 1 && g.channels % g.group == 0 && w.shape[0] == g.channels,
          "weight or group does not fit the input channels");
  g.out_channels = w.shape.back() * g.group;
  Require(y.shape.back() == g.out_channels && y.shape[0] == g.batch && g.out_channels > 0,
          "output does not have O channels or the input's batch");
  const size_t r = static_cast<size_t>(rank);
  const auto stride = spec.Ints("stride", std::vector<int64_t>(r, 1));
  const auto dilation = spec.Ints("dilation", std::vector<int64_t>(r, 1));
  const auto pad = spec.Ints("pad", std::vector<int64_t>(2 * r, 0));
  const auto more = spec.Ints("output_padding", std::vector<int64_t>(r, 0));
  spec.Ignore("pad_mode");
  Require(stride.size() == r && dilation.size() == r && pad.size() == 2 * r && more.size() == r,
          "stride, dilation, pad or output_padding does not fit the spatial axes");
  constexpr int64_t kMaxStride = 64, kMax = int64_t{1} << 30;
  for (size_t d = 0; d < r; ++d) {
    const size_t to = d + 3 - r;
    g.in[to] = x.shape[d + 1];
    g.out[to] = y.shape[d + 1];
    g.kernel[to] = w.shape[d + 1];
    g.stride[to] = stride[d];
    g.dilation[to] = dilation[d];
    g.pad[to] = pad[2 * d];
    Require(stride[d] >= 1 && stride[d] <= kMaxStride && dilation[d] >= 1 && dilation[d] < kMax &&
                pad[2 * d] < kMax && pad[2 * d] > -kMax,
            "stride is not in 1..64 or dilation not positive");
    const int64_t expected = stride[d] * (g.in[to] - 1) + (g.kernel[to] - 1) * dilation[d] + 1 +
                             more[d] - pad[2 * d] - pad[2 * d + 1];
    Require(g.out[to] == expected, "output shape does not follow from stride, dilation and pad");
  }
  if (bias != nullptr) {
    RequireWeight(*bias, "bias");
    Require(bias->count == g.out_channels, "bias does not have one value per output channel");
  }
  const FusedAct act = ParseAct(spec);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return Scatters(g) ? Packed<ScatterF32>(g, act, plan, w, bias)
                     : Packed<ConvTransposeF32>(g, act, plan, w, bias);
}

}  // namespace bitlite
