// Winograd's F(4x4, 3x3): 4x4 outputs of a channel from 6x6 products (points) instead of 144,
//
//   Y = A^T [(G w G^T) . (B^T x B)] A       . element by element, summed over input channels
#pragma once

namespace bitlite {

constexpr int kWinogradIn = 6, kWinogradOut = 4, kWinogradPoints = kWinogradIn * kWinogradIn;

}  // namespace bitlite
