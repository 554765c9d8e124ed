// Operators that only move elements, for every type; quantized tensors must keep their parameters.
//   transpose  attrs perm                     split   attrs axis sizes (one output each)
//   concat     attrs axis act (none)          tile    x; repeats
//   slice      x; begin, end, axes?, step?, as numpy's slices (negative steps too)
//   depth_to_space  attrs block mode DCR|CRD    space_to_depth  attrs block
//   broadcast_to  x, shape constant: y's static shape decides
#include <algorithm>
#include <numeric>

#include "kernels/common/params.h"
#include "kernels/common/strided_copy.h"
#include "step.h"

namespace bitlite {
namespace {

std::vector<int64_t> Strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    strides[d] = stride;
    stride *= shape[d];
  }
  return strides;
}

// One copy per (input, output) pair: phase k moves input `from` to output `to`.
struct Move {
  int from, to;
  int64_t src_offset, dst_offset;  // bytes
  StridedCopy copy;
};

class MoveStep final : public Step {
 public:
  explicit MoveStep(std::vector<Move> moves) : moves_(std::move(moves)) {
    phases.clear();
    for (const Move& m : moves_) {
      phases.push_back(m.copy.items());
      cost_ns = std::max(cost_ns, m.copy.cost_ns());
    }
  }

  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override {
    const Move& m = moves_[static_cast<size_t>(phase)];
    m.copy.Run(args.In<char>(m.from) + m.src_offset, args.Out<char>(m.to) + m.dst_offset, begin,
               end);
  }

 private:
  const std::vector<Move> moves_;
};

// The moved input is read while running even when it is a constant.
const TensorSpec& Moved(PlanContext& plan, int input, int output) {
  const TensorSpec& x = plan.In(input);
  Require(SameQuant(x, plan.Out(output)), "input and output differ in type or quantization");
  Require(x.scale.size() < 2, "quantized per channel");
  if (x.constant) plan.KeepConstant(input);
  return x;
}

int64_t NormalAxis(int64_t axis, const TensorSpec& x) {
  if (axis < 0) axis += x.rank();
  Require(axis >= 0 && axis < x.rank(), "axis is out of range");
  return axis;
}

int64_t Bytes(const TensorSpec& t) { return static_cast<int64_t>(SizeOf(t.dtype)); }

std::unique_ptr<Step> One(const TensorSpec& x, const Shape& extents,
                          const std::vector<int64_t>& from, int64_t offset,
                          const std::vector<int64_t>& to) {
  const int64_t size = Bytes(x);
  std::vector<Move> moves;
  moves.push_back({0, 0, offset * size, 0, StridedCopy(extents, from, to, size)});
  return std::make_unique<MoveStep>(std::move(moves));
}

}  // namespace

std::unique_ptr<Step> MakeTranspose(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = Moved(plan, 0, 0);
  const TensorSpec& y = plan.Out(0);
  const std::vector<int64_t> perm = spec.Ints("perm", {});
  Require(perm.size() == x.shape.size() && y.rank() == x.rank(), "perm does not fit the rank");
  std::vector<char> seen(perm.size(), 0);
  std::vector<int64_t> from;
  const std::vector<int64_t> strides = Strides(x.shape);
  for (size_t d = 0; d < perm.size(); ++d) {
    const int64_t p = perm[d];
    Require(p >= 0 && p < x.rank() && !seen[p], "perm is not an order of the axes");
    seen[p] = 1;
    from.push_back(strides[p]);
    Require(y.shape[d] == x.shape[p], "output shape does not follow from perm");
  }
  if (plan.check_only) return nullptr;
  auto step = One(x, y.shape, from, 0, Strides(y.shape));
  // Moving axes of extent 1 leaves the bytes as they are.
  int64_t last = -1;
  bool moved = false;
  for (int64_t p : perm) {
    if (x.shape[p] == 1) continue;
    moved = moved || p < last;
    last = p;
  }
  if (!moved) step->view_of = 0;
  return step;
}

std::unique_ptr<Step> MakeSlice(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = Moved(plan, 0, 0);
  const TensorSpec& y = plan.Out(0);
  const std::vector<int64_t> begin = IntParameter(spec, "begin", plan, 1);
  const std::vector<int64_t> end = IntParameter(spec, "end", plan, 2);
  std::vector<int64_t> axes(begin.size()), step(begin.size(), 1);
  std::iota(axes.begin(), axes.end(), 0);
  if (spec.Has("axes") || plan.Has(3)) axes = IntParameter(spec, "axes", plan, 3);
  if (spec.Has("step") || plan.Has(4)) step = IntParameter(spec, "step", plan, 4);
  Require(end.size() == begin.size() && axes.size() == begin.size() && step.size() == begin.size(),
          "begin, end, axes and step differ in length");
  std::vector<int64_t> from = Strides(x.shape);
  Shape extents = x.shape;
  int64_t offset = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    const int64_t d = NormalAxis(axes[i], x), n = x.shape[d], s = step[i];
    Require(s != 0, "a step of 0");
    // numpy's rule: wrap once, then clamp to the range that the direction allows.
    const auto place = [&](int64_t v) {
      if (v < 0) v = v < -n ? -1 : v + n;
      return s > 0 ? std::min(std::max<int64_t>(v, 0), n)
                   : std::min(std::max<int64_t>(v, -1), n - 1);
    };
    const int64_t first = place(begin[i]), stop = place(end[i]);
    const int64_t span = s > 0 ? stop - first : first - stop, width = s > 0 ? s : -s;
    extents[d] = span <= 0 ? 0 : (span + width - 1) / width;
    if (extents[d] > 0) offset += first * from[d];
    from[d] *= s;
  }
  Require(y.shape == extents, "output shape does not follow from begin, end and step");
  if (plan.check_only) return nullptr;
  return One(x, extents, from, offset, Strides(extents));
}

std::unique_ptr<Step> MakeConcat(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& y = plan.Out(0);
  const int64_t axis = NormalAxis(spec.Int("axis", 0), y), size = Bytes(y);
  Require(spec.Str("act", "none") == "none", "fused activation");
  const std::vector<int64_t> to = Strides(y.shape);
  std::vector<Move> moves;
  int64_t position = 0;
  for (int i = 0; i < plan.inputs(); ++i) {
    const TensorSpec& x = Moved(plan, i, 0);
    Require(x.rank() == y.rank(), "inputs and output differ in rank");
    for (int d = 0; d < y.rank(); ++d) {
      Require(d == axis || x.shape[d] == y.shape[d], "inputs differ outside the axis");
    }
    moves.push_back(
        {i, 0, 0, position * to[axis] * size, StridedCopy(x.shape, Strides(x.shape), to, size)});
    position += x.shape[axis];
  }
  Require(position == y.shape[axis], "inputs do not add up to the output");
  if (plan.check_only) return nullptr;
  return std::make_unique<MoveStep>(std::move(moves));
}

std::unique_ptr<Step> MakeSplit(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const int64_t axis = NormalAxis(spec.Int("axis", 0), x), size = Bytes(x);
  const std::vector<int64_t> sizes = spec.Ints("sizes", {});
  Require(static_cast<int>(sizes.size()) == plan.outputs(), "sizes do not match the outputs");
  const std::vector<int64_t> from = Strides(x.shape);
  std::vector<Move> moves;
  int64_t position = 0;
  for (int i = 0; i < plan.outputs(); ++i) {
    Moved(plan, 0, i);
    const TensorSpec& y = plan.Out(i);
    Shape extents = x.shape;
    extents[axis] = sizes[i];
    Require(y.shape == extents, "an output's shape does not follow from sizes");
    moves.push_back({0, i, position * from[axis] * size, 0,
                     StridedCopy(extents, from, Strides(extents), size)});
    position += sizes[i];
  }
  Require(position == x.shape[axis], "sizes do not add up to the input");
  if (plan.check_only) return nullptr;
  return std::make_unique<MoveStep>(std::move(moves));
}

std::unique_ptr<Step> MakeTile(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = Moved(plan, 0, 0);
  const TensorSpec& y = plan.Out(0);
  const std::vector<int64_t> repeats = IntParameter(spec, "repeats", plan, 1);
  Require(repeats.size() == x.shape.size() && y.rank() == x.rank(), "repeats do not fit the rank");
  const std::vector<int64_t> own = Strides(x.shape), out = Strides(y.shape);
  Shape extents;
  std::vector<int64_t> from, to;
  for (size_t d = 0; d < repeats.size(); ++d) {
    Require(repeats[d] >= 0 && y.shape[d] == x.shape[d] * repeats[d],
            "output shape does not follow");
    extents.insert(extents.end(), {repeats[d], x.shape[d]});
    from.insert(from.end(), {0, own[d]});
    to.insert(to.end(), {out[d] * x.shape[d], out[d]});
  }
  if (plan.check_only) return nullptr;
  return One(x, extents, from, 0, to);
}

std::unique_ptr<Step> MakeBroadcastTo(const StepSpec& spec, PlanContext& plan) {
  spec.Ignore("shape");
  plan.IgnoreInput(1);
  spec.Ignore("both_ways");  // the output's shape says it
  const TensorSpec& x = Moved(plan, 0, 0);
  const TensorSpec& y = plan.Out(0);
  Require(x.rank() <= y.rank(), "output has a smaller rank");
  const std::vector<int64_t> own = Strides(x.shape);
  std::vector<int64_t> from(y.shape.size(), 0);
  const size_t skip = y.shape.size() - x.shape.size();
  for (size_t d = 0; d < x.shape.size(); ++d) {
    Require(x.shape[d] == y.shape[skip + d] || x.shape[d] == 1, "shapes do not broadcast");
    from[skip + d] = x.shape[d] == 1 ? 0 : own[d];
  }
  if (plan.check_only) return nullptr;
  return One(x, y.shape, from, 0, Strides(y.shape));
}

std::unique_ptr<Step> MakeDepthToSpace(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = Moved(plan, 0, 0);
  const TensorSpec& y = plan.Out(0);
  const bool to_space = spec.op == "depth_to_space";
  const int64_t b = spec.Int("block", 0);
  const std::string mode = spec.Str("mode", "DCR");
  Require(mode == "DCR" || mode == "CRD", "mode is not DCR or CRD");
  // The small image has the deep channels; `small` and `large` are the two sides of the move.
  const TensorSpec& small = to_space ? x : y;
  const TensorSpec& large = to_space ? y : x;
  Require(x.rank() == 4 && y.rank() == 4 && b >= 1, "not an image, or block is not positive");
  const int64_t h = small.shape[1], w = small.shape[2], c = large.shape[3];
  Require(large.shape == Shape({small.shape[0], h * b, w * b, small.shape[3] / (b * b)}) &&
              small.shape[3] % (b * b) == 0,
          "output shape does not follow from block");
  if (plan.check_only) return nullptr;
  // Axes: batch, h, row, w, column, channel.
  const Shape extents = {small.shape[0], h, b, w, b, c};
  const int64_t deep = small.shape[3];
  const bool dcr = mode == "DCR";
  const std::vector<int64_t> in_small = {h * w * deep, w * deep,    dcr ? b * c : b,
                                         deep,         dcr ? c : 1, dcr ? 1 : b * b};
  const std::vector<int64_t> in_large = {h * b * w * b * c, b * w * b * c, w * b * c, b * c, c, 1};
  return One(x, extents, to_space ? in_small : in_large, 0, to_space ? in_large : in_small);
}

}  // namespace bitlite
