#include "rnn_matrix.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/common/kernels.h"
#include "kernels/gemm_s8/spatial_s8.h"

namespace bitlite {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Vectors of a block with which tiles load least: mr rows and nv vectors for mr * nv products.
int WidestBlocks(const GemmS8Kernel& kernel, int64_t rows) {
  const auto loads = [&](int nv) {
    const double mr = static_cast<double>(rows) / CeilDiv(rows, kernel.max_mr[nv]);
    return 1 / mr + 1.0 / nv;
  };
  int best = std::max(kernel.max_nv, kernel.few_rows_nv);
  for (int nv = best - 1; nv > 0; --nv) {
    if (loads(nv) < loads(best)) best = nv;
  }
  return best;
}

// Of a row of activations: `split` works on whole vectors.
constexpr int64_t kRowAlignment = 32;

size_t Lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

void RnnRange::Take(const RnnRange& other) noexcept {
  low = std::min(low, other.low);
  high = std::max(high, other.high);
}

int64_t RnnGates::RowOf(int64_t column) const {
  const int64_t unit = column / (count * kRnnBlock) * kRnnBlock + column % kRnnBlock;
  const int64_t gate = first + column / kRnnBlock % count;
  return unit < hidden ? gate * hidden + unit : -1;
}

Aligned<float> InColumns(const float* values, const RnnGates& gates) {
  Aligned<float> y(static_cast<size_t>(gates.columns()));
  for (int64_t c = 0; c < gates.columns(); ++c) {
    const int64_t row = gates.RowOf(c);
    y[c] = row < 0 || values == nullptr ? 0.0f : values[row];
  }
  return y;
}

RnnCodes::RnnCodes(const GemmS8Kernel& kernel, const VectorS8Kernel& vector, int64_t k,
                   int64_t rows, bool sums)
    : kernel_(&kernel),
      vector_(&vector),
      k_(k),
      row_bytes_(CeilDiv(k, kRowAlignment) * kRowAlignment),
      signs_(kernel.plane_bytes(rows * row_bytes_)),
      summed_(sums) {
  sums_ = Lines(static_cast<size_t>(rows) * sizeof(void*));
  terms_ = sums_ + Lines(static_cast<size_t>(rows) * sizeof(int32_t));
  line_ = terms_ + Lines(static_cast<size_t>(rows) * sizeof(int32_t));
  image_ = line_ + Lines(static_cast<size_t>(k));
  bytes_ = image_ + static_cast<size_t>(kernel.image_bytes(rows * row_bytes_));
}

void RnnCodes::Take(uint8_t* memory, int64_t row, const int8_t* codes) const noexcept {
  uint8_t* to = memory + image_ + row * row_bytes_;
  kernel_->load(to, codes, k_);
  if (kernel_->split != nullptr) {
    static constexpr int32_t kSegment = 0;
    const int64_t steps = CeilDiv(k_, kernel_->kstep) * kernel_->kstep;
    kernel_->split(to, steps, signs_);
    kernel_->row_terms({&to, 1, &kSegment, 1, steps, signs_},
                       reinterpret_cast<int32_t*>(memory + terms_) + row);
  }
  if (!summed_) return;
  reinterpret_cast<int32_t*>(memory + sums_)[row] = static_cast<int32_t>(vector_->sum(codes, k_));
}

void RnnCodes::Quantize(uint8_t* memory, const float* x, int64_t rows, int64_t stride,
                        const DynamicS8& params) const noexcept {
  int8_t* line = reinterpret_cast<int8_t*>(memory + line_);
  for (int64_t r = 0; r < rows; ++r) {
    vector_->quantize(x + r * stride, line, k_, 1.0f / params.scale,
                      {params.zero_point, -128, 127});
    Take(memory, r, line);
  }
}

RnnCodes::Rows RnnCodes::All(uint8_t* memory, int64_t rows,
                             const DynamicS8& params) const noexcept {
  const uint8_t** address = reinterpret_cast<const uint8_t**>(memory);
  for (int64_t r = 0; r < rows; ++r) address[r] = memory + image_ + r * row_bytes_;
  return {address,
          reinterpret_cast<int32_t*>(memory + sums_),
          reinterpret_cast<int32_t*>(memory + terms_),
          signs_,
          rows,
          params};
}

RnnMatrix::RnnMatrix(const PlanContext& plan, const TensorSpec& w, int64_t d, const RnnGates& gates,
                     Aligned<float> bias, bool dynamic, int64_t rows, int64_t parts)
    : gates_(gates),
      k_(w.shape[2]),
      parts_(parts),
      biased_(bias.size() > 0),
      bias_(biased_ ? std::move(bias) : InColumns(nullptr, gates)) {
  if (dynamic) {
    // One kernel for all directions, which share the form of the activations.
    const PackedGemmS8::Weights all{
        static_cast<const uint8_t*>(w.data), w.shape[0] * w.shape[1], 1, k_, k_, 1};
    tiles_ = &FasterOfPairs(SelectGemmS8(plan.isa), {all});
    scale_ = SelectKernel<rnn_scale>(plan.isa).fn;
    PackCodes(w, d, rows);
  } else {
    gemm_ = SelectKernel<gemm_f32>(plan.isa);
    PackFloat(w, d);
  }
}

void RnnMatrix::PackFloat(const TensorSpec& w, int64_t d) {
  const WeightValues values(w);
  const float* from = values.data() + d * w.shape[1] * k_;
  const int64_t panels = gates_.columns() / kGemmPanel;
  // A line more: panels a multiple of 4 KiB apart would share their places in the cache.
  panel_stride_ = (k_ + 1) * kGemmPanel;
  w_.Reset(static_cast<size_t>(panels * panel_stride_));
  std::vector<float> rows(static_cast<size_t>(kGemmPanel * k_));
  for (int64_t p = 0; p < panels; ++p) {
    std::fill(rows.begin(), rows.end(), 0.0f);
    for (int64_t i = 0; i < kGemmPanel; ++i) {
      const int64_t row = gates_.RowOf(p * kGemmPanel + i);
      if (row >= 0) std::copy_n(from + row * k_, k_, rows.data() + i * k_);
    }
    PackPanels(rows.data(), kGemmPanel, k_, k_, 1, w_.data() + p * panel_stride_);
  }
}

void RnnMatrix::PackCodes(const TensorSpec& w, int64_t d, int64_t rows) {
  const int8_t* from = static_cast<const int8_t*>(w.data) + d * w.shape[1] * k_;
  const int64_t steps = CeilDiv(k_, tiles_->kstep), all = gates_.columns();
  nv_ = WidestBlocks(*tiles_, rows);
  int64_t bytes = 0;
  for (int64_t part = 0; part < parts_; ++part) {
    std::vector<Block> blocks;
    const int64_t end = Column(part + 1), wanted = CeilDiv(end - Column(part), nv_ * tiles_->lanes);
    for (int64_t column = Column(part); column < end;) {
      const int64_t left = wanted - static_cast<int64_t>(blocks.size());
      const int nv = static_cast<int>(CeilDiv(CeilDiv(end - column, tiles_->lanes), left));
      const int64_t columns = std::min<int64_t>(nv * tiles_->lanes, end - column);
      blocks.push_back({nv, column, columns, bytes});
      bytes += CeilDiv(steps * tiles_->kstep * nv * tiles_->lanes, 64) * 64;
      column += columns;
    }
    blocks_.push_back(std::move(blocks));
  }
  codes_.Reset(static_cast<size_t>(bytes));
  std::memset(codes_.data(), 0, codes_.size());
  for (Aligned<int32_t>* a : {&sums_, &none_}) {
    a->Reset(static_cast<size_t>(all));
    std::memset(a->data(), 0, a->size() * sizeof(int32_t));
  }
  scales_ = InColumns(nullptr, gates_);
  if (std::any_of(w.zero_point.begin(), w.zero_point.end(), [](int64_t z) { return z != 0; })) {
    zeros_.Reset(static_cast<size_t>(all));
    std::memset(zeros_.data(), 0, zeros_.size() * sizeof(int32_t));
  }
  for (std::vector<Block>& blocks : blocks_) {
    for (Block& block : blocks) {
      const int64_t width = block.nv * tiles_->lanes;
      for (int64_t i = 0; i < block.columns; ++i) {
        const int64_t column = block.column + i, row = gates_.RowOf(column);
        if (row < 0) continue;
        scales_[column] = static_cast<float>(PerColumn(w.scale, row));
        if (zeros_.size() > 0) zeros_[column] = static_cast<int32_t>(PerColumn(w.zero_point, row));
        int64_t sum = 0;
        for (int64_t k = 0; k < k_; ++k) {
          const int8_t code = from[row * k_ + k];
          sum += code;
          const int64_t step = k / tiles_->kstep, rest = k % tiles_->kstep;
          codes_[block.at + (step * width + i) * tiles_->kstep + rest] = code;
        }
        sums_[column] = Wrap(sum);
      }
      if (tiles_->pair_limit > 0) {
        block.excess = static_cast<int64_t>(excess_.steps.size());
        block.excess_at = static_cast<int64_t>(excess_.weights.size());
        block.excess_steps =
            TakeExcess(*tiles_, block.nv, 1, steps, codes_.data() + block.at, excess_);
      }
    }
  }
}

void RnnMatrix::Multiply(const float* const* x, int64_t m, int64_t part, bool backwards,
                         float* y) const noexcept {
  constexpr int64_t kColumnStep = 4 * kGemmPanel;
  constexpr int64_t kBlockFloats = 128 * 1024;
  const int64_t first = Column(part), end = Column(part + 1), tiles = CeilDiv(m, gemm_.mr);
  // Few rows read the weights once, from four places at a time, and from eight where they are many
  // (measured). For many rows a part of the weights stays in the second level of cache.
  constexpr int64_t kManyFloats = 768 * 1024;
  const int64_t few = k_ * (end - first) <= kManyFloats ? kColumnStep : 2 * kColumnStep;
  const int64_t block =
      tiles == 1 ? few : std::max(kColumnStep, kBlockFloats / k_ / kColumnStep * kColumnStep);
  GemmF32Tile t;
  t.taps = 1;
  t.kc = k_;
  t.panel_stride = panel_stride_;
  t.residual = nullptr;
  t.ldr = 0;
  t.ldy = gates_.columns();
  t.lo = -kInf;
  t.hi = kInf;
  const int64_t blocks = CeilDiv(end - first, block);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t column = first + (backwards ? blocks - 1 - b : b) * block;
    t.n = std::min(block, end - column);
    t.w = w_.data() + column / kGemmPanel * panel_stride_;
    t.bias = bias_.data() + column;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = m * tile / tiles;
      t.a = x + row;
      t.rows = static_cast<int>(m * (tile + 1) / tiles - row);
      t.y = y + row * t.ldy + column;
      gemm_.fn(t);
    }
  }
}

void RnnMatrix::Multiply(const RnnCodes::Rows& x, int64_t part, bool backwards,
                         float* y) const noexcept {
  static constexpr int32_t kSegment = 0;
  const int64_t all = gates_.columns();
  const int32_t factor = -tiles_->packed_value(x.params.zero_point);
  GemmS8Tile t{};
  t.segments = &kSegment;
  t.segment_count = 1;
  t.segment_steps = static_cast<int32_t>(CeilDiv(k_, tiles_->kstep));
  t.signs = x.signs;
  t.y_stride = all;
  t.out = wants_sums() ? GemmS8Out::kS32 : GemmS8Out::kF32;
  t.fmin = -kInf;
  t.fmax = kInf;
  t.bias = none_.data();
  t.sums_factor = factor;
  t.scale = x.params.scale;
  // Block by block: its weights stay in the first level of cache. Tiles of rows, the first ones a
  // row larger.
  const int64_t tiles = CeilDiv(x.count, tiles_->max_mr[nv_]);
  const int64_t least = x.count / tiles, larger = x.count % tiles;
  // Copies, for the tiles might change what the members point to, as far as the compiler knows.
  const GemmS8Kernel& kernel = *tiles_;
  const int8_t* const codes = codes_.data();
  const int32_t* const sums = wants_sums() ? nullptr : sums_.data();
  const float *const scales = scales_.data(), *const biases = bias_.data();
  const auto multiply = [&](const Block& block) {
    t.w = codes + block.at;
    t.excess = excess_.steps.data() + block.excess;
    t.excess_w = excess_.weights.data() + block.excess_at;
    t.excess_steps = block.excess_steps;
    if (sums != nullptr) t.sums = sums + block.column;
    t.multiplier = scales + block.column;
    t.bias_f32 = biases + block.column;
    t.n = static_cast<int32_t>(block.columns);
    const GemmS8TileFn fn = kernel.tile(block.nv, static_cast<int>(least));
    const GemmS8TileFn larger_fn =
        larger > 0 ? kernel.tile(block.nv, static_cast<int>(least + 1)) : fn;
    for (int64_t tile = 0, row = 0; tile < tiles; ++tile) {
      t.rows = x.address + row;
      if (kernel.row_terms != nullptr) t.row_add = x.terms + row;
      t.y = y + row * all + block.column;
      const bool is_larger = tile < larger;
      (is_larger ? larger_fn : fn)(t);
      row += least + (is_larger ? 1 : 0);
    }
  };
  // Only runs of blocks go backwards, for what is fetched ahead is the block behind; and only where
  // the weights are too many for most caches (measured).
  constexpr size_t kRunBytes = 64 * 1024, kManyBytes = 512 * 1024;
  const std::vector<Block>& blocks = blocks_[part];
  if (!backwards || codes_.size() <= kManyBytes * static_cast<size_t>(parts_)) {
    for (const Block& block : blocks) multiply(block);
  } else {
    const size_t run = std::max<size_t>(1, blocks.size() * kRunBytes * parts_ / codes_.size());
    for (size_t end = blocks.size(); end > 0;) {
      const size_t first = end - std::min(end, run);
      for (size_t b = first; b < end; ++b) multiply(blocks[b]);
      end = first;
    }
  }
  if (wants_sums()) ScaleRows(x, part, factor, y);
}

// Accumulators to floats, in place, where weights have zero points.
void RnnMatrix::ScaleRows(const RnnCodes::Rows& x, int64_t part, int32_t factor,
                          float* y) const noexcept {
  const int64_t first = Column(part);
  RnnScaleArgs s{};
  s.columns = Column(part + 1) - first;
  s.sums = sums_.data() + first;
  s.scales = scales_.data() + first;
  s.bias = biased_ ? bias_.data() + first : nullptr;
  s.zeros = zeros_.data() + first;
  s.factor = factor;
  s.scale = x.params.scale;
  for (int64_t r = 0; r < x.count; ++r) {
    s.y = y + r * gates_.columns() + first;
    s.acc = reinterpret_cast<const int32_t*>(s.y);
    const int64_t sum = x.sums[r] - k_ * x.params.zero_point;
    s.zeros_factor = Wrap(-sum);
    scale_(s);
  }
}

}  // namespace bitlite
