// pad: x, pads?, value constant?
//   attrs pads [2r] (begin and end of each axis, not negative; or constant as input 1), mode
//   constant|reflect|edge|symmetric, value. Every type; quantized tensors must keep their
//   parameters and are padded with the code of the value.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/common/params.h"
#include "kernels/common/strided_copy.h"
#include "step.h"

namespace bitlite {
namespace {

constexpr int64_t kGroupBytes = 8192;  // of output rows that are padded together

// Consecutive positions of the last padded axis: a copy from input index `from` on, or the constant
// (-1).
struct Piece {
  int64_t at, from, count;
};

std::vector<Piece> Pieces(const std::vector<int64_t>& map) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < map.size(); ++i) {
    if (!pieces.empty()) {
      Piece& last = pieces.back();
      if (map[i] < 0 ? last.from < 0 : last.from >= 0 && map[i] == last.from + last.count) {
        ++last.count;
        continue;
      }
    }
    pieces.push_back({static_cast<int64_t>(i), map[i], 1});
  }
  return pieces;
}

// Per axis the input index behind each output index, -1 for the constant. Trailing axes without
// pads are one run.
class Pad final : public Step {
 public:
  Pad(std::vector<std::vector<int64_t>> maps, std::vector<int64_t> strides, int64_t run,
      int64_t size, const uint8_t (&fill)[8])
      : maps_(std::move(maps)),
        pieces_(Pieces(maps_.back())),
        strides_(std::move(strides)),
        run_(run),
        size_(size) {
    std::memcpy(fill_, fill, sizeof(fill_));
    uniform_ = std::all_of(fill_, fill_ + size_, [&](uint8_t b) { return b == fill_[0]; });
    filled_ =
        std::any_of(pieces_.begin(), pieces_.end(), [](const Piece& p) { return p.from < 0; });
    bool alone = true;
    for (size_t d = 0; d + 1 < maps_.size(); ++d) {
      rows_ *= static_cast<int64_t>(maps_[d].size());
      for (size_t i = 0; i < maps_[d].size(); ++i) alone &= maps_[d][i] == static_cast<int64_t>(i);
    }
    const double row_bytes = static_cast<double>(maps_.back().size()) * run_ * size_;
    double row_ns = 10.0 * pieces_.size() + row_bytes / 20.0;
    if (alone && maps_.size() > 1) {
      row_stride_ = strides_[strides_.size() - 2];
      group_ = std::max<int64_t>(1, static_cast<int64_t>(kGroupBytes / std::max(1.0, row_bytes)));
      row_ns = std::max(1.0, row_bytes / 20.0);
    }
    phases = {group_ == 0 ? rows_ : (rows_ + group_ - 1) / group_};
    cost_ns = static_cast<double>(rows_) * row_ns;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const char* x = args.In<char>(0);
    const int64_t width = static_cast<int64_t>(maps_.back().size()), bytes = run_ * size_;
    if (group_ > 0) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item * group_, rows = std::min(group_, rows_ - first);
        RunGroup(x, args.Out<char>(0), first, rows, width, bytes);
      }
      return;
    }
    for (int64_t item = begin; item < end; ++item) {
      int64_t rest = item, offset = 0;
      bool inside = true;
      for (size_t d = maps_.size() - 1; d-- > 0;) {
        const int64_t extent = static_cast<int64_t>(maps_[d].size());
        const int64_t i = maps_[d][rest % extent];
        rest /= extent;
        inside = inside && i >= 0;
        offset += i * strides_[d];
      }
      char* y = args.Out<char>(0) + item * width * bytes;
      if (!inside) {
        Fill(y, width * run_);
        continue;
      }
      for (const Piece& piece : pieces_) {
        if (piece.from < 0) {
          Fill(y + piece.at * bytes, piece.count * run_);
        } else {
          std::memcpy(y + piece.at * bytes, x + (offset + piece.from * strides_.back()) * size_,
                      static_cast<size_t>(piece.count * bytes));
        }
      }
    }
  }

 private:
  // Rows of which the last axis alone is padded.
  void RunGroup(const char* x, char* y, int64_t first, int64_t rows, int64_t width,
                int64_t bytes) const {
    const int64_t row = width * bytes;
    y += first * row;
    x += first * row_stride_ * size_;
    // Short rows are filled whole, in one go.
    if (filled_ && rows > 1) Fill(y, rows * width * run_);
    for (const Piece& piece : pieces_) {
      if (piece.from < 0) {
        if (rows == 1) Fill(y + piece.at * bytes, piece.count * run_);
        continue;
      }
      CopyRuns(x + piece.from * bytes, row_stride_ * size_, y + piece.at * bytes, row, rows,
               piece.count * bytes);
    }
  }

  void Fill(char* y, int64_t n) const {
    if (uniform_) {
      std::memset(y, fill_[0], static_cast<size_t>(n * size_));
      return;
    }
    for (int64_t i = 0; i < n; ++i) std::memcpy(y + i * size_, fill_, static_cast<size_t>(size_));
  }

  const std::vector<std::vector<int64_t>> maps_;
  const std::vector<Piece> pieces_;     // of the last map
  const std::vector<int64_t> strides_;  // elements
  const int64_t run_, size_;
  int64_t rows_ = 1;
  int64_t row_stride_ = 0;  // elements from row to row of the input
  int64_t group_ = 0;       // rows of a work item where the last axis alone is padded
  uint8_t fill_[8];
  bool uniform_;
  bool filled_;  // some piece is the constant
};

template <typename T>
void Put(uint8_t (&fill)[8], double value) {
  const T typed = static_cast<T>(value);
  std::memcpy(fill, &typed, sizeof(T));
}

void FillBytes(const TensorSpec& x, double value, uint8_t (&fill)[8]) {
  std::memset(fill, 0, sizeof(fill));
  if (x.quantized()) {
    Require(x.scale.size() == 1, "quantized per channel");
    const double zero = x.zero_point.empty() ? 0.0 : static_cast<double>(x.zero_point[0]);
    value = std::nearbyint(value / x.scale[0]) + zero;
    const double lowest = x.dtype == DType::kU8 ? 0 : x.dtype == DType::kI8 ? -128 : -2147483648.0;
    const double highest = x.dtype == DType::kU8 ? 255 : x.dtype == DType::kI8 ? 127 : 2147483647.0;
    value = std::min(highest, std::max(lowest, value));
  }
  switch (x.dtype) {
    case DType::kF32:
      return Put<float>(fill, value);
    case DType::kF64:
      return Put<double>(fill, value);
    case DType::kI8:
      return Put<int8_t>(fill, value);
    case DType::kU8:
      return Put<uint8_t>(fill, value);
    case DType::kI32:
      return Put<int32_t>(fill, value);
    case DType::kI64:
      return Put<int64_t>(fill, value);
    default:
      Require(value == 0, "a padding value other than 0 of this type");
  }
}

int64_t Reflect(int64_t i, int64_t n, bool edge_twice) {
  const int64_t period = edge_twice ? 2 * n : std::max<int64_t>(1, 2 * (n - 1));
  i = ((i % period) + period) % period;
  return i < n ? i : (edge_twice ? period - 1 - i : period - i);
}

}  // namespace

std::unique_ptr<Step> MakePad(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  Require(SameQuant(x, y), "input and output differ in type or quantization");
  const std::vector<int64_t> pads = IntParameter(spec, "pads", plan, 1);
  Require(pads.size() == 2 * x.shape.size() && y.rank() == x.rank(), "pads do not fit the rank");
  const std::string mode = spec.Str("mode", "constant");
  Require(mode == "constant" || mode == "reflect" || mode == "edge" || mode == "symmetric",
          "mode is not constant, reflect, edge or symmetric");
  double value = spec.Float("value", 0.0);
  if (plan.Has(2)) {
    const TensorSpec& given = plan.In(2);
    Require(given.constant && given.count == 1, "the padding value is not a constant scalar");
    if (given.dtype == DType::kF32 || given.dtype == DType::kF64) {
      value = RealValues(given)[0];
    } else {
      Require(SameQuant(given, x) && !x.quantized(), "the padding value is quantized");
      value = static_cast<double>(IntValues(given)[0]);
    }
  }
  uint8_t fill[8];
  FillBytes(x, value, fill);
  int last = 0;  // the last axis with pads; what follows is one run
  for (int d = 0; d < x.rank(); ++d) {
    const int64_t before = pads[2 * d], after = pads[2 * d + 1], n = x.shape[d];
    Require(before >= 0 && after >= 0, "negative pads");
    Require(y.shape[d] == n + before + after, "output shape does not follow from pads");
    Require(mode == "constant" || n > 0 || before + after == 0, "nothing to repeat");
    Require(mode != "reflect" || n > 1 || before + after == 0, "nothing to reflect");
    if (before + after > 0) last = d;
  }
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  std::vector<std::vector<int64_t>> maps;
  std::vector<int64_t> strides;
  int64_t run = 1;
  for (int d = last + 1; d < x.rank(); ++d) run *= x.shape[d];
  int64_t stride = run;
  for (int d = last; d >= 0; --d) {
    const int64_t n = x.shape[d];
    std::vector<int64_t> map;
    for (int64_t i = -pads[2 * d]; i < n + pads[2 * d + 1]; ++i) {
      if (i >= 0 && i < n) {
        map.push_back(i);
      } else if (mode == "constant") {
        map.push_back(-1);
      } else if (mode == "edge") {
        map.push_back(i < 0 ? 0 : n - 1);
      } else {
        map.push_back(Reflect(i, n, mode == "symmetric"));
      }
    }
    maps.insert(maps.begin(), std::move(map));
    strides.insert(strides.begin(), stride);
    stride *= n;
  }
  if (maps.empty()) {  // a scalar
    maps.push_back({0});
    strides.push_back(1);
  }
  return std::make_unique<Pad>(std::move(maps), std::move(strides), run,
                               static_cast<int64_t>(SizeOf(x.dtype)), fill);
}

}  // namespace bitlite
