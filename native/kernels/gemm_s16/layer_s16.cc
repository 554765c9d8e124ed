// conv and fully_connected on codes of 16 bits with int8 or int16 weights, zero points 0: an
// implicit GEMM on a copy of each band's input rows, padded, as in conv_s8.cc. Output int16, or
// float32 behind a last layer.
//   conv             x [N,*S,C] int16, w [O,*K,C/group], bias [O] int32, int64 or float32
//   fully_connected  x [...,K] int16, w [O,K]
//   y = clamp(rne(float32(sum + bias) * m)), the sum exact; float32 output: float32(sum + bias) * m
//   + bias, two roundings
#include <algorithm>
#include <cstring>
#include <optional>

#include "kernels/common/kernels.h"
#include "kernels/gemm_s8/spatial_s8.h"
#include "packed_gemm_s16.h"
#include "row_winograd_s16.h"

namespace bitlite {
namespace {

constexpr int64_t kBandBytes = 96 * 1024;
constexpr int64_t kSlack = 64;  // that a tile may read behind a segment
constexpr int64_t kSize = sizeof(int16_t);
constexpr double kWindowsCost = 0.75;  // of a layer that is multiplied by windows of its rows

class LayerS16 final : public Step {
 public:
  LayerS16(PlanContext& plan, const ConvGeometry& g, const OutputsS16& out)
      : kernel_(SelectKernel<gemm_s16>(plan.isa).fn()), g_(g), real_(out.real) {
    const int64_t group_in = g.channels / g.group;
    pointwise_ = g.kernel[kAxisH] == 1 && g.kernel[kAxisW] == 1 && g.pad[kAxisH] == 0 &&
                 g.pad[kAxisW] == 0 && (g.out[kAxisH] - 1) * g.stride[kAxisH] < g.in[kAxisH] &&
                 (g.out[kAxisW] - 1) * g.stride[kAxisW] < g.in[kAxisW];
    image_w_ = pointwise_ ? 0
                          : (g.out[kAxisW] - 1) * g.stride[kAxisW] +
                                (g.kernel[kAxisW] - 1) * g.dilation[kAxisW] + 1;
    const bool windows = TakesWindows(plan.In(1), out);
    across_ = windows ? CeilDiv(g.out[kAxisW], 2) : 0;
    if (windows) image_w_ = 2 * across_ + 2;
    // Neighbouring columns of a kernel row lie side by side: one run, unless groups or dilation
    // part them.
    const bool joined = g.group == 1 && (g.dilation[kAxisW] == 1 || g.kernel[kAxisW] == 1);
    const int64_t per_row = joined ? 1 : g.kernel[kAxisW];
    const int64_t length = joined ? g.kernel[kAxisW] * group_in : group_in;
    for (int64_t ky = 0; ky < g.kernel[kAxisH]; ++ky) {
      for (int64_t kx = 0; kx < per_row; ++kx) {
        const int64_t at =
            (ky * g.dilation[kAxisH] * image_w_ + kx * g.dilation[kAxisW]) * g.channels;
        Require(at * kSize < INT32_MAX, "the padded image is too large");
        segments_.push_back(static_cast<int32_t>(at));
      }
    }
    const int64_t count = static_cast<int64_t>(segments_.size());
    if (plan.In(1).dtype == DType::kI16) {
      Pack(static_cast<const int16_t*>(plan.In(1).data), count, length, out);
    } else {
      Pack(static_cast<const int8_t*>(plan.In(1).data), count, length, out);
    }
    const int64_t lines = Lines(), images = pointwise_ ? 1 : g.batch;
    const int64_t line_bytes =
        std::max<int64_t>(1, (pointwise_ ? 1 : g.stride[kAxisH] * image_w_) * g.channels * kSize);
    bands_ = CeilDiv(lines, std::max<int64_t>(1, kBandBytes / line_bytes));
    const double pixels = static_cast<double>(g.batch * g.out[kAxisH] * g.out[kAxisW]);
    cost_ns = pixels * static_cast<double>(g.out_channels) *
              (static_cast<double>(count * length) / kernel_.macs_per_ns + 0.05);
    if (windows) cost_ns *= kWindowsCost;
    const int64_t parts = ItemsWanted(cost_ns, plan.threads);
    if (parts > 1) {
      bands_ = std::max(bands_, std::min(lines, CeilDiv(parts, std::max<int64_t>(1, images))));
      if (images * bands_ < plan.threads && g.group == 1) {
        chunks_ = std::min(layers_[0].blocks(), CeilDiv(plan.threads, images * bands_));
      }
    }
    band_lines_ = std::max<int64_t>(1, CeilDiv(lines, std::max<int64_t>(1, bands_)));
    bands_ = CeilDiv(lines, band_lines_);
    phases = {images * bands_ * chunks_};
    const int64_t band_pixels = pointwise_ ? band_lines_ : band_lines_ * g.out[kAxisW];
    const int64_t image_pixels = pointwise_ ? band_lines_ : BandRows(band_lines_) * image_w_;
    pointer_bytes_ = CeilDiv(band_pixels * static_cast<int64_t>(sizeof(void*)), 64) * 64;
    image_bytes_ = CeilDiv(image_pixels * g.channels * kSize + kSlack, 64) * 64;
    const int64_t row = across_ * g.channels;
    plane_ = BandRows(band_lines_) * row;
    thread_scratch = static_cast<size_t>(pointer_bytes_ + image_bytes_);
    if (!windows) return;
    thread_scratch += static_cast<size_t>(RowWinogradS16::kPoints * plane_ * kSize + kSlack);
    winograd_.emplace(kernel_, static_cast<const int8_t*>(plan.In(1).data), g.out_channels,
                      g.channels, out, row, plane_);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int16_t** rows = reinterpret_cast<const int16_t**>(args.thread_scratch);
    int16_t* image = reinterpret_cast<int16_t*>(args.thread_scratch + pointer_bytes_);
    const int64_t size = real_ ? static_cast<int64_t>(sizeof(float)) : kSize;
    const int64_t group_in = g_.channels / g_.group, group_out = g_.out_channels / g_.group;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t chunk = item % chunks_, band = item / chunks_ % bands_;
      const int64_t n = item / chunks_ / bands_;
      const int64_t first = band * band_lines_, last = std::min(Lines(), first + band_lines_);
      const int64_t pixels = pointwise_
                                 ? CopyPixels(args.In<int16_t>(0), first, last, image, rows)
                                 : CopyBand(args.In<int16_t>(0), n, first, last, image, rows);
      const int64_t at = pointwise_ ? first : (n * g_.out[kAxisH] + first) * g_.out[kAxisW];
      int16_t* v = image + image_bytes_ / kSize;
      if (winograd_ && Windows(image, last - first, v)) {
        const int64_t blocks = layers_[0].blocks();
        winograd_->Run(v, rows, last - first, g_.out[kAxisW], blocks * chunk / chunks_,
                       blocks * (chunk + 1) / chunks_,
                       static_cast<int16_t*>(args.out[0]) + at * g_.out_channels, g_.out_channels);
        continue;
      }
      for (int64_t i = 0; i < g_.group; ++i) {
        const PackedGemmS16& layer = layers_[static_cast<size_t>(i)];
        for (int64_t p = 0; i > 0 && p < pixels; ++p) rows[p] += group_in;
        layer.Run(
            rows, pixels, segments_.data(), layer.blocks() * chunk / chunks_,
            layer.blocks() * (chunk + 1) / chunks_,
            static_cast<uint8_t*>(args.out[0]) + (at * g_.out_channels + i * group_out) * size,
            g_.out_channels);
      }
    }
  }

 private:
  template <typename W>
  void Pack(const W* w, int64_t segments, int64_t length, const OutputsS16& out) {
    const int64_t columns = g_.out_channels / g_.group;
    for (int64_t i = 0; i < g_.group; ++i, w += columns * segments * length) {
      layers_.emplace_back(kernel_, w, columns, segments, length, out, i * columns);
    }
  }

  // Whether bands without a negative code are multiplied by windows of their rows.
  bool TakesWindows(const TensorSpec& w, const OutputsS16& out) const {
    bool fits = g_.group == 1 && w.dtype == DType::kI8 && g_.out[kAxisW] > 1;
    for (int axis : {kAxisH, kAxisW}) {
      fits = fits && g_.kernel[axis] == 3 && g_.stride[axis] == 1 && g_.dilation[axis] == 1;
    }
    return fits && RowWinogradS16::Takes(static_cast<const int8_t*>(w.data), g_.out_channels,
                                         g_.channels, out);
  }

  // The windows of a band's image, of which the last line ends `lines` outputs; false where a code
  // is negative.
  bool Windows(const int16_t* image, int64_t lines, int16_t* v) const noexcept {
    for (int64_t r = 0; r < BandRows(lines); ++r) {
      if (!kernel_.windows(image + r * image_w_ * g_.channels, across_, g_.channels,
                           v + r * across_ * g_.channels, plane_)) {
        return false;
      }
    }
    return true;
  }

  // Output lines of an image, or of all pixels where each output sees one.
  int64_t Lines() const {
    return pointwise_ ? g_.batch * g_.out[kAxisH] * g_.out[kAxisW] : g_.out[kAxisH];
  }
  // Input rows under so many output lines.
  int64_t BandRows(int64_t lines) const {
    return (lines - 1) * g_.stride[kAxisH] + (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH] + 1;
  }

  // The pixels under outputs [first, last) of a 1x1 kernel. A tile may read behind the last one: so
  // that it stays within, they are copied.
  int64_t CopyPixels(const int16_t* x, int64_t first, int64_t last, int16_t* image,
                     const int16_t** rows) const noexcept {
    const int64_t c = g_.channels, ow = g_.out[kAxisW], oh = g_.out[kAxisH];
    const bool dense = ow == g_.in[kAxisW] && oh == g_.in[kAxisH] && g_.stride[kAxisH] == 1 &&
                       g_.stride[kAxisW] == 1;
    if (dense) std::memcpy(image, x + first * c, static_cast<size_t>((last - first) * c * kSize));
    for (int64_t i = first; i < last; ++i) {
      int16_t* to = image + (i - first) * c;
      rows[i - first] = to;
      if (dense) continue;
      const int64_t row = (i / ow / oh * g_.in[kAxisH] + i / ow % oh * g_.stride[kAxisH]);
      const int64_t from = (row * g_.in[kAxisW] + i % ow * g_.stride[kAxisW]) * c;
      std::memcpy(to, x + from, static_cast<size_t>(c * kSize));
    }
    return last - first;
  }

  int64_t CopyBand(const int16_t* x, int64_t n, int64_t first, int64_t last, int16_t* image,
                   const int16_t** rows) const noexcept {
    const int64_t c = g_.channels, line = image_w_ * c, width = g_.in[kAxisW];
    const int64_t left = std::min(g_.pad[kAxisW], image_w_);
    const int64_t inside = std::max<int64_t>(0, std::min(width, image_w_ - left));
    const int64_t top = first * g_.stride[kAxisH] - g_.pad[kAxisH];
    for (int64_t r = 0; r < BandRows(last - first); ++r) {
      int16_t* to = image + r * line;
      const int64_t ih = top + r;
      if (ih < 0 || ih >= g_.in[kAxisH]) {
        std::memset(to, 0, static_cast<size_t>(line * kSize));
        continue;
      }
      std::memset(to, 0, static_cast<size_t>(left * c * kSize));
      std::memcpy(to + left * c, x + (n * g_.in[kAxisH] + ih) * width * c,
                  static_cast<size_t>(inside * c * kSize));
      std::memset(to + (left + inside) * c, 0,
                  static_cast<size_t>((image_w_ - left - inside) * c * kSize));
    }
    for (int64_t oh = 0; oh < last - first; ++oh) {
      const int16_t* p = image + oh * g_.stride[kAxisH] * line;
      for (int64_t ow = 0; ow < g_.out[kAxisW]; ++ow) {
        *rows++ = p + ow * g_.stride[kAxisW] * c;
      }
    }
    return (last - first) * g_.out[kAxisW];
  }

  const GemmS16Kernel& kernel_;
  const ConvGeometry g_;
  const bool real_;
  bool pointwise_;
  int64_t image_w_;              // columns of the padded image
  int64_t across_;               // windows of a row of the padded image
  int64_t plane_, image_bytes_;  // activations of a point of windows; bytes of an image
  std::optional<RowWinogradS16> winograd_;
  std::vector<PackedGemmS16> layers_;  // by group
  std::vector<int32_t> segments_;
  int64_t bands_, band_lines_, chunks_ = 1;  // chunks: parts of a band by output channels
  int64_t pointer_bytes_;
};

}  // namespace

std::unique_ptr<Step> MakeConvS16(const StepSpec& spec, PlanContext& plan) {
  const ConvGeometry g = ConvGeometryOf(spec, plan);
  spec.Ignore("dynamic");
  const OutputsS16 out = OutputsS16Of(spec, plan, g.out_channels);
  if (plan.check_only) return nullptr;
  return std::make_unique<LayerS16>(plan, g, out);
}

std::unique_ptr<Step> MakeFullyConnectedS16(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  spec.Ignore("keep_dims");
  spec.Ignore("dynamic");
  Require(w.rank() == 2 && w.shape[0] > 0 && w.shape[1] > 0, "weights are not a matrix");
  Require(x.count % w.shape[1] == 0, "input does not divide into rows of weights");
  ConvGeometry g;
  g.channels = w.shape[1];
  g.out_channels = w.shape[0];
  g.in[kAxisW] = g.out[kAxisW] = x.count / g.channels;
  Require(plan.Out(0).count == g.out[kAxisW] * g.out_channels, "the output's shape does not fit");
  const OutputsS16 out = OutputsS16Of(spec, plan, g.out_channels);
  if (plan.check_only) return nullptr;
  return std::make_unique<LayerS16>(plan, g, out);
}

}  // namespace bitlite
