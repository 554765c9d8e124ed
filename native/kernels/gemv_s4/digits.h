// Rows of float activations as digits for gemv_s4.
#pragma once

#include <cstdint>

namespace bitlite {

// Bytes that digits of k activations in blocks of `block` take.
int64_t DigitBytes(int64_t k, int64_t block);

// Writes the digits of a row x [k], the units of its blocks and
// the sums of each one's pairs of digits [block][kPairs], and gives how many digits an
// activation has: kDigits, kMostDigits, or 0 where those are too few for what is in a block beside
// its largest, or something is not finite; then nothing is to be used. Rounding an activation to
// its unit is off by 2^-16 of the mean of what else is in its block at most, and mostly by less
// than sums of float32 are.
int DigitsOf(const float* x, int64_t k, int64_t block, int8_t* digits, float* units,
             int32_t* sums) noexcept;

}  // namespace bitlite
