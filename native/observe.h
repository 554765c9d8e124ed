// What calibration asks of activations: extremes and sums per channel, and counts per bin.
#pragma once

#include <cstdint>

namespace bitlite {

// x is [rows, channels]. low, high and sum are [channels] and are added to, so that rows may come
// in parts; sums run down the rows in order, in double. Returns false when a value is not finite.
bool ObserveChannels(const float* x, int64_t rows, int64_t channels, float* low, float* high,
                     double* sum);

// Adds to counts[bins] the elements with floor(x * factor) - base = i, clamped to the bins, factor
// a power of two; returns how many are exactly 0. |x * factor| must be below 2^31.
int64_t CountBins(const float* x, int64_t n, float factor, int32_t base, int32_t bins,
                  int64_t* counts);

}  // namespace bitlite
