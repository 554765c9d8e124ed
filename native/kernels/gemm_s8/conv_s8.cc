// conv on int8: an implicit GEMM. A band of output rows is computed from a copy of its input rows
// in the kernels' form with the padding written out (padding has the value of the zero point, so
// that it adds nothing); every kernel row is then one run of kw * C activations. A 1x1 kernel
// copies the pixels it needs. Bands fit the cache, so the copy costs one read of the input.
#include <algorithm>
#include <cstring>

#include "dynamic_s8.h"
#include "kernels/common/tail_step.h"
#include "kernels/winograd_s8/winograd_step_s8.h"
#include "packed_gemm_s8.h"
#include "spatial_s8.h"

namespace bitlite {
namespace {

constexpr int64_t kBandBytes = 96 * 1024;

class ConvS8 final : public RunsStep {
 public:
  ConvS8(const StepSpec& spec, PlanContext& plan, const ConvGeometry& g,
         const RequantEpilogue& out);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;
  Elements Written(int64_t item) const noexcept override;

 private:
  void CopyBand(const int8_t* x, const PaddingS8& padding, int64_t first_row, int64_t rows,
                uint8_t* image) const noexcept;
  void CopyPixels(const int8_t* x, int64_t first, int64_t pixels, uint8_t* image) const noexcept;

  const PackedGemmS8::Weights weights_;  // of all groups
  const GemmS8Kernel& kernel_;
  ConvGeometry g_;
  std::vector<PackedGemmS8> layers_;  // by group
  std::vector<int32_t> segments_;
  PaddingS8 padding_;
  DynamicInput input_;
  bool pointwise_, has_residual_, dynamic_;
  int64_t image_w_;      // columns of the padded image
  int64_t pixel_bytes_;  // of an input pixel in the kernel's form
  int64_t band_rows_,
      bands_;       // output rows, or pixels when pointwise, of a band; bands of an image
  int64_t chunks_;  // parts of a band by output channels
  int64_t row_pointer_bytes_, sum_bytes_, signs_;
};

// Kernel rows are segments, or single taps where channels of other groups or pixels lie between.
PackedGemmS8::Weights WeightsOf(const ConvGeometry& g, const TensorSpec& w) {
  const int64_t group_in = g.channels / g.group;
  const bool taps = g.group > 1 || (g.dilation[kAxisW] > 1 && g.kernel[kAxisW] > 1);
  return {static_cast<const uint8_t*>(w.data),
          g.out_channels,
          g.kernel[kAxisH] * (taps ? g.kernel[kAxisW] : 1),
          group_in * (taps ? 1 : g.kernel[kAxisW]),
          g.kernel[kAxisH] * g.kernel[kAxisW] * group_in,
          1,
          static_cast<uint8_t>(w.dtype == DType::kU8 ? 0x80 : 0)};
}

ConvS8::ConvS8(const StepSpec&, PlanContext& plan, const ConvGeometry& g,
               const RequantEpilogue& out)
    : weights_(WeightsOf(g, plan.In(1))),
      kernel_(FasterOfPairs(SelectGemmS8(plan.isa), {weights_})),
      g_(g) {
  const TensorSpec& x = plan.In(0);
  const int64_t group_in = g.channels / g.group, group_out = g.out_channels / g.group;
  dynamic_ = x.dtype == DType::kF32;
  has_residual_ = out.residual;
  pointwise_ = g.kernel[kAxisH] == 1 && g.kernel[kAxisW] == 1 && g.pad[kAxisH] == 0 &&
               g.pad[kAxisW] == 0 && (g.out[kAxisH] - 1) * g.stride[kAxisH] < g.in[kAxisH] &&
               (g.out[kAxisW] - 1) * g.stride[kAxisW] < g.in[kAxisW];
  pixel_bytes_ = g.channels;
  image_w_ = pointwise_ ? 0
                        : (g.out[kAxisW] - 1) * g.stride[kAxisW] +
                              (g.kernel[kAxisW] - 1) * g.dilation[kAxisW] + 1;

  for (int64_t s = 0; s < weights_.segments; ++s) {
    const int64_t ky = weights_.segments == g.kernel[kAxisH] ? s : s / g.kernel[kAxisW];
    const int64_t kx = weights_.segments == g.kernel[kAxisH] ? 0 : s % g.kernel[kAxisW];
    const int64_t pixel = ky * g.dilation[kAxisH] * image_w_ + kx * g.dilation[kAxisW];
    Require(pixel * pixel_bytes_ < INT32_MAX, "the padded image is too large");
    segments_.push_back(static_cast<int32_t>(pixel * pixel_bytes_));
  }

  // Bands: of a size for the cache, and as many as there are threads; else channels are split.
  const int64_t lines = pointwise_ ? g.batch * g.out[kAxisH] * g.out[kAxisW] : g.out[kAxisH];
  const int64_t images = pointwise_ ? 1 : g.batch;
  const int64_t line_bytes =
      std::max<int64_t>(1, pointwise_ ? pixel_bytes_ : g.stride[kAxisH] * image_w_ * pixel_bytes_) *
      kernel_.planes();
  bands_ = CeilDiv(lines, std::max<int64_t>(1, kBandBytes / line_bytes));
  chunks_ = 1;
  const double macs =
      static_cast<double>(g.batch * g.out[kAxisH] * g.out[kAxisW] * g.out_channels) *
      g.kernel[kAxisH] * g.kernel[kAxisW] * group_in;
  cost_ns = macs / kernel_.macs_per_ns +
            static_cast<double>(g.batch * g.out[kAxisH] * g.out[kAxisW] * g.out_channels) / 20;
  if (const int64_t parts = ItemsWanted(cost_ns, plan.threads); parts > 1) {
    const int64_t wanted =
        CeilDiv(CeilDiv(images * bands_, parts) * parts, std::max<int64_t>(1, images));
    const int64_t pixels = pointwise_ ? lines / wanted : lines / wanted * g.out[kAxisW];
    // Rows that two bands share are copied twice.
    constexpr int64_t kFewestPixels = 16;
    if (pixels >= kFewestPixels) {
      bands_ = std::max(bands_, wanted);
    } else if (images * bands_ < plan.threads) {
      chunks_ = CeilDiv(plan.threads, images * bands_);
    }
  }
  band_rows_ = std::max<int64_t>(1, CeilDiv(lines, std::max<int64_t>(1, bands_)));
  bands_ = CeilDiv(lines, band_rows_);

  PackedGemmS8::Weights weights = weights_;
  weights.columns = group_out;
  PackedGemmS8::Options options;
  options.dynamic = dynamic_;
  options.min_blocks = g.group > 1 ? 1 : chunks_;
  options.rows = band_rows_ * (pointwise_ ? 1 : g.out[kAxisW]);
  for (int64_t i = 0; i < g.group; ++i) {
    layers_.emplace_back(kernel_, SelectVectorS8(plan.isa), weights,
                         out.Slice(i * group_out, group_out), dynamic_ ? 0 : ZeroPointOf(x),
                         options);
    weights.data += group_out * weights.column_stride;
  }
  chunks_ = g.group > 1 ? 1 : std::min<int64_t>(chunks_, layers_[0].blocks());
  if (dynamic_) {
    input_ = DynamicInput(x.count, plan.threads, SelectVectorS8(plan.isa));
    phases = {input_.parts(), input_.parts()};
    scratch = input_.scratch();
  } else {
    padding_ = PaddingS8(kernel_, ZeroPointOf(x));
    phases.clear();
  }
  phases.push_back(images * bands_ * chunks_);
  writes_runs = !dynamic_ && chunks_ == 1;

  const int64_t band_pixels = pointwise_ ? band_rows_ : band_rows_ * g.out[kAxisW];
  const int64_t image_pixels = pointwise_ ? band_rows_
                                          : ((band_rows_ - 1) * g.stride[kAxisH] +
                                             (g.kernel[kAxisH] - 1) * g.dilation[kAxisH] + 1) *
                                                image_w_;
  row_pointer_bytes_ = CeilDiv(band_pixels * sizeof(void*), 64) * 64;
  sum_bytes_ = CeilDiv(band_pixels * layers_[0].sums_of_row() * sizeof(int32_t), 64) * 64;
  signs_ = kernel_.plane_bytes(image_pixels * pixel_bytes_);
  thread_scratch =
      row_pointer_bytes_ + sum_bytes_ + kernel_.image_bytes(image_pixels * pixel_bytes_);
  if (has_residual_) in_place = 1u << 3;
}

Elements ConvS8::Written(int64_t item) const noexcept {
  const int64_t line = (pointwise_ ? 1 : g_.out[kAxisW]) * g_.out_channels;
  const int64_t lines = pointwise_ ? g_.batch * g_.out[kAxisH] * g_.out[kAxisW] : g_.out[kAxisH];
  const int64_t first = item % bands_ * band_rows_, last = std::min(lines, first + band_rows_);
  return {(item / bands_ * lines + first) * line, (last - first) * line};
}

// Input rows [first_row, first_row + rows), which may lie outside, as lines of image_w_ pixels.
void ConvS8::CopyBand(const int8_t* x, const PaddingS8& padding, int64_t first_row, int64_t rows,
                      uint8_t* image) const noexcept {
  const int64_t line = image_w_ * pixel_bytes_;
  const int64_t left = std::min(g_.pad[kAxisW], image_w_);
  const int64_t inside = std::max<int64_t>(0, std::min(g_.in[kAxisW], image_w_ - left));
  const int64_t right = image_w_ - left - inside;
  if (left == 0 && right == 0 && inside == g_.in[kAxisW]) {
    // Whole rows lie one behind the other on both sides.
    const int64_t above = std::min(rows, std::max<int64_t>(0, -first_row));
    const int64_t count = std::max<int64_t>(0, std::min(rows, g_.in[kAxisH] - first_row) - above);
    padding.Fill(image, above * image_w_ * g_.channels);
    if (count > 0) {
      kernel_.load(image + above * line, x + (first_row + above) * g_.in[kAxisW] * g_.channels,
                   count * g_.in[kAxisW] * g_.channels);
    }
    padding.Fill(image + (above + count) * line, (rows - above - count) * image_w_ * g_.channels);
    return;
  }
  for (int64_t r = 0; r < rows; ++r, image += line) {
    const int64_t ih = first_row + r;
    if (ih < 0 || ih >= g_.in[kAxisH]) {
      padding.Fill(image, image_w_ * g_.channels);
      continue;
    }
    padding.Fill(image, left * g_.channels);
    kernel_.load(image + left * pixel_bytes_, x + ih * g_.in[kAxisW] * g_.channels,
                 inside * g_.channels);
    padding.Fill(image + (left + inside) * pixel_bytes_, right * g_.channels);
  }
}

// The pixels that outputs [first, first + pixels) of a 1x1 kernel see, one behind the other.
void ConvS8::CopyPixels(const int8_t* x, int64_t first, int64_t pixels,
                        uint8_t* image) const noexcept {
  if (g_.stride[kAxisH] == 1 && g_.stride[kAxisW] == 1 && g_.out[kAxisH] == g_.in[kAxisH] &&
      g_.out[kAxisW] == g_.in[kAxisW]) {
    kernel_.load(image, x + first * g_.channels, pixels * g_.channels);
    return;
  }
  int64_t ow = first % g_.out[kAxisW], oh = first / g_.out[kAxisW] % g_.out[kAxisH],
          n = first / g_.out[kAxisW] / g_.out[kAxisH];
  for (int64_t i = 0; i < pixels; ++i, image += pixel_bytes_) {
    kernel_.load(image,
                 x + ((n * g_.in[kAxisH] + oh * g_.stride[kAxisH]) * g_.in[kAxisW] +
                      ow * g_.stride[kAxisW]) *
                         g_.channels,
                 g_.channels);
    if (++ow == g_.out[kAxisW]) {
      ow = 0;
      if (++oh == g_.out[kAxisH]) {
        oh = 0;
        ++n;
      }
    }
  }
}

void ConvS8::Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept {
  const int8_t* x = args.In<int8_t>(0);
  PaddingS8 padding = padding_;
  DynamicS8 dynamic{};
  if (dynamic_) {
    if (phase == 0) return input_.FindRange(args.In<float>(0), args.scratch, begin, end);
    if (phase == 1) return input_.Quantize(args.In<float>(0), args.scratch, begin, end);
    dynamic = input_.Params(args.scratch);
    padding = PaddingS8(kernel_, dynamic.zero_point);
    x = input_.Codes(args.scratch);
  }
  const int8_t* residual = has_residual_ ? args.In<int8_t>(3) : nullptr;
  const size_t y_size = layers_[0].output_bytes();
  const uint8_t** rows = reinterpret_cast<const uint8_t**>(args.thread_scratch);
  int32_t* sums = reinterpret_cast<int32_t*>(args.thread_scratch + row_pointer_bytes_);
  uint8_t* image = args.thread_scratch + row_pointer_bytes_ + sum_bytes_;
  const int64_t lines = pointwise_ ? g_.batch * g_.out[kAxisH] * g_.out[kAxisW] : g_.out[kAxisH];
  const int64_t group_in = g_.channels / g_.group, group_out = g_.out_channels / g_.group;
  int64_t copied = -1;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t chunk = item % chunks_, place = item / chunks_;
    const int64_t band = place % bands_, n = place / bands_;
    const int64_t first = band * band_rows_, last = std::min(lines, first + band_rows_);
    int64_t pixels, at;  // at: index of the band's first output pixel
    if (pointwise_) {
      pixels = last - first;
      at = first;
      if (copied != place) {
        CopyPixels(x, first, pixels, image);
        if (kernel_.split != nullptr)
          kernel_.split(image, kernel_.read_bytes(pixels * pixel_bytes_), signs_);
        for (int64_t i = 0; i < pixels; ++i) rows[i] = image + i * pixel_bytes_;
      }
    } else {
      pixels = (last - first) * g_.out[kAxisW];
      at = (n * g_.out[kAxisH] + first) * g_.out[kAxisW];
      if (copied != place) {
        const int64_t image_rows = (last - first - 1) * g_.stride[kAxisH] +
                                   (g_.kernel[kAxisH] - 1) * g_.dilation[kAxisH] + 1;
        CopyBand(x + n * g_.in[kAxisH] * g_.in[kAxisW] * g_.channels, padding,
                 first * g_.stride[kAxisH] - g_.pad[kAxisH], image_rows, image);
        if (kernel_.split != nullptr) {
          kernel_.split(image, kernel_.read_bytes(image_rows * image_w_ * pixel_bytes_), signs_);
        }
        const uint8_t** row = rows;
        for (int64_t oh = 0; oh < last - first; ++oh) {
          const uint8_t* p = image + oh * g_.stride[kAxisH] * image_w_ * pixel_bytes_;
          for (int64_t ow = 0; ow < g_.out[kAxisW]; ++ow, p += g_.stride[kAxisW] * pixel_bytes_)
            *row++ = p;
        }
      }
    }
    copied = place;
    for (int64_t i = 0; i < g_.group; ++i) {
      const PackedGemmS8& layer = layers_[i];
      if (i > 0) {
        for (int64_t p = 0; p < pixels; ++p) rows[p] += group_in;
        copied = -1;
      }
      PackedGemmS8::IndirectionBuffer where{rows, pixels, segments_.data()};
      where.signs = signs_;
      where.sums = sums;
      if (dynamic_) where.dynamic = &dynamic;
      if (layer.sums_of_row() > 0) layer.SumRows(where);
      const int64_t column = at * g_.out_channels + i * group_out;
      layer.Run(where, layer.blocks() * chunk / chunks_, layer.blocks() * (chunk + 1) / chunks_,
                static_cast<uint8_t*>(args.out[0]) + column * y_size, g_.out_channels,
                residual == nullptr ? nullptr : residual + column, g_.out_channels);
    }
  }
}

}  // namespace

std::unique_ptr<Step> MakeConvS8(const StepSpec& spec, PlanContext& plan) {
  const ConvGeometry g = ConvGeometryOf(spec, plan);
  const bool dynamic = spec.Bool("dynamic", false);
  Require(dynamic == (plan.In(0).dtype == DType::kF32), "dynamic is for float32 input");
  if (dynamic) Require(plan.Out(0).dtype == DType::kF32, "dynamic quantization gives float32");
  const RequantEpilogue out = RequantEpilogueOf(spec, plan, g.out_channels, 0, 3);
  if (plan.check_only) return nullptr;
  if (auto step = MakeWinogradS8(plan, g, out)) return step;
  return std::make_unique<ConvS8>(spec, plan, g, out);
}

}  // namespace bitlite
