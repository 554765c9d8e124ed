// The tile kernels under convolution, fully connected and matmul with int8 operands: mr rows of
// activations times a block of packed weight columns, with the requantization fused behind it.
//
// A row is a list of segments: runs of consecutive activations that start at the same offsets from
// every row's address. A 1x1 convolution is one segment of C; a kernel of kh x kw is kh segments of
// kw * C in a padded image; dilation or groups make kh * kw segments. So nothing is gathered.
//
// Each kernel reads activations in a form of its own, made by `load` when they are copied (padded)
// into scratch: s8 as they are, u8 = s8 + 128 for vpdpbusd, or magnitudes and signs, two planes
// that `split` makes of s8. Packed weights are [block][segment][step][column][kstep] int8, zero
// where a segment's last step or a block's last columns stick out. A step may read up to kstep - 1
// activations behind a segment.
#pragma once

#include <cstdint>

namespace bitlite {

enum class GemmS8Out : uint8_t {
  kS8,          // clamp(rne(acc * multiplier) + zero_point)
  kS8Gemmlowp,  // clamp(RequantizeGemmlowp(acc) + zero_point), of columns that fit: see `gemmlowp`
  kS8Add,       // kS8, then added to a residual: the bits of conv followed by add
  kF32,         // clamp(float32(acc) * multiplier + bias_f32, fmin, fmax), two roundings
  kS32,         // acc
};

// Multipliers of gemmlowp, an array for each field of GemmlowpColumn, in packed order.
struct GemmlowpMultipliers {
  const int32_t* left;  // null: all 0
  const int32_t* mantissa;
  const int32_t* half;
  const int32_t* right;
  const int32_t* edge;  // null: outputs of negative sums are clamped away, whichever they are
};

// Where the activations of a step stand that a second pass multiplies: see GemmS8Kernel.
struct ExcessStepS8 {
  int32_t segment;
  int32_t offset;  // bytes from the segment
};

// Bytes that kernels may read behind an image.
constexpr int64_t kSlackS8 = 64;

// Rows of activations in the form of magnitudes and signs.
struct RowsS8 {
  const uint8_t* const* address;
  int64_t count;
  const int32_t* segments;
  int64_t segment_count;
  int64_t segment_bytes;  // whole steps
  int64_t signs;
};

struct GemmS8Tile {
  const uint8_t* const* rows;  // mr addresses, of each tile
  // Tiles, each mr rows below the one before; several only where the kernel has many_tiles.
  int32_t tiles = 1;
  const int32_t* segments;  // byte offsets from the row
  int32_t segment_count;
  int32_t segment_steps;       // steps of kstep activations in each
  int64_t signs;               // bytes from a magnitude to its sign
  const int8_t* w;             // this block
  const ExcessStepS8* excess;  // the second pass: its steps, with their weights
  const int8_t* excess_w;
  int32_t excess_steps;
  const int32_t* bias;  // of the block's columns in packed order, like `multiplier` and `bias_f32`
  const int32_t* row_add;  // null, or mr numbers that are added to the accumulators of their row
  const float* multiplier;
  // Not null, with kF32 alone, for activations quantized while running: instead of bias sums *
  // sums_factor, instead of multiplier scale * multiplier, rounded.
  const int32_t* sums;
  int32_t sums_factor;
  float scale;
  const float* bias_f32;
  GemmlowpMultipliers gemmlowp;
  void* y;
  int64_t y_stride;  // elements from row to row
  int32_t n;         // valid columns of the block
  GemmS8Out out;
  int32_t zero_point, qmin, qmax;
  float fmin, fmax;
  // kS8Add: y = clamp(rne(float(q - zero_point) * lhs_scale + float(r - r_zero_point) * rhs_scale)
  // + add_zero_point)
  const int8_t* residual;
  int64_t residual_stride;
  float lhs_scale, rhs_scale;
  int32_t r_zero_point, add_zero_point, add_qmin, add_qmax;
};

enum class LhsPacking : uint8_t { kS8, kU8, kS16, kSigns };

using GemmS8TileFn = void (*)(const GemmS8Tile&);

struct WinogradS8;

struct GemmS8Kernel {
  int lanes;   // columns of a vector
  int max_nv;  // vectors of a block: 1..max_nv, or up to few_rows_nv
  int kstep;
  LhsPacking lhs_packing;
  const int* max_mr;  // [nv], [0] unused
  // Which column stands at packed position i when the output is int8 (elsewhere: i).
  int (*column)(int nv, int i);
  GemmS8TileFn (*tile)(int nv, int mr);
  void (*load)(void* dst, const int8_t* src, int64_t n);
  // About what the tiles do, for the cost of a step.
  double macs_per_ns = 350;
  // Null where 3x3 convolutions are fastest as they are: see winograd_s8.h.
  const WinogradS8* winograd = nullptr;
  // kSigns: makes of n codes at `image` their magnitudes, and -1 where one is negative, else 0,
  // `signs` bytes further. Reads and writes up to 31 bytes behind both. What a last step reads
  // behind the codes must be among the n: products of anything else may saturate.
  void (*split)(uint8_t* image, int64_t n, int64_t signs) = nullptr;
  // What products with complements lack, row by row: see gemm_s8_avx2.cc.
  void (*row_terms)(const RowsS8& rows, int32_t* terms) = nullptr;
  // Not 0: the most that two neighbouring weights of one sign (the first and second of a step, the
  // third and fourth) may add up to. What they have beyond comes in a second pass, of those steps.
  int pair_limit = 0;
  // Null, or a kernel with a pair_limit, faster than this one where few steps come twice.
  const GemmS8Kernel& (*of_pairs)() = nullptr;
  // Not 0: vectors of a block for one or two rows, which more of them do not make load more.
  int few_rows_nv = 0;
  bool many_tiles = false;  // see GemmS8Tile::tiles

  int widest(int64_t rows) const { return rows <= 2 && few_rows_nv > 0 ? few_rows_nv : max_nv; }
  // Codes of an image of n to split.
  int64_t read_bytes(int64_t n) const { return n + kstep - 1; }
  int planes() const { return lhs_packing == LhsPacking::kSigns ? 2 : 1; }
  // From one plane of n activations to the next, with what may be read behind them.
  int64_t plane_bytes(int64_t n) const { return (n + kSlackS8 + 63) / 64 * 64; }
  int64_t image_bytes(int64_t n) const { return planes() * plane_bytes(n); }
  // What stands for the code q in this form, as an integer.
  int packed_value(int q) const { return lhs_packing == LhsPacking::kU8 ? q + 128 : q; }
};

// Family gemm_s8: the exported function of a kernel gives the struct above.
struct gemm_s8 {
  using Fn = const GemmS8Kernel&();
};

}  // namespace bitlite
