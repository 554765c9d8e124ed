// packed_fully_connected: x [...,K] float32, w [O,K] int8 codes of `bits` 8 or 4, bias [O]?,
// scale [O], offset [O]; y = (x w') * scale + sum(x) * offset + bias. Attrs bits act keep_dims.
// block_fully_connected: the same with a scale, and a zero point? int8, for each block of `block`
// of K: [O, blocks]. w [O, blocks, bytes] uint8 holds codes raised by half of their range, of 4
// bits the lower half of a byte first; attr depth is K. The weights stay packed: memory is a
// quarter or an eighth of the float weights', and so is what a vector has to read. Of 4 bits a few
// rows go through gemv_s4 where their activations allow it; how many rows there are decides.
#include "packed_f32.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/common/activation.h"
#include "kernels/common/kernels.h"
#include "kernels/gemv_s4/digits.h"
#include "step.h"

namespace bitlite {
namespace {

constexpr int kMaxRows = 4;
constexpr int64_t kFewRows = 3;                          // that gemv_s4 is ahead with
constexpr int64_t kMostInBlock = kMostLines * kNibbles;  // of activations, for gemv_s4
constexpr int64_t kGroup = 4 * kPackedPanel;             // columns of a tile
constexpr int64_t kLine = 64;                            // bytes
static_assert(kGroup == kMostColumnsS4 && kPackedPanel == kColumnsS4);

int64_t CeilOf(int64_t a, int64_t b) { return (a + b - 1) / b; }

class PackedF32 final : public Step {
 public:
  PackedF32(int64_t m, int64_t n, int64_t k, int64_t block, int bits, const FusedAct& act,
            const PlanContext& plan)
      : m_(m),
        n_(n),
        k_(k),
        block_(block),
        of_k_(CeilOf(k, block)),
        bits_(bits),
        act_(act),
        kernel_(SelectKernel<packed_f32>(plan.isa).fn),
        unary_(SelectKernel<unary_f32>(plan.isa).fn),
        row_tiles_(std::max<int64_t>(1, CeilOf(m, kMaxRows))),
        groups_(std::max<int64_t>(1, CeilOf(n, kGroup))),
        lines_(bits == 8 ? k : of_k_ * CeilOf(block, kNibbles)),
        line_bytes_(bits == 8 ? 1 : kNibbles / 2),
        padded_(CeilOf(n, kPackedPanel) * kPackedPanel),
        digit_bytes_(CeilOf(DigitBytes(k, block), kLine) * kLine) {
    const Kernel<gemv_s4>& by_digits = SelectKernel<gemv_s4>(plan.isa);
    const bool few = m <= kFewRows && block <= kMostInBlock;
    if (bits == 4 && few && by_digits.isa != kIsaScalar) by_digits_ = by_digits.fn;
    const int64_t floats = CeilOf(kMaxRows * of_k_ * int64_t{sizeof(float)}, kLine) * kLine;
    units_at_ = floats;
    first_at_ = 2 * floats;
    digits_at_ = first_at_ + floats * kPairs;
    thread_scratch = static_cast<size_t>(floats);
    if (by_digits_ != nullptr) {
      thread_scratch = static_cast<size_t>(digits_at_ + kFewRows * digit_bytes_);
    }
    phases = {row_tiles_ * groups_};
    cost_ns = static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(m) / 20.0;
  }

  // scale, offset: of output j and block b at j * blocks + b; without offset codes are symmetric.
  // code: of output j and input i, signed.
  template <typename Code>
  void Pack(const Code& code, const float* bias, const float* scale, const float* offset) {
    bias_.Reset(static_cast<size_t>(padded_));
    scale_.Reset(static_cast<size_t>(padded_ * of_k_));
    offset_.Reset(offset == nullptr ? 0 : static_cast<size_t>(padded_ * of_k_));
    for (Aligned<float>* a : {&scale_, &offset_, &bias_}) {
      std::memset(a->data(), 0, a->size() * sizeof(float));
    }
    for (int64_t j = 0; j < n_; ++j) {
      if (bias != nullptr) bias_[j] = bias[j];
      for (int64_t b = 0; b < of_k_; ++b) {
        const int64_t from = j * of_k_ + b, to = FirstOf(j) * of_k_ + b * WidthOf(j) + j % kGroup;
        scale_[to] = scale[from];
        if (offset != nullptr) offset_[to] = offset[from] - Centre() * scale[from];
      }
    }
    w_.Reset(static_cast<size_t>(padded_ * lines_ * line_bytes_));
    std::memset(w_.data(), 0, w_.size());
    const int64_t of_block = lines_ / of_k_;
    for (int64_t j = 0; j < n_; ++j) {
      uint8_t* to = w_.data() + (FirstOf(j) * lines_ + j % kGroup) * line_bytes_;
      const int64_t line = WidthOf(j) * line_bytes_;
      for (int64_t i = 0; bits_ == 8 && i < k_; ++i) {
        to[i * line] = static_cast<uint8_t>(code(j, i));
      }
      for (int64_t b = 0; bits_ == 4 && b < of_k_; ++b, to += of_block * line) {
        const int64_t first = b * block_, count = std::min(block_, k_ - first);
        for (int64_t i = 0; i < count; ++i) {
          const unsigned raised = static_cast<unsigned>(code(j, first + i) + 8) & 15u;
          to[i / kNibbles * line + i % kNibbles / 2] |= static_cast<uint8_t>(raised << (i % 2 * 4));
        }
      }
    }
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const float* rows[kMaxRows];
    float* sums = reinterpret_cast<float*>(args.thread_scratch);
    PackedF32Tile t{};
    t.k = k_;
    t.block = block_;
    t.bits = bits_;
    t.centre = Centre();
    t.ldy = n_;
    t.lo = act_.lo;
    t.hi = act_.hi;
    int64_t summed = -1;
    int digits[kMaxRows] = {};  // of each row; 0: through floats
    for (int64_t item = begin; item < end; ++item) {
      const int64_t tile = item / groups_, column = item % groups_ * kGroup;
      const int64_t first = tile * kMaxRows;
      const int count = static_cast<int>(std::min<int64_t>(kMaxRows, m_ - first));
      if (count <= 0) continue;
      if (summed != tile) {
        for (int r = 0; r < count; ++r) {
          rows[r] = args.In<float>(0) + (first + r) * k_;
          if (by_digits_ != nullptr) digits[r] = MakeDigits(args.thread_scratch, rows[r], r);
          if (digits[r] > 0 && offset_.size() == 0) continue;
          for (int64_t b = 0; b < of_k_; ++b) {
            const int64_t begin = b * block_;
            sums[r * of_k_ + b] = SumOf(rows[r] + begin, std::min(block_, k_ - begin));
          }
        }
        summed = tile;
      }
      t.n = std::min(kGroup, n_ - column);
      t.width = WidthOf(column);
      t.w = w_.data() + column * lines_ * line_bytes_;
      t.scale = scale_.data() + column * of_k_;
      t.offset = offset_.size() == 0 ? nullptr : offset_.data() + column * of_k_;
      t.bias = bias_.data() + column;
      float* y = args.Out<float>(0) + first * n_ + column;
      // The rows at once, or where some have digits, each by itself.
      for (int r = 0, next; r < count; r = next) {
        next = by_digits_ == nullptr ? count : r + 1;
        t.a = rows + r;
        t.row_sums = sums + r * of_k_;
        t.rows = next - r;
        t.y = y + r * n_;
        if (digits[r] > 0) {
          RunDigits(t, args.thread_scratch, r, digits[r]);
        } else {
          kernel_(t);
        }
      }
      if (act_.unary) {
        for (int r = 0; r < count; ++r) act_.Apply(unary_, y + r * n_, t.n);
      }
    }
  }

 private:
  // The first column of the group of column j, and the columns that the group has.
  static int64_t FirstOf(int64_t j) { return j / kGroup * kGroup; }
  int64_t WidthOf(int64_t j) const { return std::min(kGroup, padded_ - FirstOf(j)); }
  // Nibbles are stored so much higher.
  float Centre() const { return bits_ == 8 ? 0.0f : 8.0f; }

  float* UnitsOf(uint8_t* scratch, int r) const {
    return reinterpret_cast<float*>(scratch + units_at_) + r * of_k_;
  }
  int32_t* FirstSumsOf(uint8_t* scratch, int r) const {
    return reinterpret_cast<int32_t*>(scratch + first_at_) + r * of_k_ * kPairs;
  }
  int8_t* DigitsAt(uint8_t* scratch, int r) const {
    return reinterpret_cast<int8_t*>(scratch + digits_at_ + r * digit_bytes_);
  }

  // The digits of row r, and what its sums start with; how many an activation has.
  int MakeDigits(uint8_t* scratch, const float* row, int r) const noexcept {
    int32_t* first = FirstSumsOf(scratch, r);
    const int digits = DigitsOf(row, k_, block_, DigitsAt(scratch, r), UnitsOf(scratch, r), first);
    const int32_t raised = offset_.size() == 0 ? static_cast<int32_t>(Centre()) : 0;
    for (int64_t i = 0; digits > 0 && i < of_k_ * kPairs; ++i) first[i] *= -raised;
    return digits;
  }

  void RunDigits(const PackedF32Tile& t, uint8_t* scratch, int r, int digits) const noexcept {
    GemvS4Tile d{};
    d.x = DigitsAt(scratch, r);
    d.units = UnitsOf(scratch, r);
    d.first = FirstSumsOf(scratch, r);
    d.row_sums = t.row_sums;
    d.digits = digits;
    d.blocks = of_k_;
    d.lines = lines_ / of_k_;
    d.width = t.width;
    d.w = reinterpret_cast<const uint32_t*>(t.w);
    d.scale = t.scale;
    d.offset = t.offset;
    d.bias = t.bias;
    d.y = t.y;
    d.n = t.n;
    d.lo = t.lo;
    d.hi = t.hi;
    by_digits_(d);
  }

  static float SumOf(const float* x, int64_t n) noexcept {
    constexpr int kChains = 16;
    float sums[kChains] = {};
    int64_t i = 0;
    for (; i + kChains <= n; i += kChains) {
      for (int c = 0; c < kChains; ++c) sums[c] += x[i + c];
    }
    for (; i < n; ++i) sums[0] += x[i];
    float sum = 0;
    for (float s : sums) sum += s;
    return sum;
  }

  const int64_t m_, n_, k_, block_, of_k_;  // of_k: blocks of K
  const int bits_;
  const FusedAct act_;
  packed_f32::Fn* const kernel_;
  unary_f32::Fn* const unary_;
  // lines_: of codes; line_bytes_: of a column in one; digit_bytes_: of a row's digits
  const int64_t row_tiles_, groups_, lines_, line_bytes_, padded_, digit_bytes_;
  gemv_s4::Fn* by_digits_ = nullptr;
  int64_t units_at_, first_at_, digits_at_;  // in scratch
  Aligned<uint8_t> w_;
  Aligned<float> scale_, offset_, bias_;
};

const float* FloatsOf(const TensorSpec& t, int64_t n) {
  Require(t.constant && t.dtype == DType::kF32 && t.count == n,
          "bias, scale or offset is not a float32 constant of one value per output");
  return static_cast<const float*>(t.data);
}

const float* Repeat(const float* values, int64_t n, int64_t times, std::vector<float>& to) {
  for (int64_t i = 0; i < n * times; ++i) to.push_back(values[i / times]);
  return to.data();
}

}  // namespace

std::unique_ptr<Step> MakePackedFullyConnected(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& w = plan.In(1);
  const bool blocked = spec.op == "block_fully_connected";
  const int bits = static_cast<int>(spec.Int("bits", 8));
  spec.Ignore("keep_dims");
  Require(bits == 8 || bits == 4, "bits are not 8 or 4");
  Require(w.constant && w.rank() == (blocked ? 3 : 2), "weights are not a constant matrix");
  Require(w.dtype == (blocked ? DType::kU8 : DType::kI8), "weights are not codes");
  const int64_t n = w.shape[0], k = blocked ? spec.Int("depth", 0) : w.shape[1];
  Require(k > 0 && x.count % k == 0, "input is not made of rows of the weight's K values");
  Require(x.dtype == DType::kF32 && plan.Out(0).dtype == DType::kF32, "operands are not float32");
  Require(plan.Out(0).count == x.count / k * n, "output shape does not follow from the inputs");
  int64_t block = blocked ? spec.Int("block", 0) : k;
  Require(block > 0 && (block % 2 == 0 || !blocked), "blocks are not of an even size");
  const int64_t scales = n * CeilOf(k, block), row = CeilOf(k, block) * block * bits / 8;
  Require(!blocked || w.count == n * row, "weights do not hold their blocks");
  const float* bias = plan.Has(2) ? FloatsOf(plan.In(2), n) : nullptr;
  const float* scale = FloatsOf(plan.In(3), scales);
  const float* offset = blocked ? nullptr : FloatsOf(plan.In(4), scales);
  const TensorSpec* zero = blocked ? plan.OptionalIn(4) : nullptr;
  Require(zero == nullptr || (zero->constant && zero->dtype == DType::kI8 && zero->count == scales),
          "zero points are not int8 constants of one per block");
  const FusedAct act = ParseAct(spec);
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  std::vector<float> offsets;
  if (zero != nullptr) {
    const int8_t* points = static_cast<const int8_t*>(zero->data);
    for (int64_t i = 0; i < scales; ++i) offsets.push_back(-points[i] * scale[i]);
    offset = offsets.data();
  }
  std::vector<float> repeated[2];
  if (!blocked && bits == 4 && k > kMostInBlock) {
    // One scale for all of k, as for blocks that digits can have.
    const int64_t parts = CeilOf(k, kMostInBlock);
    block = CeilOf(CeilOf(k, parts), kNibbles) * kNibbles;
    scale = Repeat(scale, n, CeilOf(k, block), repeated[0]);
    offset = Repeat(offset, n, CeilOf(k, block), repeated[1]);
  }
  auto step = std::make_unique<PackedF32>(x.count / k, n, k, block, bits, act, plan);
  if (!blocked) {
    const int8_t* codes = static_cast<const int8_t*>(w.data);
    step->Pack([&](int64_t j, int64_t i) { return codes[j * k + i]; }, bias, scale, offset);
    return step;
  }
  const uint8_t* bytes = static_cast<const uint8_t*>(w.data);
  const auto byte = [&](int64_t j, int64_t i) {
    return static_cast<int>(bytes[j * row + i * bits / 8]);
  };
  if (bits == 8) {
    step->Pack([&](int64_t j, int64_t i) { return byte(j, i) - 128; }, bias, scale, offset);
  } else {
    const auto nibble = [&](int64_t j, int64_t i) { return (byte(j, i) >> (i % 2 * 4) & 15) - 8; };
    step->Pack(nibble, bias, scale, offset);
  }
  return step;
}

}  // namespace bitlite
