// What calibration asks of activations: extremes and sums per channel, and counts per bin. On the
// kernels of the active instruction set; the results are the same bits on every one.
#pragma once

#include <cstdint>

namespace bitlite {

// x is [rows, channels]. low, high and sum are [channels] and are added to, so that rows may come
// in parts; sums run down the rows in order, in double. Returns false when a value is not finite.
bool ObserveChannels(const float* x, int64_t rows, int64_t channels, float* low, float* high,
                     double* sum);

// Extremes of n > 0 values. Returns false when a value is not finite.
bool Extremes(const float* x, int64_t n, float* low, float* high);

// Adds to counts[bins] the elements with floor(x * factor) - base = i, clamped to the bins, factor
// a power of two; returns how many are exactly 0. |x * factor| must be below 2^31.
int64_t CountBins(const float* x, int64_t n, float factor, int32_t base, int32_t bins,
                  int64_t* counts);

// x is [rows, channels] of codes. Gives sum[channels], and least[channels]: how many elements are
// the least of their channel, 0 where all of a channel are equal.
void ObserveCodes(const int8_t* x, int64_t rows, int64_t channels, int64_t* sum, int64_t* least);

}  // namespace bitlite
