// Four taps of 64 channels interleaved to dwords for vpdpbusd. A 3x3 kernel takes a column of three
// rows as one group: an interleaved column serves up to three outputs, whose accumulators move
// along.
#include <immintrin.h>

#include "depthwise_s8.h"
#include "kernels/common/gemmlowp_s8_zmm.inc"

namespace bitlite {
namespace {

constexpr int kBlock = 64;

// What the unpacks give, and what the packs of the epilogue undo.
int Column(int i) { return i / 4 % 4 * 16 + i / 16 * 4 + i % 4; }

struct Quad {
  __m512i v[4];
};

inline __m512i LoadX(const uint8_t* p) { return _mm512_loadu_si512(p); }

inline Quad Interleave(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
  const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
  return {{_mm512_unpacklo_epi16(ab0, cd0), _mm512_unpackhi_epi16(ab0, cd0),
           _mm512_unpacklo_epi16(ab1, cd1), _mm512_unpackhi_epi16(ab1, cd1)}};
}

inline Quad LoadQuad(const void* p) {
  const char* c = static_cast<const char*>(p);
  return {{_mm512_load_si512(c), _mm512_load_si512(c + 64), _mm512_load_si512(c + 128),
           _mm512_load_si512(c + 192)}};
}

inline Quad MultiplyAdd(Quad acc, const Quad& x, const Quad& w) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) acc.v[j] = _mm512_dpbusd_epi32(acc.v[j], x.v[j], w.v[j]);
  return acc;
}

struct Output {
  explicit Output(const DepthwiseS8Row& t)
      : multiplier(t.multiplier),
        gemmlowp(t.gemmlowp),
        zero_point(_mm512_set1_epi16(static_cast<int16_t>(t.zero_point))),
        qmin(_mm512_set1_epi8(static_cast<int8_t>(t.qmin))),
        qmax(_mm512_set1_epi8(static_cast<int8_t>(t.qmax))),
        mask(t.n == kBlock ? ~uint64_t{0} : (uint64_t{1} << t.n) - 1),
        parts(t.parts),
        y{t.y[0], t.y[1], t.y[2], t.y[3]},
        step(t.y_step),
        acc(t.acc) {}

  inline void Store(const Quad& a) {
    if (acc != nullptr) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) _mm512_storeu_si512(acc + 16 * j, a.v[j]);
      acc += kBlock;
      return;
    }
    __m512i q[4];
    if (gemmlowp.mantissa != nullptr) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) q[j] = Rescale(a.v[j], gemmlowp, 16 * j);
    } else {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        q[j] = _mm512_cvtps_epi32(
            _mm512_mul_ps(_mm512_cvtepi32_ps(a.v[j]), _mm512_load_ps(multiplier + 16 * j)));
      }
    }
    const __m512i s0 = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero_point);
    const __m512i s1 = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero_point);
    __m512i r = _mm512_packs_epi16(s0, s1);
    r = _mm512_min_epi8(_mm512_max_epi8(r, qmin), qmax);
    if (parts == 1) {
      _mm512_mask_storeu_epi8(y[0] + at, mask, r);
    } else if (parts == 2) {
      const __mmask32 m = static_cast<__mmask32>(mask);
      _mm256_mask_storeu_epi8(y[0] + at, m, _mm512_castsi512_si256(r));
      if (y[1] != nullptr) _mm256_mask_storeu_epi8(y[1] + at, m, _mm512_extracti64x4_epi64(r, 1));
    } else {
      const __mmask16 m = static_cast<__mmask16>(mask);
      _mm_mask_storeu_epi8(y[0] + at, m, _mm512_castsi512_si128(r));
      if (y[1] != nullptr) _mm_mask_storeu_epi8(y[1] + at, m, _mm512_extracti32x4_epi32(r, 1));
      if (y[2] != nullptr) _mm_mask_storeu_epi8(y[2] + at, m, _mm512_extracti32x4_epi32(r, 2));
      if (y[3] != nullptr) _mm_mask_storeu_epi8(y[3] + at, m, _mm512_extracti32x4_epi32(r, 3));
    }
    at += step;
  }

  const float* multiplier;
  GemmlowpMultipliers gemmlowp;
  __m512i zero_point, qmin, qmax;
  __mmask64 mask;
  int32_t parts;
  int8_t* y[4];
  int64_t at = 0;
  int64_t step;
  int32_t* acc;
};

void Row(const DepthwiseS8Row& t) {
  Output out(t);
  const uint8_t* x = t.x;
  for (int64_t o = 0; o < t.outputs; ++o, x += t.x_step) {
    Quad acc = LoadQuad(t.bias);
    const int8_t* w = static_cast<const int8_t*>(t.w);
    const int32_t* tap = t.taps;
    for (int g = 0; g < t.groups; ++g, w += 256, tap += 4) {
      acc = MultiplyAdd(
          acc,
          Interleave(LoadX(x + tap[0]), LoadX(x + tap[1]), LoadX(x + tap[2]), LoadX(x + tap[3])),
          LoadQuad(w));
    }
    out.Store(acc);
  }
}

inline Quad Column3(const uint8_t* x, int64_t row) {
  return Interleave(LoadX(x), LoadX(x + row), LoadX(x + 2 * row), _mm512_setzero_si512());
}

void Row3x3(const DepthwiseS8Row& t, int stride) {
  Output out(t);
  const int8_t* w = static_cast<const int8_t*>(t.w);
  const Quad w0 = LoadQuad(w), w1 = LoadQuad(w + 256), w2 = LoadQuad(w + 512);
  const uint8_t* x = t.x;
  const int64_t row = t.x_row;
  int64_t left = t.outputs;
  if (left <= 0) return;
  Quad column = Column3(x, row);
  Quad a = MultiplyAdd(LoadQuad(t.bias), column, w0);
  if (stride == 2) {
    for (;;) {
      a = MultiplyAdd(a, Column3(x + kBlock, row), w1);
      x += 2 * kBlock;
      column = Column3(x, row);
      out.Store(MultiplyAdd(a, column, w2));
      if (--left == 0) return;
      a = MultiplyAdd(LoadQuad(t.bias), column, w0);
    }
  }
  x += kBlock;
  column = Column3(x, row);
  a = MultiplyAdd(a, column, w1);
  Quad b = MultiplyAdd(LoadQuad(t.bias), column, w0);
  // The roles of three accumulators rotate.
  for (;;) {
    x += kBlock;
    column = Column3(x, row);
    out.Store(MultiplyAdd(a, column, w2));
    if (--left == 0) return;
    b = MultiplyAdd(b, column, w1);
    a = MultiplyAdd(LoadQuad(t.bias), column, w0);

    x += kBlock;
    column = Column3(x, row);
    out.Store(MultiplyAdd(b, column, w2));
    if (--left == 0) return;
    a = MultiplyAdd(a, column, w1);
    b = MultiplyAdd(LoadQuad(t.bias), column, w0);
  }
}

void Load(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n) {
  const __m512i flip = _mm512_set1_epi8(-128);
  const __mmask64 mask = n == kBlock ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
  for (int64_t i = 0; i < pixels; ++i, dst += kBlock, src += src_step) {
    _mm512_store_si512(dst, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, src), flip));
  }
}

void LoadPart(uint8_t* dst, const int8_t* src, int64_t src_step, int64_t pixels, int n) {
  const __m256i flip = _mm256_set1_epi8(-128);
  const __mmask32 mask = n == 32 ? ~uint32_t{0} : (uint32_t{1} << n) - 1;
  for (int64_t i = 0; i < pixels; ++i, dst += kBlock, src += src_step) {
    const __m256i x = _mm256_xor_si256(_mm256_maskz_loadu_epi8(mask, src), flip);
    if (n > 16) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(dst), x);
    } else {
      _mm_store_si128(reinterpret_cast<__m128i*>(dst), _mm256_castsi256_si128(x));
    }
  }
}

}  // namespace

const DepthwiseS8Kernel& depthwise_s8_avx512vnni() {
  static constexpr DepthwiseS8Kernel kKernel = {kBlock, 4,   LhsPacking::kU8, false, true,    4,
                                                Column, Row, Row3x3,          Load,  LoadPart};
  return kKernel;
}

}  // namespace bitlite
