// fully_connected and matmul on float32.
//   fully_connected  x [...,K], w [O,K], bias [O]?, residual?; attrs act keep_dims. y has O as its
//   last extent. matmul           a [*,M,K], b [*,K,N], bias [N]?; attrs transpose_a transpose_b
//   act.
//                    Batch extents broadcast; an operand of rank 1 is a row (a) or a column (b).
// A constant w or b (float, float16 or quantized integers with scales) is packed once and must not
// vary over the batch unless it is float32; a computed one is packed in every run. bias is
// constant.
#include <cstring>

#include "gemm_pack.h"
#include "shared_constants.h"

namespace bitlite {
namespace {

constexpr int kMaxTileRows = 16;

struct Problem {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  std::vector<int64_t> a_offset{0};  // of each batch, in elements
  std::vector<int64_t> b_index{0};   // matrix of b that each batch takes
  int64_t b_matrices = 1;
  bool transpose_a = false;
  int64_t b_stride_n = 1, b_stride_k = 1;
};

class MatMulF32 final : public Step {
 public:
  MatMulF32(Problem problem, const FusedAct& act, bool packed, const PlanContext& plan)
      : p_(std::move(problem)),
        act_(act),
        packed_(packed),
        kernel_(SelectKernel<gemm_f32>(plan.isa)),
        unary_(SelectKernel<unary_f32>(plan.isa).fn),
        tiling_(p_.m, p_.n, p_.k, kernel_.mr, plan.threads),
        panel_stride_(p_.k * kGemmPanel),
        matrix_stride_(PanelsOf(p_.n) * panel_stride_) {
    phases = {tiling_.items() * p_.batch};
    cost_ns = GemmCostNs(static_cast<double>(p_.batch) * p_.m * p_.n * p_.k);
    // A row vector reads its weights once: memory is the limit.
    if (p_.m == 1) cost_ns = static_cast<double>(p_.batch) * p_.n * p_.k / 10.0;
    if (!packed_) {
      phases.insert(phases.begin(), p_.b_matrices * PanelsOf(p_.n));
      scratch = static_cast<size_t>(p_.b_matrices * matrix_stride_) * sizeof(float);
    }
    in_place = 1u << 3;
    if (p_.transpose_a) thread_scratch = static_cast<size_t>(kMaxTileRows * p_.k) * sizeof(float);
  }

  void Pack(const TensorSpec* b, const TensorSpec* bias) {
    bias_ = PackBias(bias, p_.n);
    if (!packed_) return;
    const WeightValues values(*b);
    weights_.Reset(static_cast<size_t>(p_.b_matrices * matrix_stride_));
    for (int64_t i = 0; i < p_.b_matrices; ++i) {
      PackPanels(values.data() + i * p_.n * p_.k, p_.n, p_.k, p_.b_stride_n, p_.b_stride_k,
                 weights_.data() + i * matrix_stride_);
    }
    Share(weights_);
  }

  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override {
    if (!packed_ && phase == 0) {
      PackRange(args, begin, end);
      return;
    }
    const float* a = args.In<float>(0);
    const float* weights = packed_ ? weights_.data() : reinterpret_cast<const float*>(args.scratch);
    const float* residual = args.In<float>(3);
    const float* rows[kMaxTileRows];
    float* copied = reinterpret_cast<float*>(args.thread_scratch);
    GemmF32Tile t;
    t.a = rows;
    t.taps = 1;
    t.kc = p_.k;
    t.panel_stride = panel_stride_;
    t.ldr = p_.n;
    t.ldy = p_.n;
    t.lo = act_.lo;
    t.hi = act_.hi;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t batch = item / tiling_.items();
      const int64_t column = item % tiling_.items() / tiling_.row_tiles * tiling_.block_columns;
      const int64_t tile = item % tiling_.row_tiles;
      const int64_t row = tiling_.RowBegin(tile);
      t.rows = static_cast<int>(tiling_.RowBegin(tile + 1) - row);
      t.n = std::min(tiling_.block_columns, p_.n - column);
      if (t.rows == 0 || t.n <= 0) continue;
      const float* matrix = a + p_.a_offset[batch];
      for (int r = 0; r < t.rows; ++r) {
        if (p_.transpose_a) {
          for (int64_t k = 0; k < p_.k; ++k) copied[r * p_.k + k] = matrix[k * p_.m + row + r];
          rows[r] = copied + r * p_.k;
        } else {
          rows[r] = matrix + (row + r) * p_.k;
        }
      }
      t.w = weights + p_.b_index[batch] * matrix_stride_ + column / kGemmPanel * panel_stride_;
      t.bias = bias_.data() + column;
      const int64_t at = (batch * p_.m + row) * p_.n + column;
      t.y = args.Out<float>(0) + at;
      t.residual = residual == nullptr ? nullptr : residual + at;
      kernel_.fn(t);
      act_.ApplyRows(unary_, t.y, t.rows, t.n, t.ldy);
    }
  }

 private:
  // Items are the panels of all matrices of b.
  void PackRange(const StepArgs& args, int64_t begin, int64_t end) const {
    const float* b = args.In<float>(1);
    float* packed = reinterpret_cast<float*>(args.scratch);
    const int64_t panels = PanelsOf(p_.n);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t column = item % panels * kGemmPanel;
      PackPanels(b + item / panels * p_.n * p_.k + column * p_.b_stride_n,
                 std::min<int64_t>(kGemmPanel, p_.n - column), p_.k, p_.b_stride_n, p_.b_stride_k,
                 packed + item * panel_stride_);
    }
  }

  const Problem p_;
  const FusedAct act_;
  const bool packed_;
  const Kernel<gemm_f32> kernel_;
  unary_f32::Fn* const unary_;
  const Tiling tiling_;
  const int64_t panel_stride_, matrix_stride_;
  Aligned<float> weights_, bias_;
};

std::unique_ptr<Step> Finish(Problem problem, const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& a = plan.In(0);
  const TensorSpec& b = plan.In(1);
  const TensorSpec* bias = plan.OptionalIn(2);
  const TensorSpec& y = plan.Out(0);
  Require(a.dtype == DType::kF32 && y.dtype == DType::kF32, "operands are not float32");
  if (b.constant) {
    RequireWeight(b, "second operand");
  } else {
    Require(b.dtype == DType::kF32, "second operand is not float32");
  }
  if (bias != nullptr) {
    RequireWeight(*bias, "bias");
    Require(bias->count == problem.n, "bias does not have one value per column");
  }
  if (y.count != problem.batch * problem.m * problem.n) {
    Refuse("output shape " + ToString(y.shape) + " does not follow from " + ToString(a.shape) +
           " and " + ToString(b.shape));
  }
  if (const TensorSpec* residual = plan.OptionalIn(3)) {
    Require(residual->dtype == DType::kF32 && residual->shape == y.shape,
            "residual is not of the output's shape and type");
    if (residual->constant) plan.KeepConstant(3);
  }
  const FusedAct act = ParseAct(spec);
  if (a.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  auto step = std::make_unique<MatMulF32>(std::move(problem), act, b.constant, plan);
  step->Pack(&b, bias);
  return step;
}

// Row-major strides of `shape`'s leading axes broadcast to `out`: 0 where an extent of 1 is
// repeated.
std::vector<int64_t> BatchIndices(const Shape& lead, const Shape& out) {
  const int64_t total = CountOf(out);
  std::vector<int64_t> indices(static_cast<size_t>(total));
  for (int64_t i = 0; i < total; ++i) {
    int64_t rest = i, index = 0, stride = 1;
    for (size_t d = 0; d < out.size(); ++d) {
      const int64_t coordinate = rest % out[out.size() - 1 - d];
      rest /= out[out.size() - 1 - d];
      if (d >= lead.size()) continue;
      const int64_t extent = lead[lead.size() - 1 - d];
      if (extent != 1) index += coordinate * stride;
      stride *= extent;
    }
    indices[i] = index;
  }
  return indices;
}

}  // namespace

std::unique_ptr<Step> MakeFullyConnectedF32(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  spec.Ignore("keep_dims");
  Require(w.rank() == 2, "weight is not a matrix");
  Problem p;
  p.n = w.shape[0];
  p.k = w.shape[1];
  Require(p.k > 0 && x.count % p.k == 0, "input is not made of rows of the weight's K values");
  p.m = x.count / p.k;
  p.b_stride_n = p.k;
  Require(plan.Out(0).rank() > 0 && plan.Out(0).shape.back() == p.n,
          "output does not have O values in its last extent");
  return Finish(std::move(p), spec, plan);
}

std::unique_ptr<Step> MakeMatMulF32(const StepSpec& spec, PlanContext& plan) {
  Shape a = plan.In(0).shape, b = plan.In(1).shape;
  Problem p;
  p.transpose_a = spec.Bool("transpose_a", false);
  const bool transpose_b = spec.Bool("transpose_b", false);
  Require(!a.empty() && !b.empty(), "an operand is a scalar");
  if (a.size() == 1) a.insert(p.transpose_a ? a.end() : a.begin(), 1);
  if (b.size() == 1) b.insert(transpose_b ? b.begin() : b.end(), 1);
  const size_t ra = a.size(), rb = b.size();
  p.m = a[ra - (p.transpose_a ? 1 : 2)];
  p.k = a[ra - (p.transpose_a ? 2 : 1)];
  p.n = b[rb - (transpose_b ? 2 : 1)];
  if (b[rb - (transpose_b ? 1 : 2)] != p.k) {
    Refuse("inner extents of " + ToString(a) + " and " + ToString(b) + " differ");
  }
  p.b_stride_n = transpose_b ? p.k : 1;
  p.b_stride_k = transpose_b ? 1 : p.n;
  const Shape lead_a(a.begin(), a.end() - 2), lead_b(b.begin(), b.end() - 2);
  p.b_matrices = CountOf(lead_b);
  if (p.b_matrices == 1 && !p.transpose_a) {
    p.m *= CountOf(lead_a);  // one matrix for all: its rows are one batch
    return Finish(std::move(p), spec, plan);
  }
  Shape lead(std::max(lead_a.size(), lead_b.size()), 1);
  for (size_t d = 0; d < lead.size(); ++d) {
    const int64_t ea = d < lead_a.size() ? lead_a[lead_a.size() - 1 - d] : 1;
    const int64_t eb = d < lead_b.size() ? lead_b[lead_b.size() - 1 - d] : 1;
    Require(ea == eb || ea == 1 || eb == 1, "batch extents do not broadcast");
    lead[lead.size() - 1 - d] = ea == 1 ? eb : ea;
  }
  p.batch = CountOf(lead);
  p.a_offset = BatchIndices(lead_a, lead);
  for (int64_t& offset : p.a_offset) offset *= p.m * p.k;
  p.b_index = BatchIndices(lead_b, lead);
  return Finish(std::move(p), spec, plan);
}

}  // namespace bitlite
