#include "pair_tables_s8.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/quant_step.h"
#include "requant.h"

namespace bitlite {
namespace {

constexpr int64_t kVector = 16;  // elements of a vector of MindSpore Lite's sums

// How many elements MindSpore Lite adds in one go: all, or those of the trailing dimensions that
// the operands share.
int64_t SumRun(const TensorSpec& a, const TensorSpec& b, const TensorSpec& y) {
  if (a.count == 1 || b.count == 1) return y.count;
  int64_t run = 1;
  for (int d = 1; d <= std::min(a.rank(), b.rank()); ++d) {
    const int64_t n = a.shape[static_cast<size_t>(a.rank() - d)];
    if (n != b.shape[static_cast<size_t>(b.rank() - d)]) break;
    run *= n;
  }
  return run;
}

RoundingTieBand TieBandOf(const BinaryS8Args& args, const PairTables& tables, bool product) {
  const float low = static_cast<float>(args.out.qmin - args.out.zero_point);
  const float high = static_cast<float>(args.out.qmax - args.out.zero_point);
  RoundingTieBand tie_band;
  for (int a = -128; a < 128; ++a) {
    for (int b = -128; b < 128; ++b) {
      const int32_t p = a - args.a_zero, q = b - args.b_zero;
      float v =
          product ? static_cast<float>(p * q) * args.lhs_scale
                  : static_cast<float>(p) * args.lhs_scale + static_cast<float>(q) * args.rhs_scale;
      v = v >= low ? v : low;  // also NaN
      v = v > high ? high : v;
      const int32_t whole = RneSmall(v), code = whole + args.out.zero_point;
      const size_t at = static_cast<size_t>((a + 128) * 256 + b + 128);
      if (tables.main[at] == code && (tables.tail.empty() || tables.tail[at] == code)) continue;
      const float rest = std::fabs(v - static_cast<float>(whole));
      if (rest < 0.25f && v < 0 && v > low) {
        tie_band.whole_rest = std::max(tie_band.whole_rest, rest);
      } else {
        tie_band.half_rest = std::min(tie_band.half_rest, rest);
      }
    }
  }
  return tie_band;
}

// value(a, b) of the codes a and b.
template <typename F>
std::vector<int8_t> TableOf(const OutputCodesS8& out, F value) {
  std::vector<int8_t> table(65536);
  for (int a = -128; a < 128; ++a) {
    for (int b = -128; b < 128; ++b) {
      const int64_t y = int64_t{value(a, b)} + out.zero_point;
      table[static_cast<size_t>((a + 128) * 256 + b + 128)] =
          static_cast<int8_t>(std::clamp<int64_t>(y, out.qmin, out.qmax));
    }
  }
  return table;
}

// a + sign * b: each operand is rescaled, then the sum. as_x86: see RescaleAsX86; sums come out of
// it in whole vectors of 16, what is left over and differences out of the scalar code.
std::vector<int8_t> SumTable(const BinaryS8Args& args, const GemmlowpSum& m, int sign,
                             bool as_x86) {
  const auto rescale = as_x86 ? RescaleAsX86 : Rescale;
  int32_t left[256], right[256];
  for (int c = -128; c < 128; ++c) {
    left[c + 128] = rescale((c - args.a_zero) * 1048576, m.a);
    right[c + 128] = rescale(sign * (c - args.b_zero) * 1048576, m.b);
  }
  return TableOf(args.out,
                 [&](int a, int b) { return rescale(left[a + 128] + right[b + 128], m.y); });
}

}  // namespace

PairTables GemmlowpTables(const std::string& op, const BinaryS8Args& args, const TensorSpec& a,
                          const TensorSpec& b, const TensorSpec& y) {
  PairTables tables;
  if (op == "mul") {
    const GemmlowpMultiplier m =
        QuantizeMultiplier(static_cast<float>(GemmlowpScale(ScaleOf(a), ScaleOf(b), ScaleOf(y))));
    tables.main = TableOf(
        args.out, [&](int x, int z) { return MulGemmlowp(x - args.a_zero, z - args.b_zero, m); });
    tables.tie_band = TieBandOf(args, tables, true);
    return tables;
  }
  const GemmlowpSum m = QuantizeSum(ScaleOf(a), ScaleOf(b), ScaleOf(y));
  if (op == "sub") {
    tables.main = SumTable(args, m, -1, false);
    tables.tie_band = TieBandOf(args, tables, false);
    return tables;
  }
  tables.run = SumRun(a, b, y);
  tables.rest = tables.run % kVector;
  tables.main = SumTable(args, m, 1, true);
  if (tables.rest > 0) tables.tail = SumTable(args, m, 1, false);
  tables.tie_band = TieBandOf(args, tables, false);
  return tables;
}

}  // namespace bitlite
