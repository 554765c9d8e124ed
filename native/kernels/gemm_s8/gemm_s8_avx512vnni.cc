// One vpdpbusd multiplies four activations of a row (u8, broadcast) with the weights of 16 columns.
// Tiles of 6x64 to 16x16 keep at most 28 of the 32 registers busy and need less than one load per
// multiplication. The order of a block's columns is such that the packs of the epilogue, which work
// within 128-bit lanes, give consecutive outputs.
#include <immintrin.h>

#include "gemm_s8.h"
#include "kernels/common/gemmlowp_s8_zmm.inc"

namespace bitlite {
namespace {

constexpr int kLanes = 16;
constexpr int kMaxMr[] = {0, 16, 12, 8, 6};

int Column(int nv, int i) {
  const int v = i / 16, lane = i / 4 % 4, e = i % 4;
  if (nv == 4) return 16 * lane + 4 * v + e;
  if (nv >= 2 && v < 2) return 8 * lane + 4 * v + e;
  return i;
}

void Load(void* dst, const int8_t* src, int64_t n) {
  uint8_t* d = static_cast<uint8_t*>(dst);
  const __m512i flip = _mm512_set1_epi8(-128);
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    _mm512_storeu_si512(d + i, _mm512_xor_si512(_mm512_loadu_si512(src + i), flip));
  }
  if (i < n) {
    const __mmask64 mask = ~uint64_t{0} >> (64 - (n - i));
    _mm512_mask_storeu_epi8(d + i, mask,
                            _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, src + i), flip));
  }
}

inline __m512i Broadcast(const uint8_t* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return _mm512_set1_epi32(v);
}

inline uint64_t Mask(int n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

struct GemmCodes {
  GemmCodes(int zero_point, int qmin, int qmax)
      : zero_point(_mm512_set1_epi16(static_cast<int16_t>(zero_point))),
        qmin(_mm512_set1_epi8(static_cast<int8_t>(qmin))),
        qmax(_mm512_set1_epi8(static_cast<int8_t>(qmax))) {}
  __m512i zero_point, qmin, qmax;
};

// Rounded but not yet offset values of one row to int8, in column order.
template <int NV>
inline void StoreRow(int8_t* y, const __m512i* q, int n, const GemmCodes& codes) {
  if constexpr (NV == 4) {
    const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), codes.zero_point);
    const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), codes.zero_point);
    __m512i r = _mm512_packs_epi16(a, b);
    r = _mm512_min_epi8(_mm512_max_epi8(r, codes.qmin), codes.qmax);
    if (n == 64) {
      _mm512_storeu_si512(y, r);
    } else {
      _mm512_mask_storeu_epi8(y, Mask(n), r);
    }
  } else if constexpr (NV >= 2) {
    const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), codes.zero_point);
    __m256i r = _mm512_cvtsepi16_epi8(a);
    r = _mm256_max_epi8(r, _mm512_castsi512_si256(codes.qmin));
    r = _mm256_min_epi8(r, _mm512_castsi512_si256(codes.qmax));
    if (NV == 3 || n == 32) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), r);
    } else {
      _mm256_mask_storeu_epi8(y, static_cast<__mmask32>(Mask(n)), r);
    }
    if constexpr (NV == 3) StoreRow<1>(y + 32, q + 2, n - 32, codes);
  } else {
    const __m256i a =
        _mm256_adds_epi16(_mm512_cvtsepi32_epi16(q[0]), _mm512_castsi512_si256(codes.zero_point));
    __m128i r = _mm256_cvtsepi16_epi8(a);
    r = _mm_max_epi8(r, _mm512_castsi512_si128(codes.qmin));
    r = _mm_min_epi8(r, _mm512_castsi512_si128(codes.qmax));
    if (n == 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y), r);
    } else {
      _mm_mask_storeu_epi8(y, static_cast<__mmask16>(Mask(n)), r);
    }
  }
}

// Two rows of 32 columns, or four of 16: one set of packs serves them all.
inline __m512i PackRows(const __m512i& q0, const __m512i& q1, const __m512i& q2, const __m512i& q3,
                        const GemmCodes& codes) {
  const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(q0, q1), codes.zero_point);
  const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(q2, q3), codes.zero_point);
  const __m512i r = _mm512_packs_epi16(a, b);
  return _mm512_min_epi8(_mm512_max_epi8(r, codes.qmin), codes.qmax);
}

template <int NV, int MR>
inline void StoreRows(int8_t* y, int64_t stride, const __m512i (&q)[MR][NV], int n,
                      const GemmCodes& codes) {
  int r = 0;
  if constexpr (NV == 2 && MR >= 2) {
    if (n == 32) {
      const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
#pragma GCC unroll 8
      for (; r + 2 <= MR; r += 2) {
        const __m512i both = _mm512_permutexvar_epi64(
            order, PackRows(q[r][0], q[r][1], q[r + 1][0], q[r + 1][1], codes));
        int8_t* to = y + r * stride;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(both));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + stride),
                            _mm512_extracti64x4_epi64(both, 1));
      }
    }
  } else if constexpr (NV == 1 && MR >= 4) {
    if (n == 16) {
      const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
#pragma GCC unroll 4
      for (; r + 4 <= MR; r += 4) {
        const __m512i four = _mm512_permutexvar_epi32(
            order, PackRows(q[r][0], q[r + 1][0], q[r + 2][0], q[r + 3][0], codes));
        int8_t* to = y + r * stride;
        if (stride == 16) {
          _mm512_storeu_si512(to, four);
          continue;
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_castsi512_si128(four));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + stride),
                         _mm512_extracti32x4_epi32(four, 1));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * stride),
                         _mm512_extracti32x4_epi32(four, 2));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 3 * stride),
                         _mm512_extracti32x4_epi32(four, 3));
      }
    }
  }
#pragma GCC unroll 16
  for (int k = 0; k < MR; ++k) {
    if (k >= r) StoreRow<NV>(y + k * stride, q[k], n, codes);
  }
}

// Int8 values of one row of a residual as int32, in packed order.
template <int NV>
inline void LoadResidual(__m512i* r, const int8_t* p, int n) {
  if constexpr (NV == 1) {
    r[0] = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(static_cast<__mmask16>(Mask(n)), p));
  } else {
    const __m512i raw = _mm512_maskz_loadu_epi8(Mask(n), p);
    // Dword e of every lane takes byte e, as its top byte.
    const __m512i spread = _mm512_broadcast_i32x4(
        _mm_set_epi32(0x03808080, 0x02808080, 0x01808080, static_cast<int>(0x00808080)));
    constexpr int kPerLane = NV == 4 ? 4 : 2;
#pragma GCC unroll 4
    for (int v = 0; v < (NV == 4 ? 4 : 2); ++v) {
      const __m512i base = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
      const __m512i index = _mm512_add_epi32(_mm512_mullo_epi32(base, _mm512_set1_epi32(kPerLane)),
                                             _mm512_set1_epi32(v));
      r[v] =
          _mm512_srai_epi32(_mm512_shuffle_epi8(_mm512_permutexvar_epi32(index, raw), spread), 24);
    }
    if constexpr (NV == 3) LoadResidual<1>(r + 2, p + 32, n - 32);
  }
}

// The less frequent outputs: not worth a copy in every tile.
[[gnu::noinline]] void StoreWide(const GemmS8Tile& t, const __m512i* acc, int nv, int mr) {
  for (int r = 0; r < mr; ++r) {
    for (int v = 0; v < nv; ++v) {
      const int left = t.n - v * kLanes;
      const __mmask16 mask = static_cast<__mmask16>(Mask(left > 0 ? left : 0));
      const int64_t at = r * t.y_stride + v * kLanes;
      const __m512i value = acc[r * nv + v];
      if (t.out == GemmS8Out::kS32) {
        _mm512_mask_storeu_epi32(static_cast<int32_t*>(t.y) + at, mask, value);
      } else {
        const __m512 multiplier = _mm512_mul_ps(_mm512_set1_ps(t.sums == nullptr ? 1.0f : t.scale),
                                                _mm512_loadu_ps(t.multiplier + v * kLanes));
        const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(value), multiplier);
        __m512 y = _mm512_add_ps(scaled, _mm512_loadu_ps(t.bias_f32 + v * kLanes));
        y = _mm512_min_ps(_mm512_max_ps(y, _mm512_set1_ps(t.fmin)), _mm512_set1_ps(t.fmax));
        _mm512_mask_storeu_ps(static_cast<float*>(t.y) + at, mask, y);
      }
    }
  }
}

// kCount k-steps at offset o of the rows.
template <int kCount, int NV, int MR, int kSets>
inline void Steps(__m512i (&acc)[kSets][MR][NV], const uint8_t* const* rows, int64_t o,
                  const int8_t* w) {
#pragma GCC unroll 4
  for (int u = 0; u < kCount; ++u) {
    __m512i b[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) b[v] = _mm512_load_si512(w + (u * NV + v) * 64);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const __m512i a = Broadcast(rows[r] + o + 4 * u);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        acc[u % kSets][r][v] = _mm512_dpbusd_epi32(acc[u % kSets][r][v], a, b[v]);
      }
    }
  }
}

template <int NV, int MR>
void Tile(const GemmS8Tile& t) {
  // Fewer than 8 chains of additions would wait for each other.
  constexpr int kSets = NV * MR >= 8 ? 1 : NV * MR >= 4 ? 2 : 4;
  __m512i acc[kSets][MR][NV];
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    const __m512i bias = t.sums == nullptr
                             ? _mm512_loadu_si512(t.bias + v * kLanes)
                             : _mm512_mullo_epi32(_mm512_loadu_si512(t.sums + v * kLanes),
                                                  _mm512_set1_epi32(t.sums_factor));
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      acc[0][r][v] = bias;
#pragma GCC unroll 4
      for (int s = 1; s < kSets; ++s) acc[s][r][v] = _mm512_setzero_si512();
    }
  }
  if (t.row_add != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const __m512i add = _mm512_set1_epi32(t.row_add[r]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[0][r][v] = _mm512_add_epi32(acc[0][r][v], add);
    }
  }
  const uint8_t* const* rows = t.rows;
  const int8_t* w = t.w;
  for (int s = 0; s < t.segment_count; ++s) {
    int64_t o = t.segments[s];
    int steps = t.segment_steps;
    for (; steps >= 4; steps -= 4, o += 16, w += 4 * 64 * NV) Steps<4, NV, MR>(acc, rows, o, w);
    if (steps & 2) {
      Steps<2, NV, MR>(acc, rows, o, w);
      o += 8;
      w += 2 * 64 * NV;
    }
    if (steps & 1) {
      Steps<1, NV, MR>(acc, rows, o, w);
      w += 64 * NV;
    }
  }
#pragma GCC unroll 4
  for (int s = 1; s < kSets; ++s) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[0][r][v] = _mm512_add_epi32(acc[0][r][v], acc[s][r][v]);
    }
  }

  if (t.out == GemmS8Out::kS8) {
    int8_t* y = static_cast<int8_t*>(t.y);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        acc[0][r][v] = _mm512_cvtps_epi32(_mm512_mul_ps(
            _mm512_cvtepi32_ps(acc[0][r][v]), _mm512_loadu_ps(t.multiplier + v * kLanes)));
      }
    }
    StoreRows<NV, MR>(y, t.y_stride, acc[0], t.n, GemmCodes(t.zero_point, t.qmin, t.qmax));
  } else if (t.out == GemmS8Out::kS8Gemmlowp) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) acc[0][r][v] = Rescale(acc[0][r][v], t.gemmlowp, v * kLanes);
    }
    StoreRows<NV, MR>(static_cast<int8_t*>(t.y), t.y_stride, acc[0], t.n,
                      GemmCodes(t.zero_point, t.qmin, t.qmax));
  } else if (t.out == GemmS8Out::kS8Add) {
    int8_t* y = static_cast<int8_t*>(t.y);
    const __m512i low = _mm512_set1_epi32(t.qmin - t.zero_point);
    const __m512i high = _mm512_set1_epi32(t.qmax - t.zero_point);
    const __m512 lhs_scale = _mm512_set1_ps(t.lhs_scale), rhs_scale = _mm512_set1_ps(t.rhs_scale);
    const __m512i rz = _mm512_set1_epi32(t.r_zero_point);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      __m512i residual[NV];
      LoadResidual<NV>(residual, t.residual + r * t.residual_stride, t.n);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[0][r][v]),
                                                     _mm512_loadu_ps(t.multiplier + v * kLanes)));
        q = _mm512_min_epi32(_mm512_max_epi32(q, low), high);
        const __m512 a = _mm512_mul_ps(_mm512_cvtepi32_ps(q), lhs_scale);
        const __m512 b =
            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(residual[v], rz)), rhs_scale);
        acc[0][r][v] = _mm512_cvtps_epi32(_mm512_add_ps(a, b));
      }
    }
    // Not in the loop above: the output may lie on the residual, and a masked load close behind a
    // masked store waits for it.
    StoreRows<NV, MR>(y, t.y_stride, acc[0], t.n,
                      GemmCodes(t.add_zero_point, t.add_qmin, t.add_qmax));
  } else {
    // A copy, so that the accumulators have no address and stay in registers.
    __m512i wide[MR * NV];
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) wide[r * NV + v] = acc[0][r][v];
    }
    StoreWide(t, wide, NV, MR);
  }
}

constexpr GemmS8TileFn kTiles[5][17] = {
    {},
    {nullptr, Tile<1, 1>, Tile<1, 2>, Tile<1, 3>, Tile<1, 4>, Tile<1, 5>, Tile<1, 6>, Tile<1, 7>,
     Tile<1, 8>, Tile<1, 9>, Tile<1, 10>, Tile<1, 11>, Tile<1, 12>, Tile<1, 13>, Tile<1, 14>,
     Tile<1, 15>, Tile<1, 16>},
    {nullptr, Tile<2, 1>, Tile<2, 2>, Tile<2, 3>, Tile<2, 4>, Tile<2, 5>, Tile<2, 6>, Tile<2, 7>,
     Tile<2, 8>, Tile<2, 9>, Tile<2, 10>, Tile<2, 11>, Tile<2, 12>},
    {nullptr, Tile<3, 1>, Tile<3, 2>, Tile<3, 3>, Tile<3, 4>, Tile<3, 5>, Tile<3, 6>, Tile<3, 7>,
     Tile<3, 8>},
    {nullptr, Tile<4, 1>, Tile<4, 2>, Tile<4, 3>, Tile<4, 4>, Tile<4, 5>, Tile<4, 6>},
};

GemmS8TileFn GetTile(int nv, int mr) { return kTiles[nv][mr]; }

}  // namespace

const GemmS8Kernel& gemm_s8_avx512vnni() {
  static constexpr GemmS8Kernel kKernel = {kLanes, 4,      4,       LhsPacking::kU8,
                                           kMaxMr, Column, GetTile, Load};
  return kKernel;
}

}  // namespace bitlite
