// conv_transpose on int8. Output p (before cropping) receives the taps t with p - t * dilation
// divisible by the stride: for each residue of p the same taps, at fixed offsets from input p /
// stride. So each residue is a convolution of stride 1 whose outputs lie `stride` apart.
//   inputs  x [N,*S,C], w [C,*K,O/group], bias?     attrs  stride dilation pad output_padding group
//   act
#include <algorithm>
#include <cstring>

#include "packed_gemm_s8.h"
#include "spatial_s8.h"

namespace bitlite {
namespace {

constexpr int64_t kBandBytes = 96 * 1024;

// One spatial axis.
struct Axis {
  int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, pad = 0;

  int64_t first() const { return pad / stride; }             // input position of output 0
  int64_t last() const { return (pad + out - 1) / stride; }  // of the last output
  int64_t reach() const {
    return (kernel - 1) * dilation / stride;
  }  // positions before it that taps see
  // Taps of a residue, and their offsets from the input position.
  std::vector<std::pair<int64_t, int64_t>> Taps(int64_t residue) const {
    std::vector<std::pair<int64_t, int64_t>> taps;
    for (int64_t t = kernel - 1; t >= 0; --t) {
      const int64_t distance = t * dilation - residue;
      if (distance >= 0 && distance % stride == 0) taps.emplace_back(t, -distance / stride);
    }
    return taps;
  }
};

class ConvTransposeS8 final : public Step {
 public:
  ConvTransposeS8(PlanContext& plan, const Axis& h, const Axis& w, int64_t group,
                  const RequantEpilogue& out);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  struct Residue {
    std::vector<int32_t> segments;
    std::vector<PackedGemmS8> layers;  // by group
  };

  const GemmS8Kernel& kernel_;
  const Axis h_, w_;
  const int64_t batch_, c_, o_, group_;
  PaddingS8 padding_;
  int64_t pixel_bytes_, image_w_;
  int64_t positions_, band_rows_, bands_;  // input rows that have outputs; of a band; bands
  std::vector<Residue> residues_;          // by residue of h, then of w
  int64_t row_pointer_bytes_, sum_bytes_, signs_;
};

ConvTransposeS8::ConvTransposeS8(PlanContext& plan, const Axis& h, const Axis& w, int64_t group,
                                 const RequantEpilogue& out)
    : kernel_(SelectGemmS8(plan.isa)),
      h_(h),
      w_(w),
      batch_(plan.In(0).shape.front()),
      c_(plan.In(0).shape.back()),
      o_(plan.Out(0).shape.back()),
      group_(group),
      padding_(kernel_, ZeroPointOf(plan.In(0))) {
  pixel_bytes_ = c_;
  image_w_ = w.last() - w.first() + 1 + w.reach();
  positions_ = h.last() - h.first() + 1;
  const TensorSpec& weights = plan.In(1);
  const uint8_t* data = static_cast<const uint8_t*>(weights.data);
  const int64_t group_in = c_ / group, group_out = o_ / group;
  int sums = 0;
  for (int64_t rh = 0; rh < h.stride; ++rh) {
    for (int64_t rw = 0; rw < w.stride; ++rw) {
      Residue residue;
      std::vector<int64_t> elements;  // of the kernel
      for (const auto& [th, oh] : h.Taps(rh)) {
        for (const auto& [tw, ow] : w.Taps(rw)) {
          elements.push_back(th * w.kernel + tw);
          const int64_t offset = ((h.reach() + oh) * image_w_ + w.reach() + ow) * pixel_bytes_;
          Require(offset < INT32_MAX, "the padded image is too large");
          residue.segments.push_back(static_cast<int32_t>(offset));
        }
      }
      const int64_t taps = static_cast<int64_t>(elements.size());
      std::vector<uint8_t> part(static_cast<size_t>(group_out * taps * group_in));
      for (int64_t g = 0; g < group; ++g) {
        for (int64_t o = 0; o < group_out; ++o) {
          for (int64_t t = 0; t < taps; ++t) {
            for (int64_t i = 0; i < group_in; ++i) {
              const int64_t row = (g * group_in + i) * h.kernel * w.kernel + elements[t];
              part[(o * taps + t) * group_in + i] = data[row * group_out + o];
            }
          }
        }
        const PackedGemmS8::Weights view{
            part.data(),
            group_out,
            taps,
            group_in,
            taps * group_in,
            1,
            static_cast<uint8_t>(weights.dtype == DType::kU8 ? 0x80 : 0)};
        residue.layers.emplace_back(kernel_, SelectVectorS8(plan.isa), view,
                                    out.Slice(g * group_out, group_out), ZeroPointOf(plan.In(0)),
                                    PackedGemmS8::Options{});
        sums = std::max(sums, residue.layers.back().sums_of_row());
      }
      residues_.push_back(std::move(residue));
    }
  }
  const int64_t line_bytes = std::max<int64_t>(1, image_w_ * pixel_bytes_);
  bands_ = CeilDiv(positions_, std::max<int64_t>(1, kBandBytes / (line_bytes * kernel_.planes())));
  if (plan.threads > 1) bands_ = std::max<int64_t>(bands_, plan.threads);
  band_rows_ = CeilDiv(positions_, std::min(bands_, positions_));
  bands_ = CeilDiv(positions_, band_rows_);
  phases = {batch_ * bands_};
  cost_ns = static_cast<double>(batch_ * h.in * w.in * c_) * group_out * h.kernel * w.kernel / 250;
  const int64_t pixels = w.last() - w.first() + 1;
  row_pointer_bytes_ = CeilDiv(pixels * sizeof(void*), 64) * 64;
  sum_bytes_ = CeilDiv(pixels * sums * sizeof(int32_t), 64) * 64;
  signs_ = kernel_.plane_bytes((band_rows_ + h.reach()) * line_bytes);
  thread_scratch = static_cast<size_t>(row_pointer_bytes_ + sum_bytes_ +
                                       kernel_.image_bytes((band_rows_ + h.reach()) * line_bytes));
}

void ConvTransposeS8::Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept {
  const uint8_t** rows = reinterpret_cast<const uint8_t**>(args.thread_scratch);
  int32_t* sums = reinterpret_cast<int32_t*>(args.thread_scratch + row_pointer_bytes_);
  uint8_t* image = args.thread_scratch + row_pointer_bytes_ + sum_bytes_;
  const int64_t group_in = c_ / group_, group_out = o_ / group_;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t n = item / bands_;
    const int64_t first = h_.first() + item % bands_ * band_rows_;
    const int64_t last = std::min(first + band_rows_, h_.last() + 1);

    // Input rows [first - reach, last), columns from first - reach, padded.
    const int64_t left = std::clamp<int64_t>(w_.reach() - w_.first(), 0, image_w_);
    const int64_t from = std::max<int64_t>(0, w_.first() - w_.reach());
    const int64_t inside = std::clamp<int64_t>(w_.in - from, 0, image_w_ - left);
    uint8_t* line = image;
    for (int64_t ih = first - h_.reach(); ih < last; ++ih, line += image_w_ * pixel_bytes_) {
      if (ih < 0 || ih >= h_.in) {
        padding_.Fill(line, image_w_ * c_);
        continue;
      }
      padding_.Fill(line, left * c_);
      kernel_.load(line + left * pixel_bytes_,
                   args.In<int8_t>(0) + ((n * h_.in + ih) * w_.in + from) * c_, inside * c_);
      padding_.Fill(line + (left + inside) * pixel_bytes_, (image_w_ - left - inside) * c_);
    }

    if (kernel_.split != nullptr) kernel_.split(image, kernel_.read_bytes(line - image), signs_);

    for (int64_t q = first; q < last; ++q) {
      for (size_t r = 0; r < residues_.size(); ++r) {
        const Residue& residue = residues_[r];
        const int64_t rh = static_cast<int64_t>(r) / w_.stride,
                      rw = static_cast<int64_t>(r) % w_.stride;
        const int64_t oh = q * h_.stride + rh - h_.pad;
        if (oh < 0 || oh >= h_.out) continue;
        // Columns of this residue: ow = column * stride + rw - pad inside the output.
        int64_t column = w_.first();
        if (column * w_.stride + rw < w_.pad) ++column;
        const int64_t ow = column * w_.stride + rw - w_.pad;
        if (ow >= w_.out) continue;
        const int64_t pixels = (w_.out - 1 - ow) / w_.stride + 1;
        for (int64_t g = 0; g < group_; ++g) {
          const PackedGemmS8& layer = residue.layers[g];
          const uint8_t* p =
              image + ((q - first) * image_w_ + column - w_.first()) * pixel_bytes_ + g * group_in;
          for (int64_t i = 0; i < pixels; ++i) rows[i] = p + i * pixel_bytes_;
          PackedGemmS8::IndirectionBuffer where{rows, pixels, residue.segments.data()};
          where.signs = signs_;
          where.sums = sums;
          if (layer.sums_of_row() > 0) layer.SumRows(where);
          const int64_t at = ((n * h_.out + oh) * w_.out + ow) * o_ + g * group_out;
          layer.Run(where, 0, layer.blocks(),
                    static_cast<uint8_t*>(args.out[0]) + at * layer.output_bytes(), w_.stride * o_,
                    nullptr, 0);
        }
      }
    }
  }
}

}  // namespace

std::unique_ptr<Step> MakeConvTransposeS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(w.constant && (w.dtype == DType::kI8 || w.dtype == DType::kU8),
          "weights are not an int8 or uint8 constant");
  const int rank = x.rank() - 2;
  Require((rank == 1 || rank == 2) && w.rank() == x.rank() && y.rank() == x.rank(),
          "only 1 and 2 spatial dimensions");
  const size_t r = static_cast<size_t>(rank);
  const auto stride = spec.Ints("stride", std::vector<int64_t>(r, 1));
  const auto dilation = spec.Ints("dilation", std::vector<int64_t>(r, 1));
  const auto pad = spec.Ints("pad", std::vector<int64_t>(2 * r, 0));
  const auto more = spec.Ints("output_padding", std::vector<int64_t>(r, 0));
  spec.Ignore("pad_mode");
  const int64_t group = spec.Int("group", 1);
  Require(stride.size() == r && dilation.size() == r && pad.size() == 2 * r && more.size() == r,
          "stride, dilation, pad or output_padding does not fit the rank");
  const int64_t o = y.shape.back();
  Require(group >= 1 && x.shape.back() % group == 0 && o % group == 0 &&
              w.shape.front() == x.shape.back() && w.shape.back() * group == o &&
              x.shape.front() == y.shape.front(),
          "shapes of input, weights and output do not fit");
  Axis axes[2];
  for (int d = 0; d < rank; ++d) {
    Axis& a = axes[d + 2 - rank];
    a = {x.shape[d + 1], y.shape[d + 1], w.shape[d + 1], stride[d], dilation[d], pad[2 * d]};
    constexpr int64_t kMax = 1 << 20;
    Require(a.stride >= 1 && a.dilation >= 1 && a.kernel >= 1 && a.pad >= 0 &&
                pad[2 * d + 1] >= 0 && more[d] >= 0 && a.stride <= kMax && a.dilation <= kMax &&
                a.kernel <= kMax,
            "stride, dilation or pad out of range");
    Require(a.out == a.stride * (a.in - 1) + (a.kernel - 1) * a.dilation + 1 + more[d] - a.pad -
                         pad[2 * d + 1],
            "the output's shape does not follow from stride, dilation, pad and output_padding");
    Require(a.in > 0 && a.out > 0, "empty tensors");
  }
  Require(axes[0].stride * axes[1].stride <= 256, "strides of more than 256 residues");
  // With groups the last axis of w is not the output's channel.
  const RequantEpilogue out = RequantEpilogueOf(spec, plan, o, group == 1 ? w.rank() - 1 : -2, -1);
  if (plan.check_only) return nullptr;
  return std::make_unique<ConvTransposeS8>(plan, axes[0], axes[1], group, out);
}

}  // namespace bitlite
