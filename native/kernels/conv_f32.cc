// conv on float32, channels last, as implicit GEMM: a tile of output positions is a set of pointers
// into the input, one per kernel tap, so no image of columns is built.
//   inputs   x [N,*S,C], w [O,*K,C/group] constant, bias [O]? constant, residual? of y's shape
//            y = act(conv(x, w) + bias + residual)
//   attrs    stride dilation pad pad_mode group act
// w may be float16 or quantized integers with scales: then its real values count.
#include <cstring>

#include "depthwise.h"
#include "gemm_pack.h"
#include "line_step.h"
#include "window.h"

namespace bitlite {
namespace {

constexpr int kMaxTileRows = 16;

// How a tap's values are found for a tile of rows.
enum class Gather {
  kRows,    // 1x1: the input is the matrix
  kTaps,    // a pointer per kernel position, to the input or to zeros
  kStrips,  // a pointer per kernel row: its positions are one run; border windows are copied
};

class ConvF32 final : public LineStep {
 public:
  ConvF32(const Window& window, int64_t out_channels, int64_t group, const FusedAct& act,
          const PlanContext& plan)
      : w_(window),
        n_(out_channels),
        group_(group),
        act_(act),
        kernel_(BITLITE_SELECT(gemm_f32, plan.isa)),
        unary_(BITLITE_SELECT(unary_f32, plan.isa).fn) {
    const int64_t group_in = w_.channels / group_, group_out = n_ / group_;
    // One run per kernel row costs less than one per tap, unless many windows stick out of short
    // lines and long rows have to be copied for them.
    constexpr int64_t kFewChannels = 32, kLongLine = 16;
    if (w_.pointwise()) {
      gather_ = Gather::kRows;
    } else if (group_ == 1 && w_.kernel[2] > 1 && w_.dilation[2] == 1 &&
               (w_.channels <= kFewChannels || w_.out[2] >= kLongLine)) {
      gather_ = Gather::kStrips;
    } else {
      gather_ = Gather::kTaps;
    }
    taps_ = gather_ == Gather::kStrips ? w_.kernel[0] * w_.kernel[1] : w_.taps();
    kc_ = gather_ == Gather::kStrips ? w_.kernel[2] * group_in : group_in;
    const int64_t k = taps_ * kc_;
    tiling_ = Tiling(w_.batch * w_.out_positions(), group_out, k, kernel_.row->a, plan.threads);
    phases = {tiling_.items() * group_};
    cost_ns = GemmCostNs(static_cast<double>(tiling_.rows) * n_ * k);
    thread_scratch = static_cast<size_t>(taps_) * kMaxTileRows * sizeof(const float*);
    strip_offset_ = (thread_scratch + 63) / 64 * 64;
    if (gather_ == Gather::kStrips) {
      thread_scratch = strip_offset_ + static_cast<size_t>(kMaxTileRows * k) * sizeof(float);
    }
    in_place = 1u << 3;
    panel_stride_ = k * kGemmPanel;
    group_stride_ = PanelsOf(group_out) * panel_stride_;
    if (w_.in[0] == 1 && w_.out[0] == 1 && w_.kernel[0] == 1 && group_ == 1) {
      lines = w_.batch * w_.out[1];
      line_floats = w_.out[2] * n_;
      weight_bytes = static_cast<size_t>(group_stride_) * sizeof(float);
      can_follow = gather_ == Gather::kRows;
      line_scratch = thread_scratch;
    }
  }

  void Pack(const TensorSpec& w, const TensorSpec* bias) {
    const WeightValues values(w);
    const int64_t group_out = n_ / group_, k = taps_ * kc_;
    weights_.Reset(static_cast<size_t>(group_ * group_stride_));
    for (int64_t g = 0; g < group_; ++g) {
      PackPanels(values.data() + g * group_out * k, group_out, k, k, 1,
                 weights_.data() + g * group_stride_);
    }
    // One run of panels per group, as the weights.
    const int64_t columns = PanelsOf(group_out) * kGemmPanel;
    const Aligned<float> flat = PackBias(bias, n_);
    bias_.Reset(static_cast<size_t>(group_ * columns));
    for (int64_t g = 0; g < group_; ++g) {
      for (int64_t i = 0; i < columns; ++i) {
        bias_[g * columns + i] = i < group_out ? flat[g * group_out + i] : 0.0f;
      }
    }
    zeros_.Reset(static_cast<size_t>(kc_));
    std::memset(zeros_.data(), 0, zeros_.size() * sizeof(float));
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* residual = args.In<float>(3);
    const int64_t group_out = n_ / group_;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t g = item / tiling_.items();
      const int64_t block = item % tiling_.items() / tiling_.row_tiles;
      const int64_t tile = item % tiling_.row_tiles;
      const int64_t row = tiling_.RowBegin(tile);
      const int64_t column = block * tiling_.block_columns;
      const int rows = static_cast<int>(tiling_.RowBegin(tile + 1) - row);
      const int64_t at = row * n_ + g * group_out + column;
      RunTile(args.In<float>(0), row, rows, g, column,
              std::min(tiling_.block_columns, group_out - column), args.Out<float>(0) + at,
              residual == nullptr ? nullptr : residual + at, args.thread_scratch);
    }
  }

  Range Needs(int64_t line) const override {
    const int64_t batch = line / w_.out[1], start = line % w_.out[1] * w_.stride[1] - w_.pad[1];
    const TapRange taps = InsideTaps(start, w_.kernel[1], w_.dilation[1], w_.in[1]);
    if (taps.first == taps.last) return {batch * w_.in[1], batch * w_.in[1]};
    const int64_t first = batch * w_.in[1] + start;
    return {first + taps.first * w_.dilation[1], first + (taps.last - 1) * w_.dilation[1] + 1};
  }

  void RunLine(const float* x, int64_t line, float* y, const float* residual,
               uint8_t* scratch) const noexcept override {
    const int64_t width = w_.out[2], tiles = (width + kernel_.row->a - 1) / kernel_.row->a;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = width * tile / tiles, end = width * (tile + 1) / tiles;
      RunTile(x, line * width + begin, static_cast<int>(end - begin), 0, 0, n_, y + begin * n_,
              residual == nullptr ? nullptr : residual + begin * n_, scratch);
    }
  }

  // Only for Gather::kRows: the line as if it were the first of the image.
  void RunFrom(const float* const* in, int64_t, float* y, const float* residual,
               uint8_t* scratch) const noexcept override {
    RunLine(in[0], 0, y, residual, scratch);
  }

 private:
  // Output rows [row, row + rows) of group g, columns [column, column + n): y and residual point to
  // them.
  void RunTile(const float* x, int64_t row, int rows, int64_t g, int64_t column, int64_t n,
               float* y, const float* residual, uint8_t* scratch) const {
    if (rows == 0) return;
    const int64_t group_out = n_ / group_, group_in = w_.channels / group_;
    const float** pointers = reinterpret_cast<const float**>(scratch);
    const float* origin = x + g * group_in;
    switch (gather_) {
      case Gather::kRows:
        for (int r = 0; r < rows; ++r) pointers[r] = origin + (row + r) * w_.channels;
        break;
      case Gather::kTaps:
        FindTaps(origin, row, rows, pointers);
        break;
      case Gather::kStrips:
        FindStrips(origin, row, rows, pointers, reinterpret_cast<float*>(scratch + strip_offset_));
        break;
    }
    GemmF32Tile t;
    t.a = pointers;
    t.rows = rows;
    t.taps = taps_;
    t.kc = kc_;
    t.w = weights_.data() + g * group_stride_ + column / kGemmPanel * panel_stride_;
    t.panel_stride = panel_stride_;
    t.bias = bias_.data() + g * PanelsOf(group_out) * kGemmPanel + column;
    t.residual = residual;
    t.ldr = n_;
    t.y = y;
    t.ldy = n_;
    t.n = n;
    t.lo = act_.lo;
    t.hi = act_.hi;
    kernel_.fn(t);
    if (act_.unary) {
      for (int r = 0; r < rows; ++r) act_.Apply(unary_, y + r * n_, n);
    }
  }

  // An output position and where its window starts in the input (may be negative).
  struct Position {
    int64_t batch, out[3], start[3];
  };

  Position Locate(int64_t row) const {
    Position p;
    for (int d = 2; d >= 0; --d) {
      p.out[d] = row % w_.out[d];
      row /= w_.out[d];
      p.start[d] = p.out[d] * w_.stride[d] - w_.pad[d];
    }
    p.batch = row;
    return p;
  }

  void Advance(Position& p) const {
    for (int d = 2; d >= 0; --d) {
      p.start[d] += w_.stride[d];
      if (++p.out[d] < w_.out[d]) return;
      p.out[d] = 0;
      p.start[d] = -w_.pad[d];
    }
    ++p.batch;
  }

  static bool Inside(int64_t i, int64_t extent) {
    return static_cast<uint64_t>(i) < static_cast<uint64_t>(extent);
  }

  // The rows are neighbours in one line of the output and none of their windows sticks out
  // sideways.
  bool OneLine(const Position& p, int rows) const {
    const int64_t reach = (w_.kernel[2] - 1) * w_.dilation[2] + (rows - 1) * w_.stride[2];
    return p.out[2] + rows <= w_.out[2] && p.start[2] >= 0 && p.start[2] + reach < w_.in[2];
  }

  // The input line under kernel row (kd, kh) of a window, at its column 0; null outside the image.
  const float* Line(const float* x, const Position& p, int64_t kd, int64_t kh) const {
    const int64_t d = p.start[0] + kd * w_.dilation[0], h = p.start[1] + kh * w_.dilation[1];
    if (!Inside(d, w_.in[0]) || !Inside(h, w_.in[1])) return nullptr;
    return x + ((p.batch * w_.in[0] + d) * w_.in[1] + h) * w_.in[2] * w_.channels;
  }

  // Pointers to the runs of a tile, [run][row]: `runs` per kernel row, `step` floats apart.
  void FindLine(const float* x, const Position& p, int rows, int64_t runs, int64_t step,
                const float** to) const {
    const int64_t move = w_.stride[2] * w_.channels;
    for (int64_t kd = 0; kd < w_.kernel[0]; ++kd) {
      for (int64_t kh = 0; kh < w_.kernel[1]; ++kh) {
        const float* line = Line(x, p, kd, kh);
        const float* from = line == nullptr ? nullptr : line + p.start[2] * w_.channels;
        for (int64_t k = 0; k < runs; ++k, to += rows) {
          for (int r = 0; r < rows; ++r) {
            to[r] = line == nullptr ? zeros_.data() : from + k * step + r * move;
          }
        }
      }
    }
  }

  void FindTaps(const float* x, int64_t row, int rows, const float** pointers) const {
    const int64_t step = w_.dilation[2] * w_.channels;
    Position p = Locate(row);
    if (OneLine(p, rows)) return FindLine(x, p, rows, w_.kernel[2], step, pointers);
    for (int r = 0; r < rows; ++r, Advance(p)) {
      const float** to = pointers + r;
      for (int64_t kd = 0; kd < w_.kernel[0]; ++kd) {
        for (int64_t kh = 0; kh < w_.kernel[1]; ++kh) {
          const float* line = Line(x, p, kd, kh);
          for (int64_t kw = 0; kw < w_.kernel[2]; ++kw, to += rows) {
            const int64_t w = p.start[2] + kw * w_.dilation[2];
            const bool valid = line != nullptr && Inside(w, w_.in[2]);
            *to = valid ? line + w * w_.channels : zeros_.data();
          }
        }
      }
    }
  }

  void FindStrips(const float* x, int64_t row, int rows, const float** pointers,
                  float* strips) const {
    const int64_t channels = w_.channels;
    Position p = Locate(row);
    if (OneLine(p, rows)) return FindLine(x, p, rows, 1, 0, pointers);
    for (int r = 0; r < rows; ++r, Advance(p)) {
      const TapRange inside = InsideTaps(p.start[2], w_.kernel[2], 1, w_.in[2]);
      const bool whole = inside.first == 0 && inside.last == w_.kernel[2];
      const float** to = pointers + r;
      float* strip = strips + r * taps_ * kc_;
      for (int64_t kd = 0; kd < w_.kernel[0]; ++kd) {
        for (int64_t kh = 0; kh < w_.kernel[1]; ++kh, to += rows, strip += kc_) {
          const float* line = Line(x, p, kd, kh);
          if (line == nullptr) {
            *to = zeros_.data();
            continue;
          }
          if (whole) {
            *to = line + p.start[2] * channels;
            continue;
          }
          const int64_t first = inside.first * channels, last = inside.last * channels;
          std::fill(strip, strip + first, 0.0f);
          std::copy(line + p.start[2] * channels + first, line + p.start[2] * channels + last,
                    strip + first);
          std::fill(strip + last, strip + kc_, 0.0f);
          *to = strip;
        }
      }
    }
  }

  const Window w_;
  const int64_t n_, group_;
  const FusedAct act_;
  const Kernel<gemm_f32::Fn> kernel_;
  unary_f32::Fn* const unary_;
  Gather gather_;
  int64_t taps_, kc_, panel_stride_, group_stride_;
  size_t strip_offset_;
  Tiling tiling_;
  Aligned<float> weights_, bias_, zeros_;
};

}  // namespace

std::unique_ptr<Step> MakeConvF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec* bias = plan.OptionalIn(2);
  const TensorSpec* residual = plan.OptionalIn(3);
  const TensorSpec& y = plan.Out(0);
  RequireWeight(w, "weight");
  Require(y.dtype == DType::kF32, "output is not float32");
  Require(w.rank() == x.rank() && w.rank() >= 3, "weight and input differ in rank");
  const int64_t group = spec.Int("group", 1);
  const int64_t out_channels = w.shape[0];
  Require(
      group >= 1 && x.shape.back() % group == 0 && out_channels % group == 0 && out_channels > 0,
      "group does not divide the channels");
  Require(w.shape.back() == x.shape.back() / group, "weight does not have C/group input channels");
  Require(y.shape.back() == out_channels, "output does not have the weight's output channels");
  if (bias != nullptr) {
    RequireWeight(*bias, "bias");
    Require(bias->count == out_channels, "bias does not have one value per output channel");
  }
  if (residual != nullptr) {
    Require(residual->dtype == DType::kF32 && residual->shape == y.shape,
            "residual is not of the output's shape and type");
    if (residual->constant) plan.KeepConstant(3);
  }
  if (x.constant) plan.KeepConstant(0);
  const std::vector<int64_t> kernel(w.shape.begin() + 1, w.shape.end() - 1);
  const Window window = ParseWindow(spec, x, y, kernel);
  const FusedAct act = ParseAct(spec);
  const bool depthwise = group > 1 && group == x.shape.back() && out_channels == group;
  if (depthwise && residual == nullptr && DepthwiseTakes(window)) {
    return MakeDepthwiseF32(window, act, plan);
  }
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<ConvF32>(window, out_channels, group, act, plan);
  step->Pack(w, bias);
  return step;
}

}  // namespace bitlite
