// concat on int8 whose inputs have other parameters than the output: each is requantized.
//   attrs  axis act qmin qmax
#include <algorithm>
#include <cstring>

#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "kernels/common/strided_copy.h"

namespace bitlite {
namespace {

constexpr int64_t kJoined = 4096;   // elements of short rows that are converted together
constexpr int64_t kCell = 8;        // bytes written at once where no input has longer rows
constexpr size_t kNarrowParts = 4;  // inputs of which that is done

class ConcatS8 final : public Step {
 public:
  struct Part {
    int64_t run, offset;  // elements of a row of the input; where it begins in a row of the output
    int32_t zero_point;
    float m;
    bool copy;
  };
  ConcatS8(const PlanContext& plan, std::vector<Part> parts, int64_t rows, int64_t row,
           OutputCodesS8 out)
      : parts_(std::move(parts)),
        row_(row),
        kernel_(SelectKernel<vector_s8>(plan.isa).fn()),
        out_(out),
        clamps_(out.qmin > -128 || out.qmax < 127),
        narrow_(parts_.size() >= 2 && parts_.size() <= kNarrowParts &&
                std::all_of(parts_.begin(), parts_.end(),
                            [](const Part& part) { return part.run <= kCell; })) {
    phases = {rows};
    cost_ns = static_cast<double>(rows * row) * 0.05 + static_cast<double>(rows) * 10;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t joined = std::max<int64_t>(1, kJoined / std::max<int64_t>(row_, 1));
    for (int64_t first = begin; first < end; first += joined) {
      const int64_t rows = std::min(joined, end - first);
      int8_t* y = args.Out<int8_t>(0) + first * row_;
      if (narrow_) {
        RunNarrow(args, first, rows, y);
        continue;
      }
      for (size_t p = 0; p < parts_.size(); ++p) {
        const Part& part = parts_[p];
        const int8_t* x = args.In<int8_t>(static_cast<int>(p)) + first * part.run;
        if (part.copy && !clamps_) {
          CopyRuns(x, part.run, y + part.offset, row_, rows, part.run);
        } else if (joined == 1) {
          Convert(part, x, y + part.offset, part.run);
        } else {
          int8_t codes[kJoined];
          Convert(part, x, codes, rows * part.run);
          CopyRuns(codes, part.run, y + part.offset, row_, rows, part.run);
        }
      }
    }
  }

 private:
  // What a cell has too much, the next one overwrites, up to the last rows.
  void RunNarrow(const StepArgs& args, int64_t first, int64_t rows, int8_t* y) const noexcept {
    int8_t codes[kNarrowParts][kJoined];
    const int8_t* from[kNarrowParts];
    for (size_t p = 0; p < parts_.size(); ++p) {
      const Part& part = parts_[p];
      from[p] = args.In<int8_t>(static_cast<int>(p)) + first * part.run;
      if (part.copy && !clamps_) continue;
      Convert(part, from[p], codes[p], rows * part.run);
      from[p] = codes[p];
    }
    switch (parts_.size()) {
      case 2:
        return Interleave<2>(from, rows, y);
      case 3:
        return Interleave<3>(from, rows, y);
      default:
        return Interleave<kNarrowParts>(from, rows, y);
    }
  }

  template <size_t kParts>
  void Interleave(const int8_t* const* parts, int64_t rows, int8_t* y) const noexcept {
    const int8_t* from[kParts];
    int64_t runs[kParts], offsets[kParts];
    for (size_t p = 0; p < kParts; ++p) {
      from[p] = parts[p];
      runs[p] = parts_[p].run;
      offsets[p] = parts_[p].offset;
    }
    const int64_t row = row_;
    int64_t r = 0;
    for (; r < rows - kCell; ++r, y += row) {
#pragma GCC unroll 4
      for (size_t p = 0; p < kParts; ++p) {
        std::memcpy(y + offsets[p], from[p], kCell);
        from[p] += runs[p];
      }
    }
    for (; r < rows; ++r, y += row) {
      for (size_t p = 0; p < kParts; ++p) {
        std::memcpy(y + offsets[p], from[p], static_cast<size_t>(runs[p]));
        from[p] += runs[p];
      }
    }
  }

  void Convert(const Part& part, const int8_t* x, int8_t* y, int64_t n) const {
    if (part.copy) {
      kernel_.clamp(x, y, n, out_.qmin, out_.qmax);
    } else {
      kernel_.requantize(x, y, n, part.zero_point, part.m, out_);
    }
  }

  const std::vector<Part> parts_;
  const int64_t row_;
  const VectorS8Kernel& kernel_;
  const OutputCodesS8 out_;
  const bool clamps_, narrow_;
};

}  // namespace

std::unique_ptr<Step> MakeConcatS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& y = plan.Out(0);
  Require(y.dtype == DType::kI8, "output is not int8");
  const double y_scale = ScaleOf(y);
  const Range range = OutputRange(spec, y);
  int64_t axis = spec.Int("axis", 0);
  if (axis < 0) axis += y.rank();
  Require(axis >= 0 && axis < y.rank(), "axis is not one of the output's");
  int64_t rows = 1, inner = 1;
  for (int d = 0; d < y.rank(); ++d) {
    if (d < axis) rows *= y.shape[d];
    if (d > axis) inner *= y.shape[d];
  }
  std::vector<ConcatS8::Part> parts;
  int64_t offset = 0;
  for (int i = 0; i < plan.inputs(); ++i) {
    const TensorSpec& x = plan.In(i);
    Require(x.dtype == DType::kI8 && x.rank() == y.rank(),
            "an input is not int8 of the output's rank");
    for (int d = 0; d < y.rank(); ++d) {
      Require(d == axis || x.shape[d] == y.shape[d], "shapes do not fit");
    }
    const int64_t run = x.shape[axis] * inner;
    parts.push_back(
        {run, offset, ZeroPointOf(x), static_cast<float>(ScaleOf(x) / y_scale), SameQuant(x, y)});
    offset += run;
    if (x.constant) plan.KeepConstant(i);
  }
  Require(offset == y.shape[axis] * inner, "shapes do not fit");
  if (plan.check_only) return nullptr;
  return std::make_unique<ConcatS8>(plan, std::move(parts), rows, offset,
                                    OutputCodesS8{ZeroPointOf(y), range.qmin, range.qmax});
}

}  // namespace bitlite
