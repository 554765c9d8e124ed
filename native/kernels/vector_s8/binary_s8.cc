// add, sub, mul, prelu (with requantization) and maximum, minimum (equal parameters) on int8, with
// numpy's broadcasting.
//   attrs  act qmin qmax rounding (add, sub, mul)
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/common/broadcast.h"
#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "kernels/common/tail_step.h"
#include "lookup_s8.h"
#include "pair_tables_s8.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int64_t kRun = 8192;        // elements of a work item when the operands are one run
constexpr int64_t kShortRun = 2048;   // of fewer elements, several runs are worked on as one
constexpr int64_t kSpread = 8192;     // elements of such runs together
constexpr size_t kCell = 16;          // bytes written at once where one code fills a run
constexpr int64_t kHeld = 2048;       // values of an operand that repeats, held as floats
constexpr int64_t kVectorCodes = 32;  // codes that are worked on at once
constexpr int64_t kFloats = 4;        // floats that are written at once
constexpr int64_t kRound = 256;       // elements rounded before those near a tie are looked up

// The operand that repeats, whose floats RowsS8Args takes.
struct RowValues {
  int operand = -1;  // none: the step works on runs
  int32_t zero = 0;
  float scale = 0, a_scale = 0, b_scale = 0;  // its floats: (code - zero) * scale
};

class BinaryS8 final : public TailStep {
 public:
  enum class Op { kAdd, kMul, kPRelu, kMaximum, kMinimum, kTable };

  BinaryS8(Op op, const BroadcastSpace& space, const BinaryS8Args& args, int64_t count, IsaMask isa)
      : op_(op), space_(space), args_(args), kernel_(SelectKernel<vector_s8>(isa).fn()) {
    if (space_.extents.size() == 1) {
      space_.extents.insert(space_.extents.begin(), 1);
      space_.a_strides.insert(space_.a_strides.begin(), 0);
      space_.b_strides.insert(space_.b_strides.begin(), 0);
    }
    last_ = space_.extents.size() - 1;
    run_ = space_.extents[last_];
    rows_ = space_.extents[last_ - 1];
    if (run_ > 0 && run_ < kShortRun) {
      joined_ = std::max<int64_t>(1, std::min(rows_, kSpread / run_));
    }
    chunks_ = CeilDiv(rows_, joined_);
    // Long runs are cut, so that there is something to share out.
    pieces_ = CeilDiv(run_, kRun);
    int64_t items = chunks_ * pieces_;
    for (size_t d = 0; d + 1 < last_; ++d) items *= space_.extents[d];
    phases = {items};
    cost_ns = static_cast<double>(count) * 0.05 + static_cast<double>(items) * 5;
  }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    if (row_values_.operand >= 0) return RunRows(args, begin, end);
    BinaryS8Args t = args_;
    Spread a(Operand(args, 0), space_.a_strides[last_ - 1], space_.a_strides[last_]);
    Spread b(Operand(args, 1), space_.b_strides[last_ - 1], space_.b_strides[last_]);
    for (int64_t item = begin; item < end; ++item) {
      const Piece at = Find(item);
      t.n = at.n;
      t.a = a.Find(at.a, at.row, at.first, t.n, *this, &t.a_step);
      t.b = b.Find(at.b, at.row, at.first, t.n, *this, &t.b_step);
      t.y = args.Out<int8_t>(0) + at.y_row + at.first;
      if (op_ == Op::kAdd) {
        kernel_.add(t);
      } else if (op_ == Op::kMul) {
        kernel_.mul(t);
      } else if (op_ == Op::kPRelu) {
        kernel_.prelu(t);
      } else if (op_ == Op::kTable) {
        Round(t, at.y_row + at.first);
      } else {
        Order(t);
      }
    }
  }

  void SetTables(PairTables tables, bool product) {
    tables_ = std::move(tables);
    round_ = product ? kernel_.mul_flagging_ties : kernel_.add_flagging_ties;
    cost_ns *= 2;
  }

  // Which operand repeats in rows of the other one, so that its floats can be held: -1 if none.
  int Repeats() const {
    for (int i : {1, 0}) {
      const std::vector<int64_t>& of = i == 0 ? space_.a_strides : space_.b_strides;
      const std::vector<int64_t>& other = i == 0 ? space_.b_strides : space_.a_strides;
      const bool whole = other[last_] == 1 && (joined_ == 1 || other[last_ - 1] == run_);
      const bool columns = of[last_] == 1 && of[last_ - 1] == 0 && run_ <= kHeld && rows_ > 1;
      if (whole && (columns || of[last_] == 0)) return i;
    }
    return -1;
  }

  void SetRows(const RowValues& values) {
    row_values_ = values;
    if (values.operand < 0 || space_.extents.size() != 2) return;
    const std::vector<int64_t>& of = values.operand == 0 ? space_.a_strides : space_.b_strides;
    if (of[last_] != 1 || of[last_ - 1] != 0) return;
    tail_operand = 1 - values.operand;
    tail_unit = run_;
  }

  // With the slopes of prelu's columns, constants: one factor for each instead of a product with
  // the slope and one with the scale, where that gives the same codes for all columns.
  void JoinFactors(const std::vector<int8_t>& slopes) {
    if (row_values_.operand != 1 || static_cast<int64_t>(slopes.size()) != run_ || run_ > kHeld) {
      return;
    }
    std::vector<float> factors;
    for (int8_t slope : slopes) {
      const float factor = FactorOf(slope);
      if (std::isnan(factor)) return;
      factors.push_back(factor);
    }
    factors_ = std::move(factors);
    row_values_.b_scale = 1;
  }

  // Of whole rows with columns that repeat for all of them.
  void RunElements(const StepArgs& args, Elements elements) const noexcept override {
    const int small = row_values_.operand;
    float held[kHeld + kVectorCodes];
    RowsS8Args t = RowsOf(small);
    t.b = held;
    t.a = Operand(args, 1 - small) + elements.first;
    t.y = args.Out<int8_t>(0) + elements.first;
    HoldColumns(Operand(args, small), held);
    RunPeriods(t, elements.count);
  }

  // A constant that the step keeps in a form of its own.
  void Hold(int i, std::vector<int8_t> data) { held_[i] = std::move(data); }

 private:
  int32_t CodeOf(float v) const {
    return RoundClamp(v, args_.out.zero_point, args_.out.qmin, args_.out.qmax);
  }

  // What takes every negative value less the zero point to what is rounded to the code that prelu
  // gives; NaN if none is found.
  float FactorOf(int8_t slope) const {
    constexpr int kTried = 4;  // on either side
    const int32_t b = slope - args_.b_zero;
    const float middle = static_cast<float>(static_cast<double>(b) * args_.lhs_scale);
    float below = middle, above = middle;
    for (int k = 0; k <= 2 * kTried; ++k) {
      const float factor = k % 2 == 0 ? below : above;
      bool same = true;
      for (int32_t p = -128 - args_.a_zero; p < 0 && same; ++p) {
        same = CodeOf(static_cast<float>(p) * factor) ==
               CodeOf(static_cast<float>(p * b) * args_.lhs_scale);
      }
      if (same) return factor;
      if (k % 2 == 0) above = std::nextafter(above, INFINITY);
      if (k % 2 == 1) below = std::nextafter(below, -INFINITY);
    }
    return NAN;
  }

  const int8_t* Operand(const StepArgs& args, int i) const noexcept {
    return held_[i].empty() ? args.In<int8_t>(i) : held_[i].data();
  }

  // Where the operands and the output of an item lie: n elements from `first` of `row` on.
  struct Piece {
    int64_t a = 0, b = 0, row, y_row, first = 0, n;
  };

  Piece Find(int64_t item) const noexcept {
    Piece at;
    int64_t outer = item / pieces_ / chunks_;
    at.row = item / pieces_ % chunks_ * joined_;
    at.y_row = (outer * rows_ + at.row) * run_;
    for (size_t d = last_ - 1; d-- > 0;) {
      const int64_t index = outer % space_.extents[d];
      outer /= space_.extents[d];
      at.a += index * space_.a_strides[d];
      at.b += index * space_.b_strides[d];
    }
    if (joined_ == 1) {
      at.first = run_ * (item % pieces_) / pieces_;
      at.n = run_ * (item % pieces_ + 1) / pieces_ - at.first;
    } else {
      at.n = std::min(joined_, rows_ - at.row) * run_;
    }
    return at;
  }

  // Rows of the one operand with values of the other that repeat.
  void RunRows(const StepArgs& args, int64_t begin, int64_t end) const noexcept {
    const int small = row_values_.operand;
    const std::vector<int64_t>& of = small == 0 ? space_.a_strides : space_.b_strides;
    const std::vector<int64_t>& other = small == 0 ? space_.b_strides : space_.a_strides;
    float held[kHeld + kVectorCodes];
    const int8_t* held_from = nullptr;
    RowsS8Args t = RowsOf(small);
    t.b = held;
    for (int64_t item = begin, next; item < end; item = next) {
      Piece at = Find(item);
      next = item + 1;
      if (joined_ > 1) {
        // Items follow one another, those of short runs as rows of one.
        next = std::min(end, (item / chunks_ + 1) * chunks_);
        at.n = std::min((next - item) * joined_, rows_ - at.row) * run_;
      }
      const int8_t* x = Operand(args, small) + (small == 0 ? at.a : at.b) + at.row * of[last_ - 1];
      t.a = Operand(args, 1 - small) + (small == 0 ? at.b : at.a) + at.row * other[last_ - 1] +
            at.first;
      t.y = args.Out<int8_t>(0) + at.y_row + at.first;
      if (of[last_] == 0) {
        RunByRow(x, of[last_ - 1], joined_ == 1 ? 1 : at.n / run_, joined_ == 1 ? at.n : run_, t,
                 held);
        continue;
      }
      if (held_from != x) HoldColumns(x, held);
      held_from = x;
      RunPeriods(t, at.n);
    }
  }

  auto OfRows() const noexcept -> void (*)(const RowsS8Args&) {
    return op_ == Op::kAdd   ? kernel_.add_rows
           : op_ == Op::kMul ? kernel_.mul_rows
                             : kernel_.prelu_rows;
  }

  RowsS8Args RowsOf(int small) const noexcept {
    RowsS8Args t{};
    t.a_zero = small == 0 ? args_.b_zero : args_.a_zero;
    t.a_scale = row_values_.a_scale;
    t.b_scale = row_values_.b_scale;
    t.out = args_.out;
    return t;
  }

  // Narrow columns are repeated until they fill whole vectors.
  int64_t Period() const noexcept {
    const int64_t copies = kVectorCodes / std::gcd(run_, kVectorCodes);
    return run_ * (run_ * copies <= kHeld ? copies : 1);
  }

  void HoldColumns(const int8_t* x, float* held) const noexcept {
    if (factors_.empty()) {
      kernel_.dequantize(x, held, run_, row_values_.zero, row_values_.scale);
    } else {
      std::copy(factors_.begin(), factors_.end(), held);
    }
    const int64_t period = Period();
    for (int64_t i = run_; i < period; ++i) held[i] = held[i - run_];
  }

  // n elements of rows whose values t.b has for a period.
  void RunPeriods(RowsS8Args t, int64_t n) const noexcept {
    const int64_t period = Period();
    const auto run = OfRows();
    t.rows = n / period;
    t.n = period;
    if (t.rows > 0) run(t);
    t.a += t.rows * period;
    t.y += t.rows * period;
    t.n = n - t.rows * period;
    t.rows = 1;
    if (t.n > 0) run(t);
  }

  float ValueOf(int8_t code) const noexcept {
    return static_cast<float>(code - row_values_.zero) * row_values_.scale;
  }

  // One value for each row; of narrow ones a value for each element.
  void RunByRow(const int8_t* x, int64_t step, int64_t rows, int64_t n, RowsS8Args t,
                float* held) const noexcept {
    const auto run = OfRows();
    t.by_row = n >= kVectorCodes / 2;
    const int64_t most = t.by_row ? kHeld : kHeld / n;
    for (int64_t first = 0; first < rows; first += most) {
      const int64_t some = std::min(most, rows - first);
      if (t.by_row) {
        if (step == 1) {
          kernel_.dequantize(x, held, some, row_values_.zero, row_values_.scale);
        } else {
          for (int64_t r = 0; r < some; ++r) held[r] = ValueOf(x[r * step]);
        }
      } else {
        SpreadValues(x, step, some, n, held);
      }
      x += some * step;
      t.rows = t.by_row ? some : 1;
      t.n = t.by_row ? n : some * n;
      run(t);
      t.a += some * n;
      t.y += some * n;
    }
  }

  // The value of each of `rows` codes for n elements.
  void SpreadValues(const int8_t* x, int64_t step, int64_t rows, int64_t n,
                    float* held) const noexcept {
    for (int64_t r = 0; r < rows; ++r, x += step, held += n) {
      const float value = ValueOf(*x);
      const float cell[kFloats] = {value, value, value, value};
      // The next row overwrites what a whole cell has too much.
      for (int64_t i = 0; i < n; i += kFloats) std::memcpy(held + i, cell, sizeof(cell));
    }
  }

  // An operand as elements that go on evenly through joined runs: in its own place where they do,
  // else in a copy, which stays for the runs that repeat it.
  struct Spread {
    Spread(const int8_t* x, int64_t of_row, int64_t of_element)
        : data(x), row_stride(of_row), step(of_element) {}

    const int8_t* data;
    const int64_t row_stride, step;
    const int8_t* held = nullptr;  // what the copy was made from
    int8_t copy[kSpread + kCell];

    const int8_t* Find(int64_t at, int64_t row, int64_t first, int64_t n, const BinaryS8& of,
                       int64_t* own_step) noexcept {
      const int8_t* x = data + at + row * row_stride + first * step;
      *own_step = step;
      if (of.joined_ == 1 || row_stride == step * of.run_) return x;
      *own_step = 1;
      if (row_stride != 0) {
        Copy(x, n / of.run_, of.run_);
      } else if (held != x) {
        Copy(x, of.joined_, of.run_);
        held = x;
      }
      return copy;
    }

    void Copy(const int8_t* x, int64_t rows, int64_t run) noexcept {
      const size_t n = static_cast<size_t>(run);
      int8_t* to = copy;
      for (int64_t r = 0; r < rows; ++r, to += run, x += row_stride) {
        if (step != 0) {
          std::memcpy(to, x, n);
        } else {
          // The next run overwrites what a whole cell has too much.
          std::memset(to, *x, n <= kCell ? kCell : n);
        }
      }
    }
  };

  // at: the position of t's first element in the output.
  void Round(BinaryS8Args t, int64_t at) const noexcept {
    const int64_t end = at + t.n;
    int8_t* y = t.y;  // may be an operand
    int8_t codes[kRound];
    uint64_t near_tie[kRound / 8];
    for (; at < end; at += kRound) {
      t.n = std::min(kRound, end - at);
      t.y = codes;
      near_tie[(t.n - 1) / 8] = 0;
      round_(t, tables_.tie_band, reinterpret_cast<uint8_t*>(near_tie));
      for (int64_t word = 0; word * 8 < t.n; ++word) {
        if (near_tie[word] != 0) LookUp(t, at, word * 8, std::min(t.n, word * 8 + 8));
      }
      std::memcpy(y, codes, static_cast<size_t>(t.n));
      y += kRound;
      t.a += kRound * t.a_step;
      t.b += kRound * t.b_step;
    }
  }

  void LookUp(const BinaryS8Args& t, int64_t at, int64_t first, int64_t last) const noexcept {
    for (int64_t i = first; i < last; ++i) {
      const bool tail = tables_.rest > 0 && (at + i) % tables_.run >= tables_.run - tables_.rest;
      const int a = t.a[i * t.a_step] + 128, b = t.b[i * t.b_step] + 128;
      t.y[i] = (tail ? tables_.tail : tables_.main)[static_cast<size_t>(a * 256 + b)];
    }
  }

  void Order(const BinaryS8Args& t) const noexcept {
    if (t.a_step == 1 && t.b_step == 1) {
      if (t.y != t.a) std::memcpy(t.y, t.a, static_cast<size_t>(t.n));
      (op_ == Op::kMaximum ? kernel_.maximum : kernel_.minimum)(t.y, t.b, t.n);
      return;
    }
    const int8_t* x = t.a_step == 0 ? t.b : t.a;
    const int8_t value = t.a_step == 0 ? *t.a : *t.b;
    kernel_.clamp(x, t.y, t.n, op_ == Op::kMaximum ? value : -128,
                  op_ == Op::kMaximum ? 127 : value);
  }

  const Op op_;
  BroadcastSpace space_;  // of at least two dimensions
  const BinaryS8Args args_;
  const VectorS8Kernel& kernel_;
  size_t last_;  // the dimension of the runs
  int64_t run_, rows_, chunks_, pieces_;
  int64_t joined_ = 1;  // rows that are worked on as one run
  std::vector<int8_t> held_[2];
  PairTables tables_;
  RowValues row_values_;
  std::vector<float> factors_;  // of columns: see JoinFactors
  void (*round_)(const BinaryS8Args&, const RoundingTieBand&, uint8_t*) = nullptr;
};

// A constant operand may be uint8: the same values as int8 with the zero point 128 lower.
bool IsShifted(const TensorSpec& t) { return t.constant && t.dtype == DType::kU8; }

int32_t ZeroPointOfCodes(const TensorSpec& t) { return ZeroPointOf(t) - (IsShifted(t) ? 128 : 0); }

// The codes of a constant as int8.
std::vector<int8_t> CodesOf(const TensorSpec& t) {
  const int flip = IsShifted(t) ? 0x80 : 0;
  const uint8_t* data = static_cast<const uint8_t*>(t.data);
  std::vector<int8_t> codes(static_cast<size_t>(t.count));
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<int8_t>(data[i] ^ flip);
  return codes;
}

// With a constant of one element: a function of the other operand's code; null where rows are
// faster.
std::unique_ptr<Step> OfOneCode(BinaryS8::Op op, BinaryS8Args args, const PlanContext& plan,
                                int constant) {
  const TensorSpec& t = plan.In(constant);
  const int8_t held = CodesOf(t)[0];
  int8_t codes[256], values[256];
  for (int i = 0; i < 256; ++i) codes[i] = static_cast<int8_t>(i - 128);
  args.a = constant == 0 ? &held : codes;
  args.b = constant == 1 ? &held : codes;
  args.a_step = constant != 0;
  args.b_step = constant != 1;
  args.y = values;
  args.n = 256;
  const VectorS8Kernel& kernel = SelectKernel<vector_s8>(plan.isa).fn();
  (op == BinaryS8::Op::kAdd   ? kernel.add
   : op == BinaryS8::Op::kMul ? kernel.mul
                              : kernel.prelu)(args);
  const int64_t n = plan.Out(0).count;
  // Tables are behind arithmetic without AVX-512.
  if ((plan.isa & kIsaAvx512) == 0) return MakeLines(n, plan.isa, 1 - constant, values);
  return MakeLookup(n, plan.isa, 1 - constant, values);
}

// The values of the operand that repeats, unless results may pass the range of the kernels.
RowValues FindRowValues(BinaryS8::Op op, const BinaryS8Args& args, int operand) {
  constexpr float kLargest = 8192.0f;  // two codes times it are within 2^22
  RowValues values;
  const bool adds = op == BinaryS8::Op::kAdd, first = operand == 0;
  if (operand < 0 || (op == BinaryS8::Op::kPRelu && first)) return values;
  const float own = adds ? (first ? args.lhs_scale : args.rhs_scale) : 1;
  values.a_scale = first ? args.lhs_scale : args.rhs_scale;
  if (adds) values.a_scale = first ? args.rhs_scale : args.lhs_scale;
  values.b_scale = adds ? 1 : args.lhs_scale;
  for (float scale : {own, op == BinaryS8::Op::kMul ? 1 : values.a_scale, values.b_scale * 256}) {
    if (!(std::fabs(scale) < kLargest)) return values;
  }
  values.zero = first ? args.a_zero : args.b_zero;
  values.scale = own;
  values.operand = operand;
  return values;
}

}  // namespace

std::unique_ptr<Step> MakeBinaryS8(const StepSpec& spec, PlanContext& plan) {
  const TensorSpec& a = plan.In(0);
  const TensorSpec& b = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  for (const TensorSpec* t : {&a, &b}) {
    Require(t->dtype == DType::kI8 || IsShifted(*t), "an operand is not int8");
  }
  Require(y.dtype == DType::kI8, "the output is not int8");
  const BroadcastSpace space = MergeBroadcast(a.shape, b.shape, y.shape);
  BinaryS8Args args{};
  BinaryS8::Op op = BinaryS8::Op::kAdd;
  if (spec.op == "maximum" || spec.op == "minimum") {
    Require(a.quantized() && SameQuant(a, b) && SameQuant(a, y),
            "operands and output differ in quantization");
    op = spec.op == "maximum" ? BinaryS8::Op::kMaximum : BinaryS8::Op::kMinimum;
  } else {
    const Range range = OutputRange(spec, y);
    args.a_zero = ZeroPointOfCodes(a);
    args.b_zero = ZeroPointOfCodes(b);
    args.out = {ZeroPointOf(y), range.qmin, range.qmax};
    if (spec.op == "mul") {
      op = BinaryS8::Op::kMul;
      args.lhs_scale = static_cast<float>(ScaleOf(a) * ScaleOf(b) / ScaleOf(y));
    } else if (spec.op == "prelu") {
      op = BinaryS8::Op::kPRelu;
      args.lhs_scale = static_cast<float>(ScaleOf(a) * ScaleOf(b) / ScaleOf(y));
      args.rhs_scale = static_cast<float>(ScaleOf(a) / ScaleOf(y));
    } else {
      args.lhs_scale = static_cast<float>(ScaleOf(a) / ScaleOf(y));
      args.rhs_scale = static_cast<float>(ScaleOf(b) / ScaleOf(y));
      if (spec.op == "sub") args.rhs_scale = -args.rhs_scale;
    }
  }
  const bool sums = spec.op == "add" || spec.op == "sub" || spec.op == "mul";
  const bool gemmlowp = sums && RoundsAsGemmlowp(spec);
  if (gemmlowp) op = BinaryS8::Op::kTable;
  if (a.constant && !IsShifted(a)) plan.KeepConstant(0);
  if (b.constant && !IsShifted(b)) plan.KeepConstant(1);
  if (plan.check_only) return nullptr;
  for (int i = 0; i < 2; ++i) {
    const bool single =
        plan.In(i).constant && plan.In(i).count == 1 && plan.In(1 - i).count == y.count;
    if (single &&
        (op == BinaryS8::Op::kAdd || op == BinaryS8::Op::kMul || op == BinaryS8::Op::kPRelu)) {
      if (auto step = OfOneCode(op, args, plan, i)) return step;
    }
  }
  auto step = std::make_unique<BinaryS8>(op, space, args, y.count, plan.isa);
  if (gemmlowp) {
    step->SetTables(GemmlowpTables(spec.op, args, a, b, y), spec.op == "mul");
  }
  if (op == BinaryS8::Op::kAdd || op == BinaryS8::Op::kMul || op == BinaryS8::Op::kPRelu) {
    const int repeated = step->Repeats();
    step->SetRows(FindRowValues(op, args, repeated));
  }
  if (op == BinaryS8::Op::kPRelu && b.constant) step->JoinFactors(CodesOf(b));
  for (int i = 0; i < 2; ++i) {
    if (IsShifted(plan.In(i))) step->Hold(i, CodesOf(plan.In(i)));
  }
  if (a.shape == y.shape) step->in_place |= 1u;
  // maximum and minimum first copy a.
  if (b.shape == y.shape && op != BinaryS8::Op::kMaximum && op != BinaryS8::Op::kMinimum) {
    step->in_place |= 2u;
  }
  return step;
}

}  // namespace bitlite
