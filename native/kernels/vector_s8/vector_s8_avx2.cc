// 32 codes at a time, which compilers leave to shorter vectors. A rest is worked on in a copy, as
// the output may be an operand.
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "codes_avx2.h"
#include "lookup_s8_avx2.h"
#include "vector_s8.h"
#include "vector_s8.inc"

namespace bitlite {
namespace {

constexpr int64_t kHeldColumns = 1024;

// value(p, q) of 8 pairs, p = a - a_zero and q = b - b_zero, is within int32.
template <int kAStep, int kBStep, typename Value>
void Pairs(const BinaryS8Args& t, Value value) {
  const Rounder256 round(t.out);
  const Widener a_values(t.a_zero), b_values(t.b_zero);
  const __m256 a_only = _mm256_set1_ps(static_cast<float>(t.a[0] - t.a_zero));
  const __m256 b_only = _mm256_set1_ps(static_cast<float>(t.b[0] - t.b_zero));
  const auto block = [&](const int8_t* a, const int8_t* b) {
    const Split32 p = kAStep == 0 ? Split32{{a_only, a_only, a_only, a_only}} : a_values(a);
    const Split32 q = kBStep == 0 ? Split32{{b_only, b_only, b_only, b_only}} : b_values(b);
    return round(Split32{{value(p.v[0], q.v[0]), value(p.v[1], q.v[1]), value(p.v[2], q.v[2]),
                          value(p.v[3], q.v[3])}});
  };
  int64_t i = 0;
  for (; i + kBlock <= t.n; i += kBlock) Store(t.y + i, block(t.a + i * kAStep, t.b + i * kBStep));
  if (i == t.n) return;
  const size_t rest = static_cast<size_t>(t.n - i);
  int8_t a[kBlock] = {}, b[kBlock] = {}, y[kBlock];
  if (kAStep != 0) std::memcpy(a, t.a + i, rest);
  if (kBStep != 0) std::memcpy(b, t.b + i, rest);
  Store(y, block(a, b));
  std::memcpy(t.y + i, y, rest);
}

template <typename Value>
void Binary(const BinaryS8Args& t, Value value) {
  if (t.n == 0) return;
  if (t.a_step == 0) return Pairs<0, 1>(t, value);
  return t.b_step == 0 ? Pairs<1, 0>(t, value) : Pairs<1, 1>(t, value);
}

void Add256(const BinaryS8Args& t) {
  if (!Fits(t.lhs_scale) || !Fits(t.rhs_scale)) return Add(t);
  const __m256 lhs_scale = _mm256_set1_ps(t.lhs_scale), rhs_scale = _mm256_set1_ps(t.rhs_scale);
  Binary(t, [&](__m256 p, __m256 q) {
    return _mm256_add_ps(_mm256_mul_ps(p, lhs_scale), _mm256_mul_ps(q, rhs_scale));
  });
}

// Products of codes are whole numbers of at most 17 bits, in float as in integers.
void Mul256(const BinaryS8Args& t) {
  if (!Fits(t.lhs_scale)) return Mul(t);
  const __m256 m = _mm256_set1_ps(t.lhs_scale);
  Binary(t, [&](__m256 p, __m256 q) { return _mm256_mul_ps(_mm256_mul_ps(p, q), m); });
}

void PRelu256(const BinaryS8Args& t) {
  if (!Fits(t.lhs_scale) || !Fits(t.rhs_scale)) return PRelu(t);
  const __m256 lhs_scale = _mm256_set1_ps(t.lhs_scale), rhs_scale = _mm256_set1_ps(t.rhs_scale);
  Binary(t, [&](__m256 p, __m256 q) {
    const __m256 below = _mm256_mul_ps(_mm256_mul_ps(p, q), lhs_scale);
    return _mm256_blendv_ps(_mm256_mul_ps(p, rhs_scale), below, p);  // by p's sign
  });
}

// The values of 32 columns, in the order of a Widener's.
Split32 ColumnValues(const float* b) {
  const auto halves = [&](int at) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(b + at)),
                                _mm_loadu_ps(b + at + 16), 1);
  };
  return {{halves(0), halves(4), halves(8), halves(12)}};
}

// value(p, b) of 8 codes. A block of columns goes down all rows, so that its values stay in
// registers; the last one begins early and keeps what the one before has written.
template <typename Value>
void Rows256(const RowsS8Args& t, Value value, void (*loops)(const RowsS8Args&)) {
  const bool narrow = t.by_row && t.n >= 16 && t.n < kBlock && t.rows > 1;
  if (t.n < kBlock && !narrow) return loops(t);
  const Rounder256 round(t.out);
  const Widener values(t.a_zero);
  const auto result = [&](__m256i x, const Split32& b) {
    const Split32 p = values(x);
    return round(Split32{{value(p.v[0], b.v[0]), value(p.v[1], b.v[1]), value(p.v[2], b.v[2]),
                          value(p.v[3], b.v[3])}});
  };
  const auto codes = [&](int64_t at, const Split32& b) { return result(Load(t.a + at), b); };
  if (narrow && t.n == 16 && t.rows % 2 == 0) {
    for (int64_t r = 0; r < t.rows; r += 2) {
      const __m256 of_rows =
          _mm256_insertf128_ps(_mm256_broadcast_ss(t.b + r), _mm_broadcast_ss(t.b + r + 1), 1);
      Store(t.y + r * 16, codes(r * 16, {{of_rows, of_rows, of_rows, of_rows}}));
    }
    return;
  }
  if (narrow) {
    // What a block has too much, the next row overwrites, read before that.
    int8_t last[kBlock] = {}, y[kBlock];
    const int64_t last_row = (t.rows - 1) * t.n;
    std::memcpy(last, t.a + last_row, static_cast<size_t>(t.n));
    __m256i x = Load(t.a);
    for (int64_t r = 0; r < t.rows; ++r) {
      const __m256 of_row = _mm256_broadcast_ss(t.b + r);
      const __m256i own = x;
      const int64_t next = (r + 1) * t.n;
      x = Load(next < last_row ? t.a + next : last);
      Store(r + 1 < t.rows ? t.y + r * t.n : y, result(own, {{of_row, of_row, of_row, of_row}}));
    }
    std::memcpy(t.y + last_row, y, static_cast<size_t>(t.n));
    return;
  }
  const int64_t rest = t.n % kBlock, whole = t.n - rest, last = t.n - kBlock;
  const __m256i columns =
      _mm256_setr_epi8(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13,
                       12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m256i fresh = _mm256_cmpgt_epi8(_mm256_set1_epi8(static_cast<char>(rest)), columns);
  const auto keep = [&](int64_t at, const Split32& b) {
    Store(t.y + at, _mm256_blendv_epi8(Load(t.y + at), codes(at, b), fresh));
  };
  if (t.by_row) {
    for (int64_t r = 0; r < t.rows; ++r) {
      const __m256 of_row = _mm256_broadcast_ss(t.b + r);
      const Split32 b = {{of_row, of_row, of_row, of_row}};
      const int64_t row = r * t.n;
      for (int64_t i = 0; i < whole; i += kBlock) Store(t.y + row + i, codes(row + i, b));
      if (rest > 0) keep(row + last, b);
    }
    return;
  }
  alignas(32) float held[kHeldColumns];
  for (int64_t first = 0; first < whole; first += kHeldColumns) {
    const int64_t n = whole - first < kHeldColumns ? whole - first : kHeldColumns;
    for (int64_t i = 0; i < n; i += kBlock) {
      const Split32 b = ColumnValues(t.b + first + i);
      for (int k = 0; k < 4; ++k) _mm256_store_ps(held + i + 8 * k, b.v[k]);
    }
    for (int64_t at = first; at < t.rows * t.n; at += t.n) {
      for (int64_t i = 0; i < n; i += kBlock) {
        const float* b = held + i;
        Store(t.y + at + i, codes(at + i, {{_mm256_load_ps(b), _mm256_load_ps(b + 8),
                                            _mm256_load_ps(b + 16), _mm256_load_ps(b + 24)}}));
      }
    }
  }
  if (rest == 0) return;
  const Split32 b = ColumnValues(t.b + last);
  for (int64_t at = last; at < t.rows * t.n; at += t.n) keep(at, b);
}

void AddRows256(const RowsS8Args& t) {
  const __m256 scale = _mm256_set1_ps(t.a_scale);
  Rows256(
      t, [&](__m256 p, __m256 b) { return _mm256_add_ps(_mm256_mul_ps(p, scale), b); }, AddRows);
}

// Products of codes are whole numbers of at most 17 bits, in float as in integers.
void MulRows256(const RowsS8Args& t) {
  const __m256 scale = _mm256_set1_ps(t.b_scale);
  Rows256(
      t, [&](__m256 p, __m256 b) { return _mm256_mul_ps(_mm256_mul_ps(p, b), scale); }, MulRows);
}

void PReluRows256(const RowsS8Args& t) {
  const __m256 above = _mm256_set1_ps(t.a_scale), below = _mm256_set1_ps(t.b_scale);
  // The product with b is then rounded as the one with its scale.
  if (t.b_scale == 1.0f) {
    return Rows256(
        t, [&](__m256 p, __m256 b) { return _mm256_mul_ps(p, _mm256_blendv_ps(above, b, p)); },
        PReluRows);
  }
  Rows256(
      t,
      [&](__m256 p, __m256 b) {
        return _mm256_blendv_ps(_mm256_mul_ps(p, above), _mm256_mul_ps(_mm256_mul_ps(p, b), below),
                                p);  // by p's sign
      },
      PReluRows);
}

void Quantize256(const float* x, int8_t* y, int64_t n, float inverse, const OutputCodesS8& out) {
  const Rounder256 round(out);
  const __m256 m = _mm256_set1_ps(inverse);
  const auto eight = [&](const float* p) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(p), m);
    return _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));  // NaN is the zero point
  };
  Map(x, y, n,
      [&](const float* p) { return round(eight(p), eight(p + 8), eight(p + 16), eight(p + 24)); });
}

void Requantize256(const int8_t* x, int8_t* y, int64_t n, int32_t x_zero, float m,
                   const OutputCodesS8& out) {
  if (!Fits(m)) return Requantize(x, y, n, x_zero, m, out);
  const Rounder256 round(out);
  const Widener values(x_zero);
  const __m256 factor = _mm256_set1_ps(m);
  Map(x, y, n, [&](const int8_t* p) {
    Split32 scaled = values(p);
    for (__m256& v : scaled.v) v = _mm256_mul_ps(v, factor);
    return round(scaled);
  });
}

void RequantizeS32x256(const int32_t* acc, int8_t* y, int64_t n, int32_t subtract, float m,
                       const OutputCodesS8& out) {
  const Rounder256 round(out);
  const __m256i less = _mm256_set1_epi32(subtract);
  const __m256 factor = _mm256_set1_ps(m);
  const auto eight = [&](const int32_t* p) {
    const __m256i sum = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(sum, less)), factor);
  };
  Map(acc, y, n, [&](const int32_t* p) {
    return round(eight(p), eight(p + 8), eight(p + 16), eight(p + 24));
  });
}

void RequantizeWindowSums256(const int32_t* acc, int64_t step, int64_t taps, int8_t* y, int64_t n,
                             int32_t subtract, float m, const OutputCodesS8& out) {
  const Rounder256 round(out);
  const __m256i less = _mm256_set1_epi32(subtract);
  const __m256 factor = _mm256_set1_ps(m);
  // The sums of 8 columns, of fewer than 8 by a mask.
  const auto scaled = [&](const int32_t* p, auto load) {
    __m256i sum = load(p);
    for (int64_t t = 1; t < taps; ++t) sum = _mm256_add_epi32(sum, load(p + t * step));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(sum, less)), factor);
  };
  const auto whole = [](const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  };
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    const int32_t* p = acc + i;
    Store(y + i, round(scaled(p, whole), scaled(p + 8, whole), scaled(p + 16, whole),
                       scaled(p + 24, whole)));
  }
  for (; i < n; i += 8) {
    const int64_t rest = n - i < 8 ? n - i : 8;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(rest)), lanes);
    const __m256 v =
        scaled(acc + i, [&](const int32_t* p) { return _mm256_maskload_epi32(p, mask); });
    const int64_t codes = _mm_cvtsi128_si64(_mm256_castsi256_si128(round(v, v, v, v)));
    if (rest == 8) {
      std::memcpy(y + i, &codes, 8);
    } else {
      for (int64_t k = 0; k < rest; ++k) y[i + k] = static_cast<int8_t>(codes >> (8 * k));
    }
  }
}

struct Larger {
  static __m256i Of(__m256i a, __m256i b) { return _mm256_max_epi8(a, b); }
  static __m128i Of(__m128i a, __m128i b) { return _mm_max_epi8(a, b); }
  static int8_t Of(int8_t a, int8_t b) { return a > b ? a : b; }
};

struct Smaller {
  static __m256i Of(__m256i a, __m256i b) { return _mm256_min_epi8(a, b); }
  static __m128i Of(__m128i a, __m128i b) { return _mm_min_epi8(a, b); }
  static int8_t Of(int8_t a, int8_t b) { return a < b ? a : b; }
};

template <typename Better>
int8_t Extreme(const int8_t* x, int64_t n) {
  __m128i best;
  if (n >= kBlock) {
    __m256i wide = Load(x + n - kBlock);
    for (int64_t i = 0; i + kBlock < n; i += kBlock) wide = Better::Of(wide, Load(x + i));
    best = Better::Of(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  } else if (n >= 16) {
    best = Better::Of(Load16(x), Load16(x + n - 16));
  } else {
    int8_t v = x[0];
    for (int64_t i = 1; i < n; ++i) v = Better::Of(v, x[i]);
    return v;
  }
  best = Better::Of(best, _mm_srli_si128(best, 8));
  best = Better::Of(best, _mm_srli_si128(best, 4));
  best = Better::Of(best, _mm_srli_si128(best, 2));
  best = Better::Of(best, _mm_srli_si128(best, 1));
  return static_cast<int8_t>(_mm_cvtsi128_si32(best));
}

// The last block overlaps the one before.
template <typename Better>
void ExtremeOfRows256(const int8_t* x, int64_t step, int64_t rows, int64_t n, int8_t* y) {
  if (n >= kBlock) {
    for (int64_t i = 0; i < n; i += kBlock) {
      i = i + kBlock <= n ? i : n - kBlock;
      __m256i best = Load(x + i);
      for (int64_t r = 1; r < rows; ++r) best = Better::Of(best, Load(x + r * step + i));
      Store(y + i, best);
    }
  } else if (n >= 16) {
    for (int64_t i : {int64_t{0}, n - 16}) {
      __m128i best = Load16(x + i);
      for (int64_t r = 1; r < rows; ++r) best = Better::Of(best, Load16(x + r * step + i));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), best);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      int8_t best = x[i];
      for (int64_t r = 1; r < rows; ++r) best = Better::Of(best, x[r * step + i]);
      y[i] = best;
    }
  }
}

int64_t Sum256(const int8_t* x, int64_t n) {
  // Sums of the codes above -128, 8 at a time.
  const __m256i flip = _mm256_set1_epi8(-128);
  __m256i sums = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    const __m256i above = _mm256_xor_si256(Load(x + i), flip);
    sums = _mm256_add_epi64(sums, _mm256_sad_epu8(above, _mm256_setzero_si256()));
  }
  const __m128i two =
      _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  int64_t total = _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1) - 128 * i;
  for (; i < n; ++i) total += x[i];
  return total;
}

// Partial sums of 16 codes fit 16 bits for as many rows.
constexpr int64_t kNarrowRows = 255;

// 16 * V columns: whole cache lines of a row where V is 4.
template <int V>
void SumOfRows16(const int8_t* x, int64_t step, int64_t rows, int32_t* y, bool add) {
  __m256i wide[2 * V];
  __m256i* to = reinterpret_cast<__m256i*>(y);
#pragma GCC unroll 8
  for (int v = 0; v < 2 * V; ++v) {
    wide[v] = add ? _mm256_loadu_si256(to + v) : _mm256_setzero_si256();
  }
  while (rows > 0) {
    const int64_t part = rows < kNarrowRows ? rows : kNarrowRows;
    __m256i sums[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[v] = _mm256_setzero_si256();
    for (int64_t r = 0; r < part; ++r, x += step) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        sums[v] = _mm256_add_epi16(sums[v], _mm256_cvtepi8_epi16(Load16(x + 16 * v)));
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m128i low = _mm256_castsi256_si128(sums[v]);
      const __m128i high = _mm256_extracti128_si256(sums[v], 1);
      wide[2 * v] = _mm256_add_epi32(wide[2 * v], _mm256_cvtepi16_epi32(low));
      wide[2 * v + 1] = _mm256_add_epi32(wide[2 * v + 1], _mm256_cvtepi16_epi32(high));
    }
    rows -= part;
  }
#pragma GCC unroll 8
  for (int v = 0; v < 2 * V; ++v) _mm256_storeu_si256(to + v, wide[v]);
}

void SumOfRows256(const int8_t* x, int64_t step, int64_t rows, int64_t n, int32_t* y, bool add) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) SumOfRows16<4>(x + i, step, rows, y + i, add);
  for (; i + 16 <= n; i += 16) SumOfRows16<1>(x + i, step, rows, y + i, add);
  if (i == n) return;
  // The last columns again with those that are missing, unless that would add them twice.
  if (n >= 16 && !add) return SumOfRows16<1>(x + n - 16, step, rows, y + n - 16, false);
  SumOfRows(x + i, step, rows, n - i, y + i, add);
}

// Left and right come in pairs; of fewer than 16 channels the compiler does the rest.
void BlendColumns256(const int8_t* x, const ColumnBlendS8* columns, int64_t n, int64_t channels,
                     int32_t* y) {
  if (channels < 16) return BlendColumns(x, columns, n, channels, y);
  for (int64_t w = 0; w < n; ++w, y += channels) {
    const int8_t* left = x + columns[w].at_left;
    const int8_t* right = x + columns[w].at_right;
    const int32_t both = static_cast<uint16_t>(columns[w].left) | int32_t{columns[w].right} << 16;
    const __m256i weights = _mm256_set1_epi32(both);
    for (int64_t c = 0; c < channels; c += 16) {
      c = c + 16 <= channels ? c : channels - 16;
      const __m128i l = Load16(left + c), r = Load16(right + c);
      const __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(l, r));
      const __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(l, r));
      __m256i* to = reinterpret_cast<__m256i*>(y + c);
      _mm256_storeu_si256(to, _mm256_madd_epi16(low, weights));
      _mm256_storeu_si256(to + 1, _mm256_madd_epi16(high, weights));
    }
  }
}

void BlendRows256(const int32_t* top, const int32_t* bottom, int64_t n, int32_t up, int32_t down,
                  int8_t* y) {
  const __m256i from_top = _mm256_set1_epi32(up), from_bottom = _mm256_set1_epi32(down);
  const __m256i half = _mm256_set1_epi32(1 << 19);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const auto eight = [&](int64_t i) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(top + i));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bottom + i));
    const __m256i sum =
        _mm256_add_epi32(_mm256_mullo_epi32(a, from_top), _mm256_mullo_epi32(b, from_bottom));
    return _mm256_srai_epi32(_mm256_add_epi32(sum, half), 20);
  };
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    const __m256i a = _mm256_packs_epi32(eight(i), eight(i + 8));
    const __m256i b = _mm256_packs_epi32(eight(i + 16), eight(i + 24));
    Store(y + i, _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order));
  }
  BlendRows(top + i, bottom + i, n - i, up, down, y + i);
}

// Sums of 16 channels of a window in 16 bits, then requantized; the last channels begin early.
void AverageWindows256(const WindowsS8Args& t) {
  if (t.channels < 16) return AverageWindows(t);
  const Rounder256 round(t.out);
  const __m256i less = _mm256_set1_epi32(t.subtract);
  const __m256 factor = _mm256_set1_ps(t.m);
  const auto sum = [&](const int8_t* x) {
    __m256i total = _mm256_cvtepi8_epi16(Load16(x + t.taps[0]));
    for (int64_t k = 1; k < t.tap_count; ++k) {
      total = _mm256_add_epi16(total, _mm256_cvtepi8_epi16(Load16(x + t.taps[k])));
    }
    return total;
  };
  const auto scaled = [&](__m128i sums) {
    const __m256i wide = _mm256_sub_epi32(_mm256_cvtepi16_epi32(sums), less);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(wide), factor);
  };
  const auto low = [&](__m256i v) { return scaled(_mm256_castsi256_si128(v)); };
  const auto high = [&](__m256i v) { return scaled(_mm256_extracti128_si256(v, 1)); };
  for (int64_t w = 0; w < t.windows; ++w) {
    const int8_t* x = t.x + w * t.step;
    int8_t* y = t.y + w * t.channels;
    int64_t c = 0;
    for (; c + kBlock <= t.channels; c += kBlock) {
      const __m256i a = sum(x + c), b = sum(x + c + 16);
      Store(y + c, round(low(a), high(a), low(b), high(b)));
    }
    for (; c < t.channels; c += 16) {
      c = c + 16 <= t.channels ? c : t.channels - 16;
      const __m256i a = sum(x + c);
      const __m256 first = low(a), second = high(a);
      const __m128i codes = _mm256_castsi256_si128(round(first, second, first, second));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + c), codes);
    }
  }
}

void Lookup256(const int8_t* x, int8_t* y, int64_t n, const int8_t* table) {
  n < 4 * kBlock ? Lookup(x, y, n, table) : LookupByShuffles(x, y, n, table);
}

void Lines256(const int8_t* x, int8_t* y, int64_t n, const LinesS8& lines) {
  const __m256i slope0 = _mm256_set1_epi16(lines.slope[0]);
  const __m256i slope1 = _mm256_set1_epi16(lines.slope[1]);
  const __m256i offset0 = _mm256_set1_epi16(lines.offset[0]);
  const __m256i offset1 = _mm256_set1_epi16(lines.offset[1]);
  const __m256i low = _mm256_set1_epi8(lines.low), high = _mm256_set1_epi8(lines.high);
  const __m128i shift = _mm_cvtsi32_si128(lines.shift);
  const auto map = [&](auto better) {
    Map(x, y, n, [&](const int8_t* p) {
      const __m256i code = Load(p), none = _mm256_setzero_si256();
      const auto sixteen = [&](__m256i v) {
        const __m256i a = _mm256_add_epi16(_mm256_mulhi_epi16(v, slope0), offset0);
        return _mm256_sra_epi16(better(a, v), shift);
      };
      const __m256i codes = _mm256_packs_epi16(sixteen(_mm256_unpacklo_epi8(none, code)),
                                               sixteen(_mm256_unpackhi_epi8(none, code)));
      return _mm256_min_epi8(_mm256_max_epi8(codes, low), high);
    });
  };
  const auto second = [&](__m256i v) {
    return _mm256_add_epi16(_mm256_mulhi_epi16(v, slope1), offset1);
  };
  const bool same = lines.slope[0] == lines.slope[1] && lines.offset[0] == lines.offset[1];
  if (same) return map([](__m256i a, __m256i) { return a; });
  if (lines.greater)
    return map([&](__m256i a, __m256i v) { return _mm256_max_epi16(a, second(v)); });
  map([&](__m256i a, __m256i v) { return _mm256_min_epi16(a, second(v)); });
}

// The best of 8 floats, of which none is NaN.
template <typename Better>
float BestOf(__m256 v, Better better) {
  v = better(v, _mm256_permute2f128_ps(v, v, 1));
  v = better(v, _mm256_permute_ps(v, 0x4E));
  return _mm256_cvtss_f32(better(v, _mm256_permute_ps(v, 0xB1)));
}

// vminps and vmaxps give the second operand where the first one is NaN.
void WidenRange256(const float* x, int64_t n, float* low, float* high) {
  const auto less = [](__m256 a, __m256 b) { return _mm256_min_ps(a, b); };
  const auto more = [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); };
  __m256 lows[2], highs[2];
  lows[0] = lows[1] = _mm256_set1_ps(*low);
  highs[0] = highs[1] = _mm256_set1_ps(*high);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int k = 0; k < 2; ++k) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * k);
      lows[k] = less(v, lows[k]);
      highs[k] = more(v, highs[k]);
    }
  }
  for (; i < n; ++i) {
    const __m256 v = _mm256_broadcast_ss(x + i);
    lows[0] = less(v, lows[0]);
    highs[0] = more(v, highs[0]);
  }
  *low = BestOf(less(lows[0], lows[1]), less);
  *high = BestOf(more(highs[0], highs[1]), more);
}

constexpr VectorS8Kernel Kernel() {
  VectorS8Kernel kernel = kLoops;
  kernel.add = Add256;
  kernel.mul = Mul256;
  kernel.prelu = PRelu256;
  kernel.add_rows = AddRows256;
  kernel.mul_rows = MulRows256;
  kernel.prelu_rows = PReluRows256;
  kernel.quantize = Quantize256;
  kernel.requantize = Requantize256;
  kernel.requantize_s32 = RequantizeS32x256;
  kernel.requantize_window_sums = RequantizeWindowSums256;
  kernel.largest = Extreme<Larger>;
  kernel.smallest = Extreme<Smaller>;
  kernel.largest_of_rows = ExtremeOfRows256<Larger>;
  kernel.smallest_of_rows = ExtremeOfRows256<Smaller>;
  kernel.sum = Sum256;
  kernel.sum_of_rows = SumOfRows256;
  kernel.blend_columns = BlendColumns256;
  kernel.blend_rows = BlendRows256;
  kernel.average_windows = AverageWindows256;
  kernel.lookup = Lookup256;
  kernel.lines = Lines256;
  kernel.widen_range = WidenRange256;
  return kernel;
}

constexpr VectorS8Kernel kKernel = Kernel();

}  // namespace

const VectorS8Kernel& vector_s8_avx2() { return kKernel; }

}  // namespace bitlite
