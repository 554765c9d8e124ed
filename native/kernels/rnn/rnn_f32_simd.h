// The rnn_f32 and rnn_scale kernels over Vec. No fused multiply-adds outside the
// activations.
#pragma once

#include "kernels/common/math_f32.h"
#include "rnn_f32.h"

namespace {

struct SigmoidGate {
  Vec operator()(Vec x) const { return Sigmoid(x); }
};
struct TanhGate {
  Vec operator()(Vec x) const { return Tanh(x); }
};
struct AnyGate {
  explicit AnyGate(const bitlite::GateAct& act) : op(act.op), a(Set(act.a)), b(Set(act.b)) {}
  Vec operator()(Vec x) const {
    switch (op) {
      case bitlite::GateOp::kSigmoid:
        return Sigmoid(x);
      case bitlite::GateOp::kTanh:
        return Tanh(x);
      case bitlite::GateOp::kRelu:
        return Max(Set(0.0f), x);
      case bitlite::GateOp::kHardSigmoid:
        return Min(Set(1.0f), Max(Set(0.0f), a * x + b));
    }
    return x;
  }
  bitlite::GateOp op;
  Vec a, b;
};

struct NoClip {
  explicit NoClip(float) {}
  Vec operator()(Vec x) const { return x; }
};
// NaN stays.
struct RnnClip {
  explicit RnnClip(float bound) : low(Set(-bound)), high(Set(bound)) {}
  Vec operator()(Vec x) const { return Min(high, Max(low, x)); }
  Vec low, high;
};

constexpr int kBlock = bitlite::kRnnBlock;

// Where lanes [v, v + width) of a block's gate stand.
template <int GATES>
inline const float* GateAt(const float* p, int64_t block, int gate, int v) {
  return p + (block * GATES + gate) * kBlock + v;
}

template <int GATES>
inline Vec SumAt(const bitlite::RnnF32Args& t, int64_t block, int gate, int v) {
  return Load(GateAt<GATES>(t.x, block, gate, v)) + Load(GateAt<GATES>(t.h, block, gate, v)) +
         Load(GateAt<GATES>(t.bias, block, gate, v));
}

// In two passes over a run of units, so that the activations of one pass do not wait for each
// other.
template <typename Clip, typename F, typename G, typename H>
inline void LstmRow(const bitlite::RnnF32Args& t, F f, G g, H h) {
  constexpr int64_t kBlocks = 4;
  const Clip clip(t.clip), cell_clip(t.cell_clip);
  const Vec one = Set(1.0f);
  alignas(64) float out[kBlocks * kBlock];
  for (int64_t first = 0; first < t.blocks; first += kBlocks) {
    const int64_t last = first + kBlocks < t.blocks ? first + kBlocks : t.blocks;
    for (int64_t at = first * kBlock; at < last * kBlock; at += Vec::kWidth) {
      const int64_t block = at / kBlock;
      const int v = static_cast<int>(at % kBlock);
      Vec i = SumAt<4>(t, block, 0, v), o = SumAt<4>(t, block, 1, v);
      Vec forget = SumAt<4>(t, block, 2, v);
      const Vec candidate = g(clip(SumAt<4>(t, block, 3, v)));
      Vec cell = Load(t.cell + at);
      if (t.peephole != nullptr) {
        i = i + Load(GateAt<3>(t.peephole, block, 0, v)) * cell;
        forget = forget + Load(GateAt<3>(t.peephole, block, 2, v)) * cell;
      }
      i = f(clip(i));
      forget = t.input_forget ? one - i : f(clip(forget));
      cell = cell_clip(forget * cell + i * candidate);
      if (t.peephole != nullptr) o = o + Load(GateAt<3>(t.peephole, block, 1, v)) * cell;
      Store(t.cell + at, cell);
      Store(out + (at - first * kBlock), f(clip(o)));
    }
    for (int64_t at = first * kBlock; at < last * kBlock; at += Vec::kWidth) {
      Store(t.y + at, Load(out + (at - first * kBlock)) * h(Load(t.cell + at)));
    }
  }
}

template <typename Clip, typename F>
inline void GruResetRow(const bitlite::RnnF32Args& t, F f) {
  const Clip clip(t.clip);
  for (int64_t block = 0; block < t.blocks; ++block) {
    for (int v = 0; v < kBlock; v += Vec::kWidth) {
      const int64_t at = block * kBlock + v;
      const auto gate = [&](int k) {
        return f(clip(Load(GateAt<3>(t.x, block, k, v)) + Load(GateAt<2>(t.h, block, k, v)) +
                      Load(GateAt<3>(t.bias, block, k, v))));
      };
      Store(t.z + at, gate(0));
      Store(t.y + at, gate(1) * Load(t.state + at));
    }
  }
}

inline Vec Mix(Vec z, Vec candidate, Vec state) { return (Set(1.0f) - z) * candidate + z * state; }

template <typename Clip, typename G>
inline void GruCandidateRow(const bitlite::RnnF32Args& t, G g) {
  const Clip clip(t.clip);
  for (int64_t block = 0; block < t.blocks; ++block) {
    for (int v = 0; v < kBlock; v += Vec::kWidth) {
      const int64_t at = block * kBlock + v;
      const Vec inner = Load(GateAt<3>(t.x, block, 2, v)) + Load(GateAt<1>(t.h, block, 0, v)) +
                        Load(GateAt<3>(t.bias, block, 2, v));
      Store(t.y + at, Mix(Load(t.z + at), g(clip(inner)), Load(t.state + at)));
    }
  }
}

template <typename Clip, typename F, typename G>
inline void GruLinearRow(const bitlite::RnnF32Args& t, F f, G g) {
  const Clip clip(t.clip);
  for (int64_t block = 0; block < t.blocks; ++block) {
    for (int v = 0; v < kBlock; v += Vec::kWidth) {
      const int64_t at = block * kBlock + v;
      const Vec z = f(clip(SumAt<3>(t, block, 0, v)));
      const Vec reset = f(clip(SumAt<3>(t, block, 1, v)));
      const Vec inner = Load(GateAt<3>(t.h, block, 2, v)) + Load(GateAt<3>(t.bias, block, 2, v));
      const Vec candidate = g(clip(Load(GateAt<3>(t.x, block, 2, v)) + reset * inner));
      Store(t.y + at, Mix(z, candidate, Load(t.state + at)));
    }
  }
}

template <typename Clip, typename F>
inline void PlainRow(const bitlite::RnnF32Args& t, F f) {
  const Clip clip(t.clip);
  for (int64_t block = 0; block < t.blocks; ++block) {
    for (int v = 0; v < kBlock; v += Vec::kWidth) {
      Store(t.y + block * kBlock + v, f(clip(SumAt<1>(t, block, 0, v))));
    }
  }
}

template <bool ZEROS, bool BIAS>
inline void ScaleRow(const bitlite::RnnScaleArgs& t) {
  const Vec scale = Set(t.scale);
  for (int64_t c = 0; c < t.columns; c += Vec::kWidth) {
    Ints sum = AddProduct(LoadInts(t.acc + c), LoadInts(t.sums + c), t.factor);
    if (ZEROS) sum = AddProduct(sum, LoadInts(t.zeros + c), t.zeros_factor);
    Vec y = ToFloat(sum) * (scale * Load(t.scales + c));
    if (BIAS) y = y + Load(t.bias + c);
    Store(t.y + c, y);
  }
}

inline void RnnScale(const bitlite::RnnScaleArgs& t) {
  if (t.zeros != nullptr) {
    return t.bias != nullptr ? ScaleRow<true, true>(t) : ScaleRow<true, false>(t);
  }
  return t.bias != nullptr ? ScaleRow<false, true>(t) : ScaleRow<false, false>(t);
}

template <typename Clip>
inline void RnnStages(const bitlite::RnnF32Args& t) {
  using bitlite::GateOp;
  using bitlite::RnnStage;
  const bool gates = t.act_f.op == GateOp::kSigmoid && t.act_g.op == GateOp::kTanh;
  switch (t.stage) {
    case RnnStage::kLstm:
      return gates && t.act_h.op == GateOp::kTanh
                 ? LstmRow<Clip>(t, SigmoidGate(), TanhGate(), TanhGate())
                 : LstmRow<Clip>(t, AnyGate(t.act_f), AnyGate(t.act_g), AnyGate(t.act_h));
    case RnnStage::kGruReset:
      return gates ? GruResetRow<Clip>(t, SigmoidGate()) : GruResetRow<Clip>(t, AnyGate(t.act_f));
    case RnnStage::kGruCandidate:
      return gates ? GruCandidateRow<Clip>(t, TanhGate())
                   : GruCandidateRow<Clip>(t, AnyGate(t.act_g));
    case RnnStage::kGruLinear:
      return gates ? GruLinearRow<Clip>(t, SigmoidGate(), TanhGate())
                   : GruLinearRow<Clip>(t, AnyGate(t.act_f), AnyGate(t.act_g));
    case RnnStage::kRnn:
      return t.act_f.op == GateOp::kTanh ? PlainRow<Clip>(t, TanhGate())
                                         : PlainRow<Clip>(t, AnyGate(t.act_f));
  }
}

inline void RnnKernel(const bitlite::RnnF32Args& t) {
  constexpr float kNone = __builtin_inff();
  return t.clip == kNone && t.cell_clip == kNone ? RnnStages<NoClip>(t) : RnnStages<RnnClip>(t);
}

}  // namespace

namespace bitlite {

void BITLITE_VEC_KERNEL(rnn_f32)(const RnnF32Args& t) { RnnKernel(t); }
void BITLITE_VEC_KERNEL(rnn_scale)(const RnnScaleArgs& t) { RnnScale(t); }

}  // namespace bitlite
