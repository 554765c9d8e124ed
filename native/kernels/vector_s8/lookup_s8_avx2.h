// Tables of 256 codes by shuffles, for kernels on AVX2.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "codes_avx2.h"

namespace bitlite {
namespace {

// A shuffle takes one of 16 values by bits 0 to 3 of an index, or 0 where that is negative. Tables
// lie in groups of 64 codes, of 4 parts: the index of part k is the code's place in its group less
// 16 k, not negative for the part that the code lies in and those before. What these give, together
// by xor, is a value of every group, among which bits 6 and 7 of the code choose. Fewer than four
// groups are the last ones of all codes: there codes move up by `up`, and those that would lie
// above or below get the value of the last or first.
template <int kGroups>
void LookupGroups(const int8_t* x, int8_t* y, int64_t n, const int8_t* table, int up) {
  constexpr int kLeast = 128 - 64 * kGroups;
  __m256i parts[kGroups][4];
  for (int g = 0; g < kGroups; ++g) {
    for (int k = 3; k >= 0; --k) {
      const int8_t* at = table + 128 + kLeast - up + 64 * g + 16 * k;
      parts[g][k] = _mm256_broadcastsi128_si256(Load16(at));
      if (k < 3) parts[g][k + 1] = _mm256_xor_si256(parts[g][k + 1], parts[g][k]);
    }
  }
  const __m256i least = _mm256_set1_epi8(static_cast<char>(kLeast));
  const __m256i move = _mm256_set1_epi8(static_cast<char>(up)), sixteen = _mm256_set1_epi8(16);
  Map(x, y, n, [&](const int8_t* p) {
    __m256i code = Load(p);
    if constexpr (kGroups < 4) code = _mm256_max_epi8(_mm256_adds_epi8(code, move), least);
    __m256i at = _mm256_and_si256(code, _mm256_set1_epi8(63));
    __m256i value[kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) value[g] = _mm256_shuffle_epi8(parts[g][0], at);
#pragma GCC unroll 4
    for (int k = 1; k < 4; ++k) {
      at = _mm256_sub_epi8(at, sixteen);
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        value[g] = _mm256_xor_si256(value[g], _mm256_shuffle_epi8(parts[g][k], at));
      }
    }
    if constexpr (kGroups == 1) {
      return value[0];
    } else {
      const __m256i bit6 = _mm256_add_epi8(code, code);
      const __m256i above = _mm256_blendv_epi8(value[kGroups - 2], value[kGroups - 1], bit6);
      if constexpr (kGroups == 2) return above;
      const __m256i below = kGroups == 3 ? value[0] : _mm256_blendv_epi8(value[0], value[1], bit6);
      return _mm256_blendv_epi8(above, below, code);
    }
  });
}

// Codes below and above which the table goes on as it is there need no groups.
void LookupByShuffles(const int8_t* x, int8_t* y, int64_t n, const int8_t* table) {
  int low = 0, high = 255;
  while (low < 255 && table[low + 1] == table[0]) ++low;
  while (high > low && table[high - 1] == table[255]) --high;
  const int most = std::min(255 - high, 127), groups = (255 - most - low) / 64 + 1;
  if (groups == 4) return LookupGroups<4>(x, y, n, table, 0);
  const int up = std::min(most, 256 - 64 * groups);
  if (groups == 3) return LookupGroups<3>(x, y, n, table, up);
  if (groups == 2) return LookupGroups<2>(x, y, n, table, up);
  LookupGroups<1>(x, y, n, table, up);
}

}  // namespace
}  // namespace bitlite
