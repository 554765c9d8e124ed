// max_pool and average_pool on float32, channels last, 1 to 3 spatial axes.
//   attrs  kernel stride dilation pad pad_mode ceil_mode act; average_pool: count_include_pad
// Padding never wins a maximum. An average counts the elements inside, or with count_include_pad
// also the declared padding (not what ceil_mode adds beyond it).
#include <algorithm>
#include <limits>

#include "kernels/common/activation.h"
#include "kernels/common/kernels.h"
#include "kernels/common/window.h"
#include "reduce_f32.h"

namespace bitlite {
namespace {

constexpr int64_t kMaxWindowRows = 256;

class PoolF32 final : public Step {
 public:
  PoolF32(const Window& window, std::array<int64_t, 3> padded_end, bool average, bool include_pad,
          const FusedAct& act, const PlanContext& plan)
      : w_(window),
        padded_end_(padded_end),
        average_(average),
        include_pad_(include_pad),
        act_(act),
        kernel_(SelectKernel<reduce_rows_f32>(plan.isa).fn),
        unary_(SelectKernel<unary_f32>(plan.isa).fn) {
    phases = {w_.batch * w_.out[0] * w_.out[1]};
    cost_ns = static_cast<double>(w_.batch * w_.out_positions()) *
              (10.0 + static_cast<double>(w_.taps() * w_.channels) / 20.0);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* x = args.In<float>(0);
    const float* rows[kMaxWindowRows];
    ReduceRowsF32Args t;
    t.op = average_ ? ReduceOp::kSum : ReduceOp::kMax;
    t.rows = rows;
    t.tap_stride = w_.dilation[2] * w_.channels;
    t.n = w_.channels;
    t.scale = 1.0f;
    t.step = w_.stride[2] * w_.channels;
    t.lo = act_.lo;
    t.hi = act_.hi;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item % w_.out[1], d = item / w_.out[1] % w_.out[0];
      const int64_t batch = item / w_.out[1] / w_.out[0];
      const Span span_d = Find(0, d), span_h = Find(1, h);
      for (int64_t o = 0; o < w_.out[2]; o += t.positions) {
        const Span span_w = Find(2, o);
        t.positions = Alike(o, span_w);
        t.row_count = 0;
        t.taps = span_w.taps.last - span_w.taps.first;
        const int64_t column = span_w.start + span_w.taps.first * w_.dilation[2];
        for (int64_t kd = span_d.taps.first; kd < span_d.taps.last; ++kd) {
          const int64_t id = span_d.start + kd * w_.dilation[0];
          for (int64_t kh = span_h.taps.first; kh < span_h.taps.last; ++kh) {
            const int64_t ih = span_h.start + kh * w_.dilation[1];
            rows[t.row_count++] =
                x + (((batch * w_.in[0] + id) * w_.in[1] + ih) * w_.in[2] + column) * w_.channels;
          }
        }
        if (average_) {
          const int64_t inside = t.row_count * t.taps;
          const int64_t counted =
              include_pad_ ? span_d.padded * span_h.padded * span_w.padded : inside;
          t.scale = counted == 0 ? 0.0f : 1.0f / static_cast<float>(counted);
        }
        t.y = args.Out<float>(0) + (item * w_.out[2] + o) * w_.channels;
        kernel_(t);
        act_.Apply(unary_, t.y, t.positions * t.n);
      }
    }
  }

 private:
  struct Span {
    int64_t start;
    TapRange taps;   // inside the input
    int64_t padded;  // taps inside the input with its declared padding
  };

  Span Find(int axis, int64_t out) const {
    const int64_t start = out * w_.stride[axis] - w_.pad[axis];
    const TapRange padded =
        InsideTaps(0, w_.kernel[axis], w_.dilation[axis], padded_end_[axis] - start);
    return {start, InsideTaps(start, w_.kernel[axis], w_.dilation[axis], w_.in[axis]),
            padded.last - padded.first};
  }

  // Positions of a row from o on whose windows lie inside as o's does.
  int64_t Alike(int64_t o, const Span& span) const {
    if (span.taps.first > 0 || span.taps.last < w_.kernel[2]) return 1;
    const int64_t reach = span.start + (w_.kernel[2] - 1) * w_.dilation[2];
    return std::min(w_.out[2] - o, 1 + (w_.in[2] - 1 - reach) / w_.stride[2]);
  }

  const Window w_;
  const std::array<int64_t, 3> padded_end_;  // input index behind the padding
  const bool average_, include_pad_;
  const FusedAct act_;
  reduce_rows_f32::Fn* const kernel_;
  unary_f32::Fn* const unary_;
};

}  // namespace

std::unique_ptr<Step> MakePoolF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  const bool average = spec.op == "average_pool";
  Require(y.dtype == DType::kF32, "output is not float32");
  Require(plan.outputs() == 1, "more than one output");
  const Window window = ParseWindow(spec, x, y, spec.Ints("kernel", {}));
  Require(y.shape.back() == window.channels, "input and output differ in channels");
  Require(window.kernel[0] * window.kernel[1] <= kMaxWindowRows, "window with more than 256 rows");
  const bool include_pad = average && spec.Bool("count_include_pad", false);
  const std::vector<int64_t> pad = spec.Ints("pad", std::vector<int64_t>(2 * (x.rank() - 2), 0));
  std::array<int64_t, 3> padded_end = window.in;
  for (int d = 0; d < x.rank() - 2; ++d) padded_end[d + 5 - x.rank()] += pad[2 * d + 1];
  const FusedAct act = ParseAct(spec);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return std::make_unique<PoolF32>(window, padded_end, average, include_pad, act, plan);
}

}  // namespace bitlite
