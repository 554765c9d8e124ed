// Families rnn_f32 and rnn_scale: what stands around the matrix products of a
// recurrent layer, for one sequence and a run of units.
//
// Products lie in blocks of kRnnBlock units, [block][gate][kRnnBlock]; states as
// [block][kRnnBlock], which is the units in order. A gate is act(clip(x + h + bias)), added in that
// order, and every operation of a cell rounds once: a reference that takes the same activations
// gives the same bits.
#pragma once

#include <cstdint>

namespace bitlite {

constexpr int kRnnBlock = 16;

enum class RnnStage : int {
  kLstm,          // gates i o f c
  kGruReset,      // gates z r of a GRU that resets the state before the product: z, y = r * state
  kGruCandidate,  // its gate h: y = (1 - z) * g(x + h + bias) + z * state
  kGruLinear,     // gates z r h of a GRU that resets the product: g(x + r * (h + bias))
  kRnn,           // y = f(x + h + bias)
};

// A row of integer accumulators as the product of real numbers, columns a multiple of kRnnBlock:
//   y = float32(acc + sums * factor + zeros * zeros_factor) * (scale * scales) + bias
// each operation rounded once.
struct RnnScaleArgs {
  const int32_t* acc;
  int64_t columns;
  const int32_t* sums;   // of the weights' columns
  const int32_t* zeros;  // zero points of the columns, or null
  const float* scales;   // of the columns
  const float* bias;     // or null
  int32_t factor, zeros_factor;
  float scale;
  float* y;  // may be where acc is
};

enum class GateOp : int { kSigmoid, kTanh, kRelu, kHardSigmoid };

struct GateAct {
  GateOp op = GateOp::kTanh;
  float a = 0, b = 0;  // kHardSigmoid: clamp(a x + b, 0, 1)
};

struct RnnF32Args {
  RnnStage stage;
  int64_t blocks;
  // Of an LSTM, a plain RNN and kGruLinear all gates; of the two stages of a GRU x and bias have
  // all three, h those of the stage.
  const float* x;
  const float* h;
  const float* bias;
  const float* peephole;  // LSTM: [block][i o f][kRnnBlock], or null
  const float* state;     // GRU: the state before
  float* cell;            // LSTM: the cell, in place
  float* z;               // GRU: between its two stages
  float* y;
  GateAct act_f, act_g, act_h;
  float clip, cell_clip;  // infinite where there is none
  bool input_forget;      // LSTM: the forget gate is 1 - i
};

struct rnn_f32 {
  using Fn = void(const RnnF32Args&);
};

struct rnn_scale {
  using Fn = void(const RnnScaleArgs&);
};

}  // namespace bitlite
