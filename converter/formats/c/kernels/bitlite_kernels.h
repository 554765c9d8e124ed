/* Kernels of generated models: no allocation, no state, nothing of libc but memcpy, memset and, for float, math.h.
 * Activations are channels-last. Sizes are in elements unless a name says bytes. */
#ifndef BITLITE_KERNELS_H
#define BITLITE_KERNELS_H

#include <stdint.h>

#include "bitlite_scale.h"

/* What codes of an output are: a value is rounded to a code, then clamped to qmin..qmax. */
typedef struct {
  int32_t zero_point, qmin, qmax;
} bitlite_codes;

typedef struct {
  int32_t batch, in_h, in_w, in_c, out_h, out_w, out_c;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
} bitlite_window;

/* An index space of two operands; a stride of 0 repeats one. The innermost extent is last. */
typedef struct {
  int32_t extent[4], a_stride[4], b_stride[4];
} bitlite_broadcast;

/* bias[o] = bias - x_zero * (sum of the weights of o), so that products need no zero point; a tap in the padding counts
 * as one on x_zero. scale_step: 1 with a scale per output channel, 0 with one for all. */
typedef struct {
  bitlite_window window;
  int32_t group, x_zero, scale_step;
  bitlite_codes out;
  const int8_t *weights; /* [out_c, kernel_h, kernel_w, in_c / group]; depthwise [kernel_h, kernel_w, out_c] */
  const int32_t *bias;
  const bitlite_scale *scale;
} bitlite_conv_s8_args;
void bitlite_conv_s8(const bitlite_conv_s8_args *args, const int8_t *x, int8_t *y);
typedef bitlite_conv_s8_args bitlite_depthwise_s8_args;
void bitlite_depthwise_s8(const bitlite_depthwise_s8_args *args, const int8_t *x, int8_t *y);

/* y = float(sum) * scale + bias_f32, clamped to low..high; bias is that of the zero point alone. */
typedef struct {
  bitlite_window window;
  int32_t group, x_zero, scale_step;
  float low, high;
  const int8_t *weights;
  const int32_t *bias;
  const float *scale, *bias_f32;
} bitlite_conv_s8_f32_args;
void bitlite_conv_s8_f32(const bitlite_conv_s8_f32_args *args, const int8_t *x, float *y);

typedef struct {
  bitlite_window window;
  int32_t group;
  float low, high;
  const float *weights; /* as those of int8 */
  const float *bias;    /* or NULL */
} bitlite_conv_f32_args;
void bitlite_conv_f32(const bitlite_conv_f32_args *args, const float *x, float *y);
typedef bitlite_conv_f32_args bitlite_depthwise_f32_args;
void bitlite_depthwise_f32(const bitlite_depthwise_f32_args *args, const float *x, float *y);

typedef struct {
  bitlite_window window;
  int32_t x_zero, same; /* same: input and output have the same parameters */
  float scale;          /* of the input over that of the output */
  bitlite_codes out;
} bitlite_max_pool_s8_args;
void bitlite_max_pool_s8(const bitlite_max_pool_s8_args *args, const int8_t *x, int8_t *y);

/* A window counts its elements inside the data, or inside 0..counted_h, 0..counted_w where pads count, too. */
typedef struct {
  bitlite_window window;
  int32_t x_zero, same, include_pad, counted_h, counted_w;
  double x_scale, y_scale;
  bitlite_codes out;
} bitlite_average_pool_s8_args;
void bitlite_average_pool_s8(const bitlite_average_pool_s8_args *args, const int8_t *x, int8_t *y);

typedef struct {
  bitlite_window window;
  int32_t include_pad, counted_h, counted_w;
  float low, high;
} bitlite_pool_f32_args;
typedef bitlite_pool_f32_args bitlite_max_pool_f32_args;
typedef bitlite_pool_f32_args bitlite_average_pool_f32_args;
void bitlite_max_pool_f32(const bitlite_pool_f32_args *args, const float *x, float *y);
void bitlite_average_pool_f32(const bitlite_pool_f32_args *args, const float *x, float *y);

/* y = a * a_scale + b * b_scale of operands less their zero points; for gemmlowp, see add_s8.c. */
typedef struct {
  bitlite_broadcast space;
  int32_t a_zero, b_zero;
  bitlite_scale a_scale, b_scale;
#ifdef BITLITE_GEMMLOWP
  bitlite_scale y_scale;
  int32_t b_sign, vector_run;
#endif
  bitlite_codes out;
} bitlite_add_s8_args;
void bitlite_add_s8(const bitlite_add_s8_args *args, const int8_t *a, const int8_t *b, int8_t *y);

typedef struct {
  bitlite_broadcast space;
  int32_t a_zero, b_zero;
  bitlite_scale scale;
  bitlite_codes out;
} bitlite_mul_s8_args;
void bitlite_mul_s8(const bitlite_mul_s8_args *args, const int8_t *a, const int8_t *b, int8_t *y);

typedef struct {
  bitlite_broadcast space;
} bitlite_order_s8_args;
typedef bitlite_order_s8_args bitlite_maximum_s8_args;
typedef bitlite_order_s8_args bitlite_minimum_s8_args;
void bitlite_maximum_s8(const bitlite_order_s8_args *args, const int8_t *a, const int8_t *b, int8_t *y);
void bitlite_minimum_s8(const bitlite_order_s8_args *args, const int8_t *a, const int8_t *b, int8_t *y);

typedef enum {
  BITLITE_ADD,
  BITLITE_SUB,
  BITLITE_MUL,
  BITLITE_DIV,
  BITLITE_MAXIMUM,
  BITLITE_MINIMUM,
  BITLITE_SQUARED_DIFFERENCE
} bitlite_binary;
typedef struct {
  bitlite_broadcast space;
  bitlite_binary function;
  float low, high;
} bitlite_binary_f32_args;
void bitlite_binary_f32(const bitlite_binary_f32_args *args, const float *a, const float *b, float *y);

/* x as [outer, n, inner], along n. */
typedef struct {
  int32_t outer, n, inner;
  double y_scale;
  bitlite_codes out;
  const int32_t *power; /* power[d] = rne(2^24 * exp(-d * scale * beta)), d = 0..255 */
} bitlite_softmax_s8_args;
void bitlite_softmax_s8(const bitlite_softmax_s8_args *args, const int8_t *x, int8_t *y);

typedef struct {
  int32_t outer, n, inner;
  float beta;
} bitlite_softmax_f32_args;
void bitlite_softmax_f32(const bitlite_softmax_f32_args *args, const float *x, float *y);

typedef enum { BITLITE_SUM, BITLITE_LARGEST, BITLITE_SMALLEST } bitlite_reduction;
typedef struct {
  int32_t outer, n, inner, x_zero, same;
  bitlite_reduction mode;
  float scale; /* of a mean: over n, too */
  bitlite_codes out;
} bitlite_reduce_s8_args;
void bitlite_reduce_s8(const bitlite_reduce_s8_args *args, const int8_t *x, int8_t *y);
typedef struct {
  int32_t outer, n, inner;
  bitlite_reduction mode;
  float scale;
} bitlite_reduce_f32_args;
void bitlite_reduce_f32(const bitlite_reduce_f32_args *args, const float *x, float *y);

/* table[x + 128] */
typedef struct {
  int32_t count;
  const int8_t *table;
} bitlite_lookup_s8_args;
void bitlite_lookup_s8(const bitlite_lookup_s8_args *args, const int8_t *x, int8_t *y);

typedef enum {
  BITLITE_ABS,
  BITLITE_CEIL,
  BITLITE_COS,
  BITLITE_ELU,
  BITLITE_ERF,
  BITLITE_EXP,
  BITLITE_FLOOR,
  BITLITE_GELU,
  BITLITE_GELU_TANH,
  BITLITE_HARD_SIGMOID,
  BITLITE_HARD_SWISH,
  BITLITE_LEAKY_RELU,
  BITLITE_LOG,
  BITLITE_NEG,
  BITLITE_RECIPROCAL,
  BITLITE_RSQRT,
  BITLITE_SIGMOID,
  BITLITE_SIN,
  BITLITE_SOFTPLUS,
  BITLITE_SQRT,
  BITLITE_SQUARE,
  BITLITE_SWISH,
  BITLITE_TANH
} bitlite_unary;
/* a, b: alpha and beta of HARD_SIGMOID; a: alpha of ELU and LEAKY_RELU. */
typedef struct {
  int32_t count;
  bitlite_unary function;
  float a, b;
} bitlite_unary_f32_args;
void bitlite_unary_f32(const bitlite_unary_f32_args *args, const float *x, float *y);

typedef struct {
  int32_t count;
  float low, high;
} bitlite_clip_f32_args;
void bitlite_clip_f32(const bitlite_clip_f32_args *args, const float *x, float *y);

/* Rows of `run` codes that lie x_row and y_row apart, to other parameters. x_flip, y_flip: 128 where that side is uint8
 * and both zero points are those of its codes less 128, else 0. */
typedef struct {
  int32_t rows, run, x_row, y_row, x_zero, same, x_flip, y_flip;
  float scale; /* of the input over that of the output */
  bitlite_codes out;
} bitlite_requantize_s8_args;
void bitlite_requantize_s8(const bitlite_requantize_s8_args *args, const void *x, void *y);

typedef struct {
  int32_t count, y_flip;
  float inverse; /* 1 / scale of the output */
  bitlite_codes out;
} bitlite_quantize_s8_args;
void bitlite_quantize_s8(const bitlite_quantize_s8_args *args, const float *x, void *y);

typedef struct {
  int32_t count, x_zero, x_flip;
  float scale;
} bitlite_dequantize_s8_args;
void bitlite_dequantize_s8(const bitlite_dequantize_s8_args *args, const void *x, float *y);

/* Runs of run_bytes that lie evenly along up to five axes, the innermost last. */
typedef struct {
  int32_t extent[5], x_stride[5], y_stride[5]; /* strides in bytes */
  int32_t x_offset, y_offset, run_bytes;
} bitlite_copy_args;
void bitlite_copy(const bitlite_copy_args *args, const void *x, void *y);

typedef struct {
  int32_t count;
  float value;
} bitlite_fill_f32_args;
void bitlite_fill_f32(const bitlite_fill_f32_args *args, float *y);
typedef struct {
  int32_t count;
  int32_t value;
} bitlite_fill_s8_args;
void bitlite_fill_s8(const bitlite_fill_s8_args *args, int8_t *y);

#endif
