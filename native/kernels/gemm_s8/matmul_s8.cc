// fully_connected and matmul on int8. A band of rows is copied in the kernels' form; the weights
// are packed when the plan is built, or, when b is computed, by a first phase of every run.
#include <algorithm>
#include <cstring>

#include "dynamic_s8.h"
#include "packed_gemm_s8.h"
#include "spatial_s8.h"

namespace bitlite {
namespace {

constexpr int64_t kBandBytes = 96 * 1024;

// y[i] = a[ia] x b[ib], batch by batch; all matrices dense.
struct MatMulGeometry {
  int64_t m = 0, k = 0, n = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t a_matrices = 1, b_matrices = 1;
  std::vector<int32_t> a_of, b_of;  // by output matrix
};

class MatMulS8 final : public Step {
 public:
  MatMulS8(PlanContext& plan, const MatMulGeometry& g, const RequantEpilogue& out, bool computed);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  const GemmS8Kernel& Select(const PlanContext& plan, bool computed) const;
  PackedGemmS8::Weights WeightsOf(const void* b, int64_t matrix, uint8_t flip) const;
  void CopyRows(const int8_t* a, int64_t first, int64_t rows, uint8_t* image) const noexcept;
  void Pack(const StepArgs& args, int64_t begin, int64_t end) const noexcept;

  MatMulGeometry g_;
  const GemmS8Kernel& kernel_;
  bool computed_, dynamic_, has_residual_;
  std::vector<PackedGemmS8> layers_;  // by matrix of b; one when computed
  DynamicInput input_;
  int64_t band_rows_, bands_, chunks_;
  int64_t row_pointer_bytes_, sum_bytes_, signs_, image_bytes_, bias_bytes_ = 0;
};

MatMulS8::MatMulS8(PlanContext& plan, const MatMulGeometry& g, const RequantEpilogue& out,
                   bool computed)
    : g_(g),
      kernel_(Select(plan, computed)),
      computed_(computed),
      dynamic_(plan.In(0).dtype == DType::kF32),
      has_residual_(out.residual) {
  const int64_t matrices = static_cast<int64_t>(g.a_of.size());
  bands_ = std::max<int64_t>(1, CeilDiv(g.m * g.k * kernel_.planes(), kBandBytes));
  chunks_ = 1;
  cost_ns = static_cast<double>(matrices * g.m * g.n) *
            (static_cast<double>(g.k) / kernel_.macs_per_ns + 0.05);
  // A few rows: the time goes into reading the weights.
  if (g.m < 4) cost_ns = std::max(cost_ns, static_cast<double>(matrices * g.n * g.k) / 60);
  if (const int64_t parts = ItemsWanted(cost_ns, plan.threads); parts > 1) {
    const int64_t wanted =
        CeilDiv(CeilDiv(matrices * bands_, parts) * parts, std::max<int64_t>(1, matrices));
    if (g.m / wanted >= 16) {
      bands_ = std::max(bands_, wanted);
    } else if (matrices * bands_ < plan.threads) {
      chunks_ = CeilDiv(plan.threads, matrices * bands_);
    }
  }
  band_rows_ = std::max<int64_t>(1, CeilDiv(g.m, bands_));
  bands_ = CeilDiv(g.m, band_rows_);

  const TensorSpec& b = plan.In(1);
  const uint8_t flip = b.dtype == DType::kU8 ? 0x80 : 0;
  PackedGemmS8::Options options;
  options.dynamic = dynamic_;
  options.computed = computed;
  options.min_blocks = chunks_;
  options.rows = band_rows_;
  for (int64_t i = 0; i < (computed ? 1 : g.b_matrices); ++i) {
    layers_.emplace_back(kernel_, SelectVectorS8(plan.isa), WeightsOf(b.data, i, flip), out,
                         dynamic_ ? 0 : ZeroPointOf(plan.In(0)), options);
  }
  chunks_ = std::max<int64_t>(1, std::min(chunks_, layers_[0].blocks()));

  phases.clear();
  if (dynamic_) {
    input_ = DynamicInput(plan.In(0).count, plan.threads, SelectVectorS8(plan.isa));
    phases = {input_.parts(), input_.parts()};
    scratch = input_.scratch();
  }
  if (computed) {
    phases.push_back(g.b_matrices * layers_[0].blocks());
    bias_bytes_ = CeilDiv(layers_[0].packed_columns() * sizeof(int32_t), 64) * 64;
    scratch = g.b_matrices * (layers_[0].packed_bytes() + bias_bytes_);
  }
  phases.push_back(matrices * bands_ * chunks_);
  row_pointer_bytes_ = CeilDiv(band_rows_ * sizeof(void*), 64) * 64;
  sum_bytes_ = CeilDiv(band_rows_ * layers_[0].sums_of_row() * sizeof(int32_t), 64) * 64;
  signs_ = kernel_.plane_bytes(band_rows_ * g.k);
  image_bytes_ = kernel_.image_bytes(band_rows_ * g.k);
  thread_scratch = row_pointer_bytes_ + sum_bytes_ + image_bytes_;
  if (g.transpose_a) thread_scratch += static_cast<size_t>(CeilDiv(g.k, 64) * 64);
  if (has_residual_) in_place = 1u << 3;
}

const GemmS8Kernel& MatMulS8::Select(const PlanContext& plan, bool computed) const {
  const GemmS8Kernel& kernel = SelectGemmS8(plan.isa);
  if (computed) return kernel;
  const TensorSpec& b = plan.In(1);
  std::vector<PackedGemmS8::Weights> matrices;
  for (int64_t i = 0; i < g_.b_matrices; ++i) {
    matrices.push_back(WeightsOf(b.data, i, b.dtype == DType::kU8 ? 0x80 : 0));
  }
  return FasterOfPairs(kernel, matrices);
}

PackedGemmS8::Weights MatMulS8::WeightsOf(const void* b, int64_t matrix, uint8_t flip) const {
  const uint8_t* data =
      b == nullptr ? nullptr : static_cast<const uint8_t*>(b) + matrix * g_.k * g_.n;
  return {data, g_.n, 1, g_.k, g_.transpose_b ? g_.k : 1, g_.transpose_b ? 1 : g_.n, flip};
}

void MatMulS8::CopyRows(const int8_t* a, int64_t first, int64_t rows,
                        uint8_t* image) const noexcept {
  if (!g_.transpose_a) {
    kernel_.load(image, a + first * g_.k, rows * g_.k);
  } else {
    int8_t* line = reinterpret_cast<int8_t*>(image + image_bytes_);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t k = 0; k < g_.k; ++k) line[k] = a[k * g_.m + first + r];
      kernel_.load(image + r * g_.k, line, g_.k);
    }
  }
  if (kernel_.split != nullptr) kernel_.split(image, kernel_.read_bytes(rows * g_.k), signs_);
}

void MatMulS8::Pack(const StepArgs& args, int64_t begin, int64_t end) const noexcept {
  const PackedGemmS8& layer = layers_[0];
  for (int64_t item = begin; item < end; ++item) {
    const int64_t matrix = item / layer.blocks();
    uint8_t* at = args.scratch + matrix * (layer.packed_bytes() + bias_bytes_);
    layer.PackBlock(WeightsOf(args.in[1], matrix, 0), item % layer.blocks(),
                    reinterpret_cast<int8_t*>(at + bias_bytes_), reinterpret_cast<int32_t*>(at));
  }
}

void MatMulS8::Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept {
  DynamicS8 dynamic{};
  const int8_t* a = args.In<int8_t>(0);
  if (dynamic_) {
    if (phase == 0) return input_.FindRange(args.In<float>(0), args.scratch, begin, end);
    if (phase == 1) return input_.Quantize(args.In<float>(0), args.scratch, begin, end);
    dynamic = input_.Params(args.scratch);
    a = input_.Codes(args.scratch);
  }
  if (computed_ && phase == 0) return Pack(args, begin, end);

  const uint8_t** rows = reinterpret_cast<const uint8_t**>(args.thread_scratch);
  int32_t* sums = reinterpret_cast<int32_t*>(args.thread_scratch + row_pointer_bytes_);
  uint8_t* image = args.thread_scratch + row_pointer_bytes_ + sum_bytes_;
  constexpr int32_t kSegment = 0;
  for (int64_t r = 0; r < band_rows_; ++r) rows[r] = image + r * g_.k;
  int64_t copied = -1;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t chunk = item % chunks_, place = item / chunks_;
    const int64_t first = place % bands_ * band_rows_, matrix = place / bands_;
    PackedGemmS8::IndirectionBuffer where{rows, std::min(band_rows_, g_.m - first), &kSegment};
    where.signs = signs_;
    where.sums = sums;
    if (dynamic_) where.dynamic = &dynamic;
    if (computed_) {
      const PackedGemmS8& layer = layers_[0];
      const uint8_t* at = args.scratch + g_.b_of[matrix] * (layer.packed_bytes() + bias_bytes_);
      where.bias = reinterpret_cast<const int32_t*>(at);
      where.w = reinterpret_cast<const int8_t*>(at + bias_bytes_);
    }
    const PackedGemmS8& layer = layers_[computed_ ? 0 : g_.b_of[matrix]];
    if (copied != place) {
      const int8_t* from = a + g_.a_of[matrix] * g_.m * g_.k;
      CopyRows(from, first, where.m, image);
      if (!g_.transpose_a) where.codes = from + first * g_.k;
      if (layer.sums_of_row() > 0) layer.SumRows(where);
      copied = place;
    }
    const int64_t at = (matrix * g_.m + first) * g_.n;
    layer.Run(where, layer.blocks() * chunk / chunks_, layer.blocks() * (chunk + 1) / chunks_,
              static_cast<uint8_t*>(args.out[0]) + at * layer.output_bytes(), g_.n,
              has_residual_ ? args.In<int8_t>(3) + at : nullptr, g_.n);
  }
}

// Input 0 int8, or float32 with the attribute dynamic (then the output is float32).
void CheckInput(const StepSpec& spec, const PlanContext& plan) {
  const bool dynamic = spec.Bool("dynamic", false);
  if (plan.In(0).dtype == DType::kF32) {
    Require(dynamic, "float32 input without the attribute dynamic");
    Require(plan.Out(0).dtype == DType::kF32, "dynamic quantization gives float32");
  } else {
    Require(plan.In(0).dtype == DType::kI8, "input is not int8");
    Require(!dynamic, "dynamic quantization of an integer");
  }
}

std::unique_ptr<Step> Make(PlanContext& plan, const MatMulGeometry& g, const RequantEpilogue& out,
                           bool computed) {
  if (plan.check_only) return nullptr;
  return std::make_unique<MatMulS8>(plan, g, out, computed);
}

}  // namespace

std::unique_ptr<Step> MakeFullyConnectedS8(const StepSpec& spec, PlanContext& plan) {
  CheckInput(spec, plan);
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  Require(w.constant && w.rank() == 2 && (w.dtype == DType::kI8 || w.dtype == DType::kU8),
          "weights are not a constant int8 or uint8 matrix");
  spec.Ignore("keep_dims");
  MatMulGeometry g;
  g.n = w.shape[0];
  g.k = w.shape[1];
  Require(g.n > 0 && g.k > 0 && x.count % g.k == 0, "input does not divide into rows of weights");
  g.m = x.count / g.k;
  Require(plan.Out(0).count == g.m * g.n, "the output's shape does not fit");
  g.transpose_b = true;
  g.a_of = g.b_of = {0};
  return Make(plan, g, RequantEpilogueOf(spec, plan, g.n, 0, 3), false);
}

std::unique_ptr<Step> MakeMatMulS8(const StepSpec& spec, PlanContext& plan) {
  CheckInput(spec, plan);
  const TensorSpec& a = plan.In(0);
  const TensorSpec& b = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  const bool computed = !b.constant;
  Require(a.rank() >= 2 && b.rank() >= 2, "operands of less than 2 dimensions");
  Require(b.dtype == DType::kI8 || (b.dtype == DType::kU8 && !computed), "operand b is not int8");
  MatMulGeometry g;
  g.transpose_a = spec.Bool("transpose_a", false);
  g.transpose_b = spec.Bool("transpose_b", false);
  const auto dim = [](const TensorSpec& t, int from_end) { return t.shape[t.rank() - from_end]; };
  g.m = dim(a, g.transpose_a ? 1 : 2);
  g.k = dim(a, g.transpose_a ? 2 : 1);
  g.n = dim(b, g.transpose_b ? 2 : 1);
  Require(dim(b, g.transpose_b ? 1 : 2) == g.k && g.k > 0 && g.n > 0, "operands do not fit");

  // Batch dimensions broadcast.
  const int rank = std::max(a.rank(), b.rank());
  const auto batch_dim = [&](const TensorSpec& t, int d) -> int64_t {
    const int own = d - (rank - t.rank());
    return own < 0 ? 1 : t.shape[own];
  };
  Shape shape;
  int64_t matrices = 1;
  for (int d = 0; d < rank - 2; ++d) {
    const int64_t da = batch_dim(a, d), db = batch_dim(b, d);
    Require(da == db || da == 1 || db == 1, "batch dimensions do not broadcast");
    shape.push_back(da == 1 ? db : da);
    matrices *= shape.back();
    g.a_matrices *= da;
    g.b_matrices *= db;
  }
  shape.push_back(g.m);
  shape.push_back(g.n);
  Require(y.shape == shape, "the output's shape does not fit");
  Require(matrices <= (1 << 24), "too many matrices");
  for (int64_t i = 0; i < matrices; ++i) {
    int64_t ia = 0, ib = 0, rest = i, step_a = 1, step_b = 1;
    for (int d = rank - 3; d >= 0; --d) {
      const int64_t index = rest % shape[d], da = batch_dim(a, d), db = batch_dim(b, d);
      rest /= shape[d];
      ia += (da == 1 ? 0 : index) * step_a;
      ib += (db == 1 ? 0 : index) * step_b;
      step_a *= da;
      step_b *= db;
    }
    g.a_of.push_back(static_cast<int32_t>(ia));
    g.b_of.push_back(static_cast<int32_t>(ib));
  }
  if (computed && b.scale.size() != 1) Refuse("computed operand b is not quantized per tensor");
  if (computed) Require(!plan.Has(2) || plan.In(2).dtype == DType::kI32, "bias is not int32");
  // One b for all rows: one tall matrix.
  if (g.b_matrices == 1 && !g.transpose_a && g.a_matrices == matrices) {
    g.m *= matrices;
    g.a_of = g.b_of = {0};
    g.a_matrices = 1;
  }
  return Make(plan, g,
              RequantEpilogueOf(spec, plan, g.n, g.transpose_b ? b.rank() - 2 : b.rank() - 1, 3),
              computed);
}

}  // namespace bitlite
