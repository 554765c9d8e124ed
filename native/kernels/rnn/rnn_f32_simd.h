// The rnn_f32 and rnn_scale kernels over Vec. No fused multiply-adds outside the
// activations.
#pragma once

#include "kernels/common/math_f32.h"
#include "kernels/common/vecs.h"
#include "rnn_f32.h"

namespace {

// Activations of a Vec, or of several: see Vecs.
struct SigmoidGate {
  template <typename V>
  [[gnu::always_inline]] V operator()(V x) const {
    return Sigmoid(x);
  }
};
struct TanhGate {
  template <typename V>
  [[gnu::always_inline]] V operator()(V x) const {
    return Tanh(x);
  }
};
struct AnyGate {
  explicit AnyGate(const bitlite::GateAct& act) : op(act.op), a(Set(act.a)), b(Set(act.b)) {}
  template <typename V>
  V operator()(V x) const {
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
  template <typename V>
  V operator()(V x) const {
    return x;
  }
};
// NaN stays.
struct RnnClip {
  explicit RnnClip(float bound) : low(Set(-bound)), high(Set(bound)) {}
  template <typename V>
  V operator()(V x) const {
    return Min(high, Max(low, x));
  }
  Vec low, high;
};

constexpr int kBlock = bitlite::kRnnBlock;
// Blocks of a run: what the passes over one leave to each other stays in the first level of cache.
constexpr int64_t kRun = 4;

// Units of a run.
struct Run {
  int64_t begin, end;
};

template <typename F>
inline void EachRun(int64_t blocks, F f) {
  for (int64_t first = 0; first < blocks; first += kRun) {
    const int64_t last = first + kRun < blocks ? first + kRun : blocks;
    f(Run{first * kBlock, last * kBlock});
  }
}

// done(at, f(value(at))) for the units of a run, four Vecs at a time: of fewer, the activations
// would wait for each other.
template <typename F, typename Value, typename Done>
[[gnu::always_inline]] inline void Activate(const Run& run, F f, Value value, Done done) {
  constexpr int kMany = 4;
  int64_t at = run.begin;
  for (; at + kMany * Vec::kWidth <= run.end; at += kMany * Vec::kWidth) {
    const Vecs<kMany> y = f(Vecs<kMany>::Each([&](int i) { return value(at + i * Vec::kWidth); }));
#pragma GCC unroll 4
    for (int i = 0; i < kMany; ++i) done(at + i * Vec::kWidth, y.v[i]);
  }
  for (; at < run.end; at += Vec::kWidth) done(at, f(value(at)));
}

// Where the lanes from unit `at` on of a gate stand.
template <int GATES>
inline const float* GateAt(const float* p, int64_t at, int gate) {
  return p + (at / kBlock * GATES + gate) * kBlock + at % kBlock;
}

template <int GATES>
inline Vec SumAt(const bitlite::RnnF32Args& t, int64_t at, int gate) {
  return Load(GateAt<GATES>(t.x, at, gate)) + Load(GateAt<GATES>(t.h, at, gate)) +
         Load(GateAt<GATES>(t.bias, at, gate));
}

// Gates i, f, o and the candidate, each of a run's units, in passes.
template <typename Clip, typename F, typename G, typename H>
[[gnu::flatten]] inline void LstmRow(const bitlite::RnnF32Args& t, F f, G g, H h) {
  const Clip clip(t.clip), cell_clip(t.cell_clip);
  const Vec one = Set(1.0f);
  alignas(64) float in[kRun * kBlock], forget[kRun * kBlock], out[kRun * kBlock];
  // A gate with what it takes of the cell.
  const auto sum = [&](int64_t at, int gate) {
    const Vec v = SumAt<4>(t, at, gate);
    return t.peephole == nullptr ? v
                                 : v + Load(GateAt<3>(t.peephole, at, gate)) * Load(t.cell + at);
  };
  EachRun(t.blocks, [&](const Run& run) {
    const auto keep = [&](float* to) {
      return [&run, to](int64_t at, Vec v) { Store(to + (at - run.begin), v); };
    };
    Activate(run, f, [&](int64_t at) { return clip(sum(at, 0)); }, keep(in));
    if (!t.input_forget) {
      Activate(run, f, [&](int64_t at) { return clip(sum(at, 2)); }, keep(forget));
    }
    Activate(
        run, g, [&](int64_t at) { return clip(SumAt<4>(t, at, 3)); },
        [&](int64_t at, Vec candidate) {
          const Vec i = Load(in + (at - run.begin));
          const Vec kept = t.input_forget ? one - i : Load(forget + (at - run.begin));
          Store(t.cell + at, cell_clip(kept * Load(t.cell + at) + i * candidate));
        });
    Activate(run, f, [&](int64_t at) { return clip(sum(at, 1)); }, keep(out));
    Activate(
        run, h, [&](int64_t at) { return Load(t.cell + at); },
        [&](int64_t at, Vec v) { Store(t.y + at, Load(out + (at - run.begin)) * v); });
  });
}

template <typename Clip, typename F>
[[gnu::flatten]] inline void GruResetRow(const bitlite::RnnF32Args& t, F f) {
  const Clip clip(t.clip);
  const auto sum = [&](int64_t at, int gate) {
    return clip(Load(GateAt<3>(t.x, at, gate)) + Load(GateAt<2>(t.h, at, gate)) +
                Load(GateAt<3>(t.bias, at, gate)));
  };
  EachRun(t.blocks, [&](const Run& run) {
    Activate(
        run, f, [&](int64_t at) { return sum(at, 0); },
        [&](int64_t at, Vec z) { Store(t.z + at, z); });
    Activate(
        run, f, [&](int64_t at) { return sum(at, 1); },
        [&](int64_t at, Vec r) { Store(t.y + at, r * Load(t.state + at)); });
  });
}

inline Vec Mix(Vec z, Vec candidate, Vec state) { return (Set(1.0f) - z) * candidate + z * state; }

template <typename Clip, typename G>
[[gnu::flatten]] inline void GruCandidateRow(const bitlite::RnnF32Args& t, G g) {
  const Clip clip(t.clip);
  EachRun(t.blocks, [&](const Run& run) {
    Activate(
        run, g,
        [&](int64_t at) {
          return clip(Load(GateAt<3>(t.x, at, 2)) + Load(GateAt<1>(t.h, at, 0)) +
                      Load(GateAt<3>(t.bias, at, 2)));
        },
        [&](int64_t at, Vec candidate) {
          Store(t.y + at, Mix(Load(t.z + at), candidate, Load(t.state + at)));
        });
  });
}

template <typename Clip, typename F, typename G>
[[gnu::flatten]] inline void GruLinearRow(const bitlite::RnnF32Args& t, F f, G g) {
  const Clip clip(t.clip);
  alignas(64) float z[kRun * kBlock], reset[kRun * kBlock];
  EachRun(t.blocks, [&](const Run& run) {
    const auto gate = [&](int k, float* to) {
      Activate(
          run, f, [&](int64_t at) { return clip(SumAt<3>(t, at, k)); },
          [&](int64_t at, Vec v) { Store(to + (at - run.begin), v); });
    };
    gate(0, z);
    gate(1, reset);
    Activate(
        run, g,
        [&](int64_t at) {
          const Vec inner = Load(GateAt<3>(t.h, at, 2)) + Load(GateAt<3>(t.bias, at, 2));
          return clip(Load(GateAt<3>(t.x, at, 2)) + Load(reset + (at - run.begin)) * inner);
        },
        [&](int64_t at, Vec candidate) {
          Store(t.y + at, Mix(Load(z + (at - run.begin)), candidate, Load(t.state + at)));
        });
  });
}

template <typename Clip, typename F>
[[gnu::flatten]] inline void PlainRow(const bitlite::RnnF32Args& t, F f) {
  const Clip clip(t.clip);
  EachRun(t.blocks, [&](const Run& run) {
    Activate(
        run, f, [&](int64_t at) { return clip(SumAt<1>(t, at, 0)); },
        [&](int64_t at, Vec y) { Store(t.y + at, y); });
  });
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
