// conv on float32, channels last, as implicit GEMM: a tile of output positions is a set of pointers
// into the input, one per kernel tap, so no image of columns is built.
//   inputs   x [N,*S,C], w [O,*K,C/group] constant, bias [O]? constant, residual? of y's shape
//            y = act(conv(x, w) + bias + residual)
//   attrs    stride dilation pad pad_mode group act
// w may be float16 or quantized integers with scales: then its real values count.
#include <cstring>

#include "gemm_pack.h"
#include "kernels/common/line_step.h"
#include "kernels/common/window.h"
#include "kernels/depthwise_f32/depthwise.h"
#include "kernels/winograd_f32/winograd_step_f32.h"
#include "shared_constants.h"

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
        kernel_(SelectKernel<gemm_f32>(plan.isa)),
        unary_(SelectKernel<unary_f32>(plan.isa).fn) {
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
    tiling_ = Tiling(w_.batch * w_.out_positions(), group_out, k, kernel_.mr, plan.threads);
    if (gather_ != Gather::kRows && tiling_.rows > 0) {
      // Tiles that stay in one line find their windows faster, if they are not too low for it.
      const int64_t most = kernel_.mr, pieces = (w_.out[2] + most - 1) / most;
      const int64_t height = w_.out[2] / pieces;
      if (2 * height >= most || (height >= 4 && group_out > 2 * kGemmPanel)) {
        tiling_.row_tiles = tiling_.rows / w_.out[2] * pieces;
      }
    }
    phases = {tiling_.items() * group_};
    if (gather_ == Gather::kStrips) WidenIfSmall();
    cost_ns = GemmCostNs(static_cast<double>(tiling_.rows) * n_ * k);
    thread_scratch = static_cast<size_t>(taps_) * kMaxTileRows * sizeof(const float*);
    strip_offset_ = (thread_scratch + 63) / 64 * 64;
    if (gather_ == Gather::kStrips) {
      const int64_t columns = kMaxTileRows * std::max(w_.kernel[2], w_.stride[2]);
      strip_floats_ = columns * w_.channels;
      thread_scratch = strip_offset_ + static_cast<size_t>(taps_ * strip_floats_) * sizeof(float);
    }
    in_place = 1u << 3;
    panel_stride_ = k * kGemmPanel;
    out_stride_ = n_;
    can_spread = true;
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
    Share(weights_);
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

  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override {
    if (scratch > 0 && phase == 0) return Widen(args.In<float>(0), Wide(args));
    const Window& window = scratch > 0 ? wide_ : w_;
    const float* x = scratch > 0 ? Wide(args) : args.In<float>(0);
    const float* residual = args.In<float>(3);
    const int64_t group_out = n_ / group_;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t g = item / tiling_.items();
      const int64_t block = item % tiling_.items() / tiling_.row_tiles;
      const int64_t tile = item % tiling_.row_tiles;
      const int64_t row = tiling_.RowBegin(tile);
      const int64_t column = block * tiling_.block_columns;
      const int rows = static_cast<int>(tiling_.RowBegin(tile + 1) - row);
      const int64_t first = g * group_out + column;
      RunTile(window, x, row, rows, g, column, std::min(tiling_.block_columns, group_out - column),
              args.Out<float>(0) + row * out_stride_ + first,
              residual == nullptr ? nullptr : residual + row * n_ + first, args.thread_scratch);
    }
  }

  void SpreadRows(int64_t stride) override { out_stride_ = stride; }

  Range Needs(int64_t line) const override {
    const int64_t batch = line / w_.out[1], start = line % w_.out[1] * w_.stride[1] - w_.pad[1];
    const TapRange taps = InsideTaps(start, w_.kernel[1], w_.dilation[1], w_.in[1]);
    if (taps.first == taps.last) return {batch * w_.in[1], batch * w_.in[1]};
    const int64_t first = batch * w_.in[1] + start;
    return {first + taps.first * w_.dilation[1], first + (taps.last - 1) * w_.dilation[1] + 1};
  }

  void RunLine(const float* x, int64_t line, float* y, const float* residual,
               uint8_t* scratch) const noexcept override {
    const int64_t width = w_.out[2], tiles = (width + kernel_.mr - 1) / kernel_.mr;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = width * tile / tiles, end = width * (tile + 1) / tiles;
      RunTile(w_, x, line * width + begin, static_cast<int>(end - begin), 0, 0, n_, y + begin * n_,
              residual == nullptr ? nullptr : residual + begin * n_, scratch);
    }
  }

  // Only for Gather::kRows: the line as if it were the first of the image.
  void RunFrom(const float* const* in, int64_t, float* y, const float* residual,
               uint8_t* scratch) const noexcept override {
    RunLine(in[0], 0, y, residual, scratch);
  }

 private:
  // A small image is copied with the zeros at the sides that its windows see.
  void WidenIfSmall() {
    constexpr int64_t kSmall = 128 * 1024;
    wide_ = w_;
    wide_.pad[2] = 0;
    wide_.in[2] = std::max((w_.out[2] - 1) * w_.stride[2] + w_.kernel[2], w_.pad[2] + w_.in[2]);
    const int64_t bytes = ImageLines() * wide_.in[2] * w_.channels * int64_t{sizeof(float)};
    if (wide_.in[2] == w_.in[2] || bytes > kSmall) return;
    scratch = static_cast<size_t>(bytes);
    phases.insert(phases.begin(), 1);
  }

  int64_t ImageLines() const { return w_.batch * w_.in[0] * w_.in[1]; }
  static float* Wide(const StepArgs& args) { return reinterpret_cast<float*>(args.scratch); }

  void Widen(const float* x, float* to) const {
    const int64_t left = w_.pad[2] * w_.channels, line = w_.in[2] * w_.channels;
    const int64_t right = wide_.in[2] * w_.channels - left - line;
    for (int64_t i = 0; i < ImageLines(); ++i, x += line) {
      to = std::fill_n(to, left, 0.0f);
      to = std::copy_n(x, line, to);
      to = std::fill_n(to, right, 0.0f);
    }
  }

  // Output rows [row, row + rows) of group g, columns [column, column + n): y and residual point to
  // them.
  void RunTile(const Window& window, const float* x, int64_t row, int rows, int64_t g,
               int64_t column, int64_t n, float* y, const float* residual, uint8_t* scratch) const {
    if (rows == 0) return;
    const int64_t group_out = n_ / group_, group_in = w_.channels / group_;
    const float** pointers = reinterpret_cast<const float**>(scratch);
    const float* origin = x + g * group_in;
    switch (gather_) {
      case Gather::kRows:
        for (int r = 0; r < rows; ++r) pointers[r] = origin + (row + r) * w_.channels;
        break;
      case Gather::kTaps:
        FindTaps(window, origin, row, rows, pointers);
        break;
      case Gather::kStrips:
        FindStrips(window, origin, row, rows, pointers,
                   reinterpret_cast<float*>(scratch + strip_offset_));
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
    t.ldy = out_stride_;
    t.n = n;
    t.lo = act_.lo;
    t.hi = act_.hi;
    kernel_.fn(t);
    act_.ApplyRows(unary_, y, rows, n, out_stride_);
  }

  // An output position and where its window starts in the input (may be negative).
  struct Position {
    int64_t batch, out[3], start[3];
  };

  static Position Locate(const Window& w, int64_t row) {
    Position p;
    for (int d = 2; d >= 0; --d) {
      p.out[d] = row % w.out[d];
      row /= w.out[d];
      p.start[d] = p.out[d] * w.stride[d] - w.pad[d];
    }
    p.batch = row;
    return p;
  }

  static void Advance(const Window& w, Position& p) {
    for (int d = 2; d >= 0; --d) {
      p.start[d] += w.stride[d];
      if (++p.out[d] < w.out[d]) return;
      p.out[d] = 0;
      p.start[d] = -w.pad[d];
    }
    ++p.batch;
  }

  static bool Inside(int64_t i, int64_t extent) {
    return static_cast<uint64_t>(i) < static_cast<uint64_t>(extent);
  }

  // Rows of a tile, given that they are neighbours in one line of the output, whose windows do not
  // stick out sideways: [first, last).
  struct Whole {
    int first, last;
  };

  static bool OneLine(const Window& w, const Position& p, int rows) {
    return p.out[2] + rows <= w.out[2];
  }

  static Whole WholeRows(const Window& w, const Position& p, int rows) {
    const int64_t stride = w.stride[2], reach = (w.kernel[2] - 1) * w.dilation[2];
    Whole whole = {0, rows};
    while (whole.first < rows && p.start[2] + whole.first * stride < 0) ++whole.first;
    while (whole.last > whole.first && p.start[2] + (whole.last - 1) * stride + reach >= w.in[2]) {
      --whole.last;
    }
    return whole;
  }

  // The input line under kernel row (kd, kh) of a window, at its column 0; null outside the image.
  static const float* Line(const Window& w, const float* x, const Position& p, int64_t kd,
                           int64_t kh) {
    const int64_t d = p.start[0] + kd * w.dilation[0], h = p.start[1] + kh * w.dilation[1];
    if (!Inside(d, w.in[0]) || !Inside(h, w.in[1])) return nullptr;
    return x + ((p.batch * w.in[0] + d) * w.in[1] + h) * w.in[2] * w.channels;
  }

  // Pointers to the runs of the rows `whole` of a tile in one line, [run][row]: `runs` per kernel
  // row, `step` floats apart.
  void FindLine(const Window& w, const float* x, const Position& p, int rows, Whole whole,
                int64_t runs, int64_t step, const float** to) const {
    const int64_t move = w.stride[2] * w.channels;
    for (int64_t kd = 0; kd < w.kernel[0]; ++kd) {
      for (int64_t kh = 0; kh < w.kernel[1]; ++kh) {
        const float* line = Line(w, x, p, kd, kh);
        for (int64_t k = 0; k < runs; ++k, to += rows) {
          const int64_t from = p.start[2] * w.channels + k * step;
          for (int r = whole.first; r < whole.last; ++r) {
            to[r] = line == nullptr ? zeros_.data() : line + (from + r * move);
          }
        }
      }
    }
  }

  // Pointers to the taps of one row, `rows` apart.
  void FindTapsOfRow(const Window& w, const float* x, const Position& p, int rows,
                     const float** to) const {
    for (int64_t kd = 0; kd < w.kernel[0]; ++kd) {
      for (int64_t kh = 0; kh < w.kernel[1]; ++kh) {
        const float* line = Line(w, x, p, kd, kh);
        for (int64_t kw = 0; kw < w.kernel[2]; ++kw, to += rows) {
          const int64_t at = p.start[2] + kw * w.dilation[2];
          const bool valid = line != nullptr && Inside(at, w.in[2]);
          *to = valid ? line + at * w.channels : zeros_.data();
        }
      }
    }
  }

  void FindTaps(const Window& w, const float* x, int64_t row, int rows,
                const float** pointers) const {
    Position p = Locate(w, row);
    Whole whole = {0, 0};
    if (OneLine(w, p, rows)) {
      whole = WholeRows(w, p, rows);
      FindLine(w, x, p, rows, whole, w.kernel[2], w.dilation[2] * w.channels, pointers);
    }
    for (int r = 0; r < rows; ++r, Advance(w, p)) {
      if (r < whole.first || r >= whole.last) FindTapsOfRow(w, x, p, rows, pointers + r);
    }
  }

  // Pointers to the strips of the rows [first, last) of a tile in one line, whose windows may stick
  // out: each kernel row's columns are copied once, with zeros around.
  void CopyStrips(const Window& w, const float* x, const Position& p, int rows, int first, int last,
                  const float** to, float* strips) const {
    if (first == last) return;
    const int64_t channels = w.channels, move = w.stride[2] * channels;
    const int64_t left = p.start[2] + first * w.stride[2];
    const int64_t columns = (last - 1 - first) * w.stride[2] + w.kernel[2];
    const int64_t begin = std::clamp<int64_t>(-left, 0, columns) * channels;
    const int64_t end = std::clamp<int64_t>(w.in[2] - left, 0, columns) * channels;
    strips += first * (strip_floats_ / kMaxTileRows);
    for (int64_t kd = 0; kd < w.kernel[0]; ++kd) {
      for (int64_t kh = 0; kh < w.kernel[1]; ++kh, to += rows, strips += strip_floats_) {
        const float* line = Line(w, x, p, kd, kh);
        if (line == nullptr) {
          for (int r = first; r < last; ++r) to[r] = zeros_.data();
          continue;
        }
        // Loops: the runs are too short for calls.
        for (int64_t i = 0; i < begin; ++i) strips[i] = 0.0f;
        for (int64_t i = begin; i < end; ++i) strips[i] = line[left * channels + i];
        for (int64_t i = std::max(begin, end); i < columns * channels; ++i) strips[i] = 0.0f;
        for (int r = first; r < last; ++r) to[r] = strips + (r - first) * move;
      }
    }
  }

  void FindStrips(const Window& w, const float* x, int64_t row, int rows, const float** pointers,
                  float* strips) const {
    Position p = Locate(w, row);
    if (OneLine(w, p, rows)) {
      const Whole whole = WholeRows(w, p, rows);
      FindLine(w, x, p, rows, whole, 1, 0, pointers);
      CopyStrips(w, x, p, rows, 0, whole.first, pointers, strips);
      CopyStrips(w, x, p, rows, whole.last, rows, pointers, strips);
      return;
    }
    for (int r = 0; r < rows; ++r, Advance(w, p)) {
      // As the first row of a tile of its own, in its share of the strips.
      const Whole whole = WholeRows(w, p, 1);
      if (whole.first < whole.last) {
        FindLine(w, x, p, rows, whole, 1, 0, pointers + r);
      } else {
        CopyStrips(w, x, p, rows, 0, 1, pointers + r, strips + r * (strip_floats_ / kMaxTileRows));
      }
    }
  }

  const Window w_;
  Window wide_;  // of the copied image, where there is scratch
  const int64_t n_, group_;
  const FusedAct act_;
  const Kernel<gemm_f32> kernel_;
  unary_f32::Fn* const unary_;
  Gather gather_;
  int64_t taps_, kc_, panel_stride_, group_stride_;
  int64_t out_stride_;        // floats from one output row to the next
  int64_t strip_floats_ = 0;  // per kernel row of a tile
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
  if (group == 1 && WinogradTakes(window, out_channels)) {
    return MakeWinogradF32(window, act, w, bias, plan);
  }
  auto step = std::make_unique<ConvF32>(window, out_channels, group, act, plan);
  step->Pack(w, bias);
  return step;
}

}  // namespace bitlite
