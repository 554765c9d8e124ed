// resize: x [N,*S,C], size constant?; the output's shape decides.
//   attrs  method nearest|linear, coordinate_mode (all of ONNX but tf_crop_and_resize),
//   nearest_mode, scales,
//          multiply (positions times n/m, as TFLite, not divided by the scale)
// Nearest takes every type of up to three spatial axes, linear float32 and int8 of one or two.
// Positions are computed in float32, as onnxruntime and LiteRT do. Linear on int8: the upper
// neighbour of each axis takes p = rne(1024 part) / 1024, y = floor(sum + 1/2).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/common/kernels.h"
#include "step.h"

namespace bitlite {
namespace {

struct AxisMap {
  std::vector<int64_t> low, high;  // input elements
  std::vector<float> part;         // of `high`
};

enum class Coordinates {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfHalfPixelForNn
};
enum class Rounding { kPreferFloor, kPreferCeil, kFloor, kCeil, kSimple };

struct Modes {
  Coordinates coordinates;
  Rounding nearest;
  bool linear = false, multiply = false;
};

float Position(int64_t k, int64_t n, int64_t m, float scale, const Modes& modes) {
  const float x = static_cast<float>(k), fn = static_cast<float>(n), fm = static_cast<float>(m);
  const auto back = [&](float v) { return modes.multiply ? v * (fn / fm) : v / scale; };
  switch (modes.coordinates) {
    case Coordinates::kAlignCorners:
      if (m == 1) return 0.0f;
      return modes.multiply ? x * ((fn - 1) / (fm - 1)) : x * (fn - 1) / (fm - 1);
    case Coordinates::kAsymmetric:
      return back(x);
    case Coordinates::kTfHalfPixelForNn:
      return back(x + 0.5f);
    case Coordinates::kPytorchHalfPixel:
      if (m == 1) return 0.0f;
      break;
    case Coordinates::kHalfPixelSymmetric:
      return back(x + 0.5f) + fn / 2 * (1.0f - fm / (scale * fn)) - 0.5f;
    case Coordinates::kHalfPixel:
      break;
  }
  return back(x + 0.5f) - 0.5f;
}

int64_t Nearest(float x, float scale, const Modes& modes) {
  Rounding mode = modes.nearest;
  if (mode == Rounding::kSimple) mode = scale < 1 ? Rounding::kCeil : Rounding::kFloor;
  const float down = std::floor(x);
  float y;
  if (mode == Rounding::kFloor) {
    y = down;
  } else if (mode == Rounding::kCeil) {
    y = std::ceil(x);
  } else if (x - down == 0.5f) {
    y = mode == Rounding::kPreferFloor ? down : down + 1;
  } else {
    y = std::nearbyint(x);
  }
  return static_cast<int64_t>(y);
}

AxisMap MapAxis(int64_t n, int64_t m, float scale, const Modes& modes) {
  AxisMap map;
  map.low.reserve(m);
  if (modes.linear) {
    map.high.reserve(m);
    map.part.reserve(m);
  }
  const auto inside = [&](int64_t i) { return std::min(std::max<int64_t>(i, 0), n - 1); };
  for (int64_t k = 0; k < m; ++k) {
    const float x =
        n == m && scale == 1.0f ? static_cast<float>(k) : Position(k, n, m, scale, modes);
    if (modes.linear) {
      const float down = std::floor(x);
      map.low.push_back(inside(static_cast<int64_t>(down)));
      map.high.push_back(inside(static_cast<int64_t>(down) + 1));
      map.part.push_back(x - down);
    } else {
      map.low.push_back(n == m && scale == 1.0f ? k : inside(Nearest(x, scale, modes)));
    }
  }
  return map;
}

// Three spatial axes, the last one innermost.
struct Extents {
  int64_t batch, in[3], out[3], channels;
};

// Pixels of `bytes` bytes, which is BYTES unless that is 0: a copy of known size takes no call.
template <int64_t BYTES>
void CopyPixels(const char* line, const std::vector<int64_t>& from, int64_t bytes, char* y) {
  const int64_t size = BYTES > 0 ? BYTES : bytes;
  for (const int64_t w : from) {
    std::memcpy(y, line + w * size, static_cast<size_t>(size));
    y += size;
  }
}

auto CopyPixelsOf(int64_t bytes) {
  switch (bytes) {
    case 1:
      return CopyPixels<1>;
    case 2:
      return CopyPixels<2>;
    case 3:
      return CopyPixels<3>;
    case 4:
      return CopyPixels<4>;
    case 8:
      return CopyPixels<8>;
    case 12:
      return CopyPixels<12>;
    case 16:
      return CopyPixels<16>;
    case 32:
      return CopyPixels<32>;
    default:
      return CopyPixels<0>;
  }
}

// Lines that repeat the one before are copies of it.
class ResizeNearest final : public Step {
 public:
  ResizeNearest(const Extents& e, AxisMap (&maps)[3], int64_t size)
      : e_(e),
        bytes_(e.channels * size),
        copy_(CopyPixelsOf(bytes_)),
        maps_{std::move(maps[0]), std::move(maps[1]), std::move(maps[2])} {
    phases = {e.batch * e.out[0] * e.out[1]};
    cost_ns =
        static_cast<double>(phases[0] * e.out[2]) * (3.0 + static_cast<double>(bytes_) / 20.0);
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const char* before = nullptr;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = maps_[1].low[item % e_.out[1]];
      const int64_t d = maps_[0].low[item / e_.out[1] % e_.out[0]];
      const int64_t batch = item / e_.out[1] / e_.out[0];
      const char* line =
          args.In<char>(0) + ((batch * e_.in[0] + d) * e_.in[1] + h) * e_.in[2] * bytes_;
      const int64_t size = e_.out[2] * bytes_;
      char* y = args.Out<char>(0) + item * size;
      if (line == before) {
        std::memcpy(y, y - size, static_cast<size_t>(size));
      } else {
        copy_(line, maps_[2].low, bytes_, y);
      }
      before = line;
    }
  }

 private:
  const Extents e_;
  const int64_t bytes_;
  void (*const copy_)(const char*, const std::vector<int64_t>&, int64_t, char*);
  const AxisMap maps_[3];
};

class ResizeLinear final : public Step {
 public:
  ResizeLinear(const Extents& e, AxisMap (&maps)[3])
      : e_(e), rows_(std::move(maps[1])), columns_(std::move(maps[2])) {
    phases = {e.batch * e.out[1]};
    cost_ns = static_cast<double>(phases[0] * e.out[2]) * (4.0 + static_cast<double>(e.channels));
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t channels = e_.channels, line = e_.in[2] * channels;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item % e_.out[1];
      const float* image = args.In<float>(0) + item / e_.out[1] * e_.in[1] * line;
      const float* top = image + rows_.low[h] * line;
      const float* bottom = image + rows_.high[h] * line;
      const float down = rows_.part[h];
      float* y = args.Out<float>(0) + item * e_.out[2] * channels;
      for (int64_t w = 0; w < e_.out[2]; ++w, y += channels) {
        const int64_t left = columns_.low[w] * channels, right = columns_.high[w] * channels;
        const float across = columns_.part[w];
        for (int64_t c = 0; c < channels; ++c) {
          const float a = top[left + c] * (1.0f - across) + top[right + c] * across;
          const float b = bottom[left + c] * (1.0f - across) + bottom[right + c] * across;
          y[c] = a * (1.0f - down) + b * down;
        }
      }
    }
  }

 private:
  const Extents e_;
  const AxisMap rows_, columns_;
};

// Columns are blended first, a whole line of outputs for a row of the input; the last two such
// lines stay, as rows follow each other. The sums are whole numbers, in whichever order.
class ResizeLinearS8 final : public Step {
 public:
  ResizeLinearS8(const Extents& e, AxisMap (&maps)[3], IsaMask isa)
      : e_(e),
        rows_(std::move(maps[1])),
        down_(Weights(rows_)),
        line_(e.out[2] * e.channels),
        kernel_(SelectKernel<vector_s8>(isa).fn()) {
    const std::vector<int32_t> across = Weights(maps[2]);
    for (int64_t w = 0; w < e.out[2]; ++w) {
      columns_.push_back({maps[2].low[w] * e.channels, maps[2].high[w] * e.channels,
                          static_cast<int16_t>(kOneS8 - across[w]),
                          static_cast<int16_t>(across[w])});
    }
    phases = {e.batch * e.out[1]};
    cost_ns =
        static_cast<double>(phases[0] * e.out[2]) * (2.0 + static_cast<double>(e.channels) * 0.2);
    thread_scratch = static_cast<size_t>(2 * line_) * sizeof(int32_t);
    // Every part blends the lines of its first row.
    grain = 2;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    int32_t* lines[2];
    lines[0] = reinterpret_cast<int32_t*>(args.thread_scratch);
    lines[1] = lines[0] + line_;
    const int8_t* held[2] = {nullptr, nullptr};
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item % e_.out[1];
      const int64_t image = item / e_.out[1] * e_.in[1];
      const auto row = [&](int64_t at) {
        return args.In<int8_t>(0) + (image + at) * e_.in[2] * e_.channels;
      };
      const int8_t* wanted[2] = {row(rows_.low[h]), row(rows_.high[h])};
      if (held[1] == wanted[0]) {
        std::swap(held[0], held[1]);
        std::swap(lines[0], lines[1]);
      }
      for (int i = 0; i < 2; ++i) {
        if (held[i] == wanted[i]) continue;
        held[i] = wanted[i];
        kernel_.blend_columns(wanted[i], columns_.data(), e_.out[2], e_.channels, lines[i]);
      }
      kernel_.blend_rows(lines[0], lines[1], line_, kOneS8 - down_[h], down_[h],
                         args.Out<int8_t>(0) + item * line_);
    }
  }

 private:
  static std::vector<int32_t> Weights(const AxisMap& map) {
    std::vector<int32_t> weights;
    for (const float part : map.part) {
      weights.push_back(static_cast<int32_t>(std::nearbyint(part * static_cast<float>(kOneS8))));
    }
    return weights;
  }

  const Extents e_;
  const AxisMap rows_;
  const std::vector<int32_t> down_;
  const int64_t line_;  // elements of an output row
  const VectorS8Kernel& kernel_;
  std::vector<ColumnBlendS8> columns_;
};

// The one of `known` that the attribute `key` names, else a refusal.
template <typename T>
T Named(const StepSpec& spec, const char* key, const char* absent, const char* refusal,
        std::initializer_list<std::pair<const char*, T>> known) {
  const std::string value = spec.Str(key, absent);
  for (const auto& [name, mode] : known) {
    if (value == name) return mode;
  }
  Require(false, refusal);
  return known.begin()->second;
}

}  // namespace

std::unique_ptr<Step> MakeResize(const StepSpec& spec, PlanContext& plan) {
  plan.IgnoreInput(1);
  const TensorSpec& x = plan.In(0);
  const TensorSpec& y = plan.Out(0);
  Require(SameQuant(x, y) && x.scale.size() < 2, "input and output differ in type or quantization");
  const int rank = x.rank() - 2;
  Require(rank >= 1 && rank <= 3 && y.rank() == x.rank(), "not 1 to 3 spatial axes");
  Require(x.shape[0] == y.shape[0] && x.shape.back() == y.shape.back(),
          "input and output differ in batch or channels");
  const std::string method = spec.Str("method", "linear");
  Modes modes;
  modes.linear = method == "linear";
  Require(modes.linear || method == "nearest", "method is not nearest or linear");
  modes.multiply = spec.Bool("multiply", false);
  modes.coordinates = Named<Coordinates>(
      spec, "coordinate_mode", "half_pixel", "coordinate_mode has no native form",
      {{"half_pixel", Coordinates::kHalfPixel},
       {"half_pixel_symmetric", Coordinates::kHalfPixelSymmetric},
       {"pytorch_half_pixel", Coordinates::kPytorchHalfPixel},
       {"align_corners", Coordinates::kAlignCorners},
       {"asymmetric", Coordinates::kAsymmetric},
       {"tf_half_pixel_for_nn", Coordinates::kTfHalfPixelForNn}});
  modes.nearest =
      Named<Rounding>(spec, "nearest_mode", "round_prefer_floor", "nearest_mode is not known",
                      {{"round_prefer_floor", Rounding::kPreferFloor},
                       {"round_prefer_ceil", Rounding::kPreferCeil},
                       {"floor", Rounding::kFloor},
                       {"ceil", Rounding::kCeil},
                       {"simple", Rounding::kSimple}});
  Require(!spec.Bool("exclude_outside", false) && !spec.Bool("antialias", false),
          "exclude_outside and antialias have no native form");
  for (const char* key : {"cubic_coeff", "roi", "extrapolation", "size"}) spec.Ignore(key);
  const std::vector<double> scales = spec.Floats("scales", {});
  Require(scales.empty() || static_cast<int>(scales.size()) == rank, "scales do not fit the rank");
  const bool codes = x.dtype == DType::kI8 && x.quantized();
  Require(!modes.linear || ((x.dtype == DType::kF32 || codes) && rank <= 2),
          "linear takes float32 and int8 of 1 or 2 axes");
  Require(x.count > 0 && y.count > 0, "empty input or output");
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  Extents e{x.shape[0], {1, 1, 1}, {1, 1, 1}, x.shape.back()};
  AxisMap maps[3];
  for (int d = 0; d < 3; ++d) {
    const int from = d - 3 + rank;
    float scale = 1.0f;
    if (from >= 0) {
      e.in[d] = x.shape[from + 1];
      e.out[d] = y.shape[from + 1];
      scale = scales.empty() ? static_cast<float>(e.out[d]) / static_cast<float>(e.in[d])
                             : static_cast<float>(scales[from]);
    }
    maps[d] = MapAxis(e.in[d], e.out[d], scale, modes);
  }
  if (modes.linear && codes) return std::make_unique<ResizeLinearS8>(e, maps, plan.isa);
  if (modes.linear) return std::make_unique<ResizeLinear>(e, maps);
  return std::make_unique<ResizeNearest>(e, maps, static_cast<int64_t>(SizeOf(x.dtype)));
}

}  // namespace bitlite
