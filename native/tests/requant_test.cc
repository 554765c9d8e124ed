// The rounding of the integer kernels.
#include "requant.h"

#include "testing.h"

namespace bitlite {
namespace {

BITLITE_TEST(RoundingTiesGoToEven) {
  CHECK(RequantizeRneF32(5, 0.5f, 0, -128, 127) == 2);  // 2.5
  CHECK(RequantizeRneF32(7, 0.5f, 0, -128, 127) == 4);  // 3.5
  CHECK(RequantizeRneF32(-5, 0.5f, 0, -128, 127) == -2);
  CHECK(RequantizeRneF32(INT32_MAX, 1e9f, 1, -128, 127) == 127);
  CHECK(RequantizeRneF32(INT32_MIN, 1e9f, 1, -128, 127) == -128);
  CHECK(RequantizeRneF32(3, 1.0f, 100, -128, 101) == 101);
}

BITLITE_TEST(GemmlowpRoundsTwiceAndTiesAwayFromZero) {
  const GemmlowpMultiplier half = QuantizeMultiplier(0.5);
  CHECK(half.mantissa == 1 << 30 && half.exponent == 0);
  CHECK(RequantizeGemmlowp(5, half, 0, -128, 127) == 3);  // 2.5
  CHECK(RequantizeGemmlowp(-5, half, 0, -128, 127) ==
        -2);  // -2.5: the nudge of a product is not symmetric
  const GemmlowpMultiplier quarter = QuantizeMultiplier(0.25);
  CHECK(quarter.exponent == -1);
  CHECK(RequantizeGemmlowp(5, quarter, 0, -128, 127) ==
        2);  // 1.25 would be 1: 2.5 -> 3 -> 1.5 -> 2
  CHECK(SaturatingRoundingDoublingHighMul(INT32_MIN, INT32_MIN) == INT32_MAX);
  CHECK(RoundingDivideByPot(-3, 1) == -2);
  CHECK(RoundingDivideByPot(3, 1) == 2);
}

}  // namespace

}  // namespace bitlite
