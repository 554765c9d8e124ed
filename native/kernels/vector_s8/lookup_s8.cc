// lut: int8 through a constant int8 table of 256 values, for code -128 first. Functions that are
// one or two lines between bounds, as relu6, hard_sigmoid, leaky_relu or a constant added, are
// computed in 16 bits, which is faster, where that gives the table's values for all 256 codes.
#include "lookup_s8.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>

#include "kernels/common/kernels.h"
#include "kernels/common/quant_step.h"
#include "kernels/common/tail_step.h"

namespace bitlite {
namespace {

constexpr int64_t kRun = 8192;
constexpr int kCodes = 256;
constexpr int kMostShift = 7;  // codes and their fractions fit 16 bits

constexpr int32_t kMostSlopes = 2000;  // tried on either side

// What a line must keep at each code, of the value in 2^-shift: whole[i] <= v >> shift <= whole[i],
// each side where it counts.
struct Bounds {
  std::array<int32_t, kCodes> value;
  std::array<bool, kCodes> from_below, from_above;
};

// A slope near `guess` and an offset that keep the bounds.
bool FindLine(const Bounds& bounds, double guess, double tolerance, int shift, int16_t* slope,
              int16_t* offset) {
  const int32_t middle = static_cast<int32_t>(std::lrint(guess));
  const int32_t reach = std::min(static_cast<int32_t>(tolerance) + 1, kMostSlopes);
  for (int32_t d = 0; d <= 2 * reach; ++d) {
    const int32_t m = middle + (d % 2 == 0 ? d / 2 : -(d + 1) / 2);
    if (m < INT16_MIN || m > INT16_MAX) continue;
    int32_t least = -16384, most = 16383;
    // Codes far from each other first: they reject most slopes.
    for (int k = 0; k < kCodes && least <= most; ++k) {
      const int i = k * 151 % kCodes;
      const int32_t product = (i - 128) * m >> 8;
      const int32_t floor = bounds.value[i] * (1 << shift);
      if (bounds.from_below[i]) least = std::max(least, floor - product);
      if (bounds.from_above[i]) most = std::min(most, floor + (1 << shift) - 1 - product);
    }
    if (least > most) continue;
    *slope = static_cast<int16_t>(m);
    *offset = static_cast<int16_t>(least + (most - least) / 2);
    return true;
  }
  return false;
}

// The lines through a table's values from code `first` to code `last`, beyond which it is flat.
class LineSearch {
 public:
  LineSearch(const int8_t* table, LinesS8* lines) : table_(table), lines_(lines) {
    const auto ends = std::minmax_element(table, table + kCodes);
    lines->low = *ends.first;
    lines->high = *ends.second;
    while (last_ > 0 && table[last_ - 1] == table[last_]) --last_;
    while (first_ < last_ && table[first_ + 1] == table[first_]) ++first_;
  }

  bool Find() {
    if (last_ - first_ < 2) return false;
    // A knee lies farthest from the chord between both ends.
    int knee = first_;
    double farthest = 0;
    for (int i = first_; i <= last_; ++i) {
      const double away = Away(first_, last_, i);
      if (std::abs(away) > std::abs(farthest)) farthest = away, knee = i;
    }
    lines_->greater = farthest < 0;
    if (std::abs(farthest) < kStraight && Fit({first_, last_}, {first_, last_})) return true;
    for (int k : {knee, knee - 1, knee + 1, knee - 2, knee + 2}) {
      if (k > first_ && k + 2 < last_ && Fit({first_, k}, {k + 1, last_})) return true;
    }
    return false;
  }

 private:
  struct Piece {
    int first, last;
  };
  static constexpr double kStraight = 1.1;  // codes from the chord, of rounded values

  double Slope(int a, int b) const { return double(table_[b] - table_[a]) / (b - a); }
  double Away(int a, int b, int i) const { return table_[i] - table_[a] - Slope(a, b) * (i - a); }

  bool Fit(Piece left, Piece right) const {
    const Piece pieces[] = {left, right};
    double steepest = 0;
    for (const Piece& p : pieces) {
      steepest = std::max(steepest, std::abs(Slope(p.first, p.last)) + 1.0 / (p.last - p.first));
      for (int i = p.first; i <= p.last; ++i) {
        if (std::abs(Away(p.first, p.last, i)) >= kStraight) return false;
      }
    }
    lines_->shift = kMostShift;
    while (lines_->shift > 0 && steepest * 256 * (1 << lines_->shift) > 32767) --lines_->shift;
    const bool single = left.last == right.last;
    for (int k = 0; k < 2; ++k) {
      const Piece p = pieces[k];
      Bounds bounds;
      for (int i = 0; i < kCodes; ++i) {
        // Flat ends belong to the piece beside them.
        const bool own = (i >= p.first || p.first == first_) && (i <= p.last || p.last == last_);
        bounds.value[i] = table_[i];
        bounds.from_below[i] = table_[i] > lines_->low && (own || single || !lines_->greater);
        bounds.from_above[i] = table_[i] < lines_->high && (own || single || lines_->greater);
      }
      const double unit = 256.0 * (1 << lines_->shift);
      if (!FindLine(bounds, Slope(p.first, p.last) * unit, 1.5 * unit / (p.last - p.first),
                    lines_->shift, &lines_->slope[k], &lines_->offset[k])) {
        return false;
      }
    }
    return true;
  }

  const int8_t* table_;
  LinesS8* lines_;
  int first_ = 0, last_ = kCodes - 1;
};

class LookupS8 final : public TailStep {
 public:
  LookupS8(int64_t count, IsaMask isa, int operand, const int8_t* table)
      : count_(count), operand_(operand), kernel_(SelectKernel<vector_s8>(isa).fn()) {
    std::memcpy(table_, table, sizeof(table_));
    if (LineSearch(table, &lines_).Find()) {
      int8_t codes[kCodes], values[kCodes];
      for (int i = 0; i < kCodes; ++i) codes[i] = static_cast<int8_t>(i - 128);
      kernel_.lines(codes, values, kCodes, lines_);
      straight_ = std::memcmp(values, table, kCodes) == 0;
    }
    phases = {CeilDiv(count, kRun)};
    cost_ns = static_cast<double>(count) * 0.1;
    in_place = 1u << operand;
    tail_operand = operand;
    tail_unit = 1;
  }

  bool straight() const { return straight_; }

  void Run(const StepArgs& args, int, int64_t begin, int64_t end) const noexcept override {
    const int64_t first = begin * kRun, n = std::min(count_, end * kRun) - first;
    if (n > 0) RunElements(args, {first, n});
  }

  void RunElements(const StepArgs& args, Elements elements) const noexcept override {
    const int64_t n = elements.count;
    const int8_t* x = args.In<int8_t>(operand_) + elements.first;
    int8_t* y = args.Out<int8_t>(0) + elements.first;
    if (straight_) {
      kernel_.lines(x, y, n, lines_);
    } else {
      kernel_.lookup(x, y, n, table_);
    }
  }

 private:
  const int64_t count_;
  const int operand_;
  const VectorS8Kernel& kernel_;
  alignas(64) int8_t table_[kCodes];
  LinesS8 lines_{};
  bool straight_ = false;
};

}  // namespace

std::unique_ptr<Step> MakeLookup(int64_t count, IsaMask isa, int operand, const int8_t* table) {
  return std::make_unique<LookupS8>(count, isa, operand, table);
}

std::unique_ptr<Step> MakeLines(int64_t count, IsaMask isa, int operand, const int8_t* table) {
  auto step = std::make_unique<LookupS8>(count, isa, operand, table);
  return step->straight() ? std::move(step) : nullptr;
}

std::unique_ptr<Step> MakeLookupS8(const StepSpec&, PlanContext& plan) {
  const TensorSpec& x = plan.In(0);
  const TensorSpec& table = plan.In(1);
  const TensorSpec& y = plan.Out(0);
  Require(x.count == y.count, "input and output differ in shape");
  Require(x.dtype == DType::kI8 && y.dtype == DType::kI8, "input and output are not int8");
  Require(table.constant && table.dtype == DType::kI8 && table.count == kCodes,
          "the table is not a constant of 256 int8 values");
  if (x.constant) plan.KeepConstant(0);
  if (plan.check_only) return nullptr;
  return MakeLookup(x.count, plan.isa, 0, static_cast<const int8_t*>(table.data));
}

}  // namespace bitlite
