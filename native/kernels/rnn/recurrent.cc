#include "recurrent.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/kernels.h"
#include "kernels/gemm_s8/dynamic_s8.h"
#include "rnn_constants.h"
#include "rnn_schedule.h"

namespace bitlite {
namespace {

class Recurrent final : public Step {
 public:
  Recurrent(const RnnLayer& layer, PlanContext& plan);
  void Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept override;

 private:
  // Sequences [first, first + rows) in direction d, with what they have in Step::scratch.
  struct Lane {
    int64_t d, first, rows;
    float *input[2], *product, *reset, *z, *state[2], *cell;
    RnnRange* ranges;  // by part: of state[0], of state[1], of reset
  };

  Lane LaneOf(const StepArgs& args, int64_t index) const noexcept;
  int64_t Length(const StepArgs& args, int64_t n) const noexcept;
  int64_t Position(int64_t d, int64_t k, int64_t length) const noexcept;
  void Start(const StepArgs& args, const Lane& lane) const noexcept;
  void Project(const StepArgs& args, const Lane& lane, int64_t chunk, int64_t share,
               int64_t shares) const noexcept;
  void Recur(const StepArgs& args, const Lane& lane, int64_t chunk) const noexcept;
  void Units(const StepArgs& args, const Lane& lane, int64_t k, int64_t part) const noexcept;
  void Candidates(const StepArgs& args, const Lane& lane, int64_t k, int64_t part) const noexcept;
  // x: the state before step k, or with reset what the candidates take of it.
  void Multiply(const StepArgs& args, const Lane& lane, const RnnMatrix& w, int64_t k, bool reset,
                int64_t part, float* y) const noexcept;
  void NoteRange(const Lane& lane, int which, int64_t part) const noexcept;
  void Gates(const StepArgs& args, RnnStage stage, const Lane& lane, int64_t k,
             int64_t part) const noexcept;
  void Finish(const StepArgs& args, const Lane& lane, int64_t k, int64_t part) const noexcept;
  const float* Given(const StepArgs& args, int input) const noexcept {
    const Aligned<float>& constant = start_[input - 5];
    return constant.size() > 0 ? constant.data() : args.In<float>(input);
  }

  const RnnLayer l_;
  rnn_f32::Fn* const gates_;
  const VectorS8Kernel* vector_ = nullptr;  // of dynamic layers
  const int64_t blocks_, width_;            // of the units; width_: units with padding
  const RnnSchedule s_;
  bool wide_lengths_ = false;
  Aligned<float> start_[2];  // h0 and c0 where they are constant
  std::vector<RnnConstants> constants_;
  RnnCodes input_codes_, state_codes_;
  DynamicInput input_;
  int64_t range_bytes_ = 0;
  size_t memory_ = 0, memory_at_ = 0;  // bytes of a lane, and where they begin
};

Recurrent::Recurrent(const RnnLayer& layer, PlanContext& plan)
    : l_(layer),
      gates_(SelectKernel<rnn_f32>(plan.isa).fn),
      blocks_(CeilDiv(layer.hidden, kRnnBlock)),
      width_(blocks_ * kRnnBlock),
      s_(layer, plan.threads, SelectKernel<gemm_f32>(plan.isa).mr) {
  wide_lengths_ = plan.Has(4) && plan.In(4).dtype == DType::kI64;
  for (int i : {5, 6}) {
    if (!plan.Has(i) || !plan.In(i).constant) continue;
    const std::vector<float> values = RealValues(plan.In(i));
    start_[i - 5].Reset(values.size());
    std::copy(values.begin(), values.end(), start_[i - 5].data());
  }
  cost_ns = s_.cost_ns;
  phases.clear();
  for (const RnnSchedule::Phase& phase : s_.phases) phases.push_back(phase.items);
  for (int64_t d = 0; d < l_.directions; ++d) {
    constants_.push_back(PackDirection(l_, plan, d, s_));
  }
  if (l_.dynamic) {
    const VectorS8Kernel& vector = SelectVectorS8(plan.isa);
    vector_ = &vector;
    const RnnConstants& c = constants_[0];
    input_codes_ =
        RnnCodes(c.input.tiles(), vector, l_.size, s_.chunk * s_.lane_rows, c.input.wants_sums());
    state_codes_ = RnnCodes(c.state.tiles(), vector, l_.hidden, s_.lane_rows, c.state.wants_sums());
    input_ = DynamicInput(plan.In(0).count, plan.threads, vector);
    phases.insert(phases.begin(), {input_.parts(), input_.parts()});
    memory_at_ = static_cast<size_t>(CeilDiv(input_.scratch(), 64) * 64);
    thread_scratch = std::max(input_codes_.bytes(), state_codes_.bytes());
  } else {
    // Where the rows of a product start.
    thread_scratch = static_cast<size_t>(s_.chunk * s_.lane_rows) * sizeof(void*);
  }
  const int64_t floats = s_.lane_rows * (s_.buffers * s_.chunk * l_.gates() * width_ +
                                         l_.gates() * width_ + 5 * width_);
  range_bytes_ = CeilDiv(3 * s_.parts * static_cast<int64_t>(sizeof(RnnRange)), 64) * 64;
  memory_ = static_cast<size_t>(floats) * sizeof(float) + static_cast<size_t>(range_bytes_);
  scratch = memory_at_ + memory_ * static_cast<size_t>(s_.lanes);
}

void Recurrent::Run(const StepArgs& args, int phase, int64_t begin, int64_t end) const noexcept {
  if (l_.dynamic) {
    if (phase == 0) return input_.FindRange(args.In<float>(0), args.scratch, begin, end);
    if (phase == 1) return input_.Quantize(args.In<float>(0), args.scratch, begin, end);
    phase -= 2;
  }
  using Kind = RnnSchedule::Kind;
  const RnnSchedule::Phase now = s_.phases[phase];
  for (int64_t item = begin; item < end; ++item) {
    const Lane lane = LaneOf(args, item % s_.lanes);
    int64_t part = item / s_.lanes;
    switch (now.kind) {
      case Kind::kLanes:
        Start(args, lane);
        for (int64_t c = 0; c < s_.chunks; ++c) {
          Project(args, lane, c, 0, 1);
          Recur(args, lane, c);
        }
        break;
      case Kind::kChunk:
        if (now.index == 0 && part == 0) Start(args, lane);
        if (now.index > 0 && !s_.together && part-- == 0) {
          Recur(args, lane, now.index - 1);
        } else {
          Project(args, lane, now.index, part, now.index == 0 ? s_.first_shares : s_.shares);
        }
        break;
      case Kind::kUnits:
        Units(args, lane, now.index, part);
        break;
      default:
        Candidates(args, lane, now.index, part);
    }
  }
}

Recurrent::Lane Recurrent::LaneOf(const StepArgs& args, int64_t index) const noexcept {
  const int64_t set = index / l_.directions;
  Lane lane{};
  lane.d = index % l_.directions;
  lane.first = l_.batch * set / s_.sets;
  lane.rows = l_.batch * (set + 1) / s_.sets - lane.first;
  uint8_t* memory = args.scratch + memory_at_ + static_cast<size_t>(index) * memory_;
  lane.ranges = reinterpret_cast<RnnRange*>(memory);
  float* at = reinterpret_cast<float*>(memory + range_bytes_);
  const auto take = [&](int64_t per_row) {
    float* p = at;
    at += s_.lane_rows * per_row;
    return p;
  };
  for (int64_t i = 0; i < s_.buffers; ++i) lane.input[i] = take(s_.chunk * l_.gates() * width_);
  lane.product = take(l_.gates() * width_);
  lane.reset = take(width_);
  lane.z = take(width_);
  for (float*& p : lane.state) p = take(width_);
  lane.cell = l_.cell == RnnCell::kLstm ? take(width_) : nullptr;
  return lane;
}

int64_t Recurrent::Length(const StepArgs& args, int64_t n) const noexcept {
  if (args.in[4] == nullptr) return l_.steps;
  const int64_t given = wide_lengths_ ? args.In<int64_t>(4)[n] : args.In<int32_t>(4)[n];
  return std::clamp<int64_t>(given, 0, l_.steps);
}

// The step of the sequence that is the k-th to come: one that is read backwards starts at its end.
int64_t Recurrent::Position(int64_t d, int64_t k, int64_t length) const noexcept {
  return (d == 1 || l_.reverse) && k < length ? length - 1 - k : k;
}

void Recurrent::Start(const StepArgs& args, const Lane& lane) const noexcept {
  const auto fill = [&](const float* from, float* to) {
    std::memset(to, 0, static_cast<size_t>(lane.rows * width_) * sizeof(float));
    for (int64_t r = 0; from != nullptr && r < lane.rows; ++r) {
      std::copy_n(from + (lane.d * l_.batch + lane.first + r) * l_.hidden, l_.hidden,
                  to + r * width_);
    }
  };
  fill(Given(args, 5), lane.state[0]);
  for (int64_t part = 0; l_.dynamic && part < s_.parts; ++part) NoteRange(lane, 0, part);
  if (lane.cell != nullptr) fill(Given(args, 6), lane.cell);
}

// The products with x of a share of a chunk's rows.
void Recurrent::Project(const StepArgs& args, const Lane& lane, int64_t chunk, int64_t share,
                        int64_t shares) const noexcept {
  const int64_t first_step = chunk * s_.chunk;
  const int64_t rows = std::min(s_.chunk, l_.steps - first_step) * lane.rows;
  const int64_t begin = rows * share / shares, count = rows * (share + 1) / shares - begin;
  if (count == 0) return;
  const auto row_of = [&](int64_t r) {
    const int64_t n = lane.first + (begin + r) % lane.rows;
    const int64_t k = first_step + (begin + r) / lane.rows;
    return (Position(lane.d, k, Length(args, n)) * l_.batch + n) * l_.size;
  };
  float* y = lane.input[chunk % s_.buffers] + begin * l_.gates() * width_;
  const RnnMatrix& w = constants_[lane.d].input;
  if (l_.dynamic) {
    const int8_t* codes = input_.Codes(args.scratch);
    for (int64_t r = 0; r < count; ++r) {
      input_codes_.Take(args.thread_scratch, r, codes + row_of(r));
    }
    const DynamicS8 params = input_.Params(args.scratch);
    w.Multiply(input_codes_.All(args.thread_scratch, count, params), 0, false, y);
    return;
  }
  const float** address = reinterpret_cast<const float**>(args.thread_scratch);
  for (int64_t r = 0; r < count; ++r) address[r] = args.In<float>(0) + row_of(r);
  w.Multiply(address, count, 0, false, y);
}

void Recurrent::Recur(const StepArgs& args, const Lane& lane, int64_t chunk) const noexcept {
  const int64_t end = std::min(l_.steps, (chunk + 1) * s_.chunk);
  for (int64_t k = chunk * s_.chunk; k < end; ++k) {
    Units(args, lane, k, 0);
    if (l_.two_stages()) Candidates(args, lane, k, 0);
  }
}

void Recurrent::Multiply(const StepArgs& args, const Lane& lane, const RnnMatrix& w, int64_t k,
                         bool reset, int64_t part, float* y) const noexcept {
  const float* x = reset ? lane.reset : lane.state[k % 2];
  if (l_.dynamic) {
    RnnRange range;
    for (int64_t other = lane.d; other < s_.lanes; other += l_.directions) {
      const RnnRange* ranges = LaneOf(args, other).ranges + (reset ? 2 : k % 2) * s_.parts;
      for (int64_t p = 0; p < s_.parts; ++p) range.Take(ranges[p]);
    }
    const DynamicS8 params = ChooseDynamic(range.low, range.high);
    state_codes_.Quantize(args.thread_scratch, x, lane.rows, width_, params);
    w.Multiply(state_codes_.All(args.thread_scratch, lane.rows, params), part, k % 2 == 1, y);
    return;
  }
  const float** address = reinterpret_cast<const float**>(args.thread_scratch);
  for (int64_t r = 0; r < lane.rows; ++r) address[r] = x + r * width_;
  w.Multiply(address, lane.rows, part, k % 2 == 1, y);
}

// which: state[0], state[1] or reset.
void Recurrent::NoteRange(const Lane& lane, int which, int64_t part) const noexcept {
  const int64_t first = blocks_ * part / s_.parts * kRnnBlock;
  const int64_t count = std::min(blocks_ * (part + 1) / s_.parts * kRnnBlock, l_.hidden) - first;
  const float* x = which == 2 ? lane.reset : lane.state[which];
  RnnRange range;
  for (int64_t r = 0; r < lane.rows; ++r) {
    vector_->widen_range(x + r * width_ + first, count, &range.low, &range.high);
  }
  lane.ranges[which * s_.parts + part] = range;
}

// Step k for a part of the units: all of it, or the gates before the candidates.
void Recurrent::Units(const StepArgs& args, const Lane& lane, int64_t k,
                      int64_t part) const noexcept {
  Multiply(args, lane, constants_[lane.d].state, k, false, part, lane.product);
  switch (l_.cell) {
    case RnnCell::kGru:
      return Gates(args, RnnStage::kGruReset, lane, k, part);
    case RnnCell::kLstm:
      Gates(args, RnnStage::kLstm, lane, k, part);
      break;
    case RnnCell::kGruLinear:
      Gates(args, RnnStage::kGruLinear, lane, k, part);
      break;
    case RnnCell::kRnn:
      Gates(args, RnnStage::kRnn, lane, k, part);
      break;
  }
  Finish(args, lane, k, part);
}

void Recurrent::Candidates(const StepArgs& args, const Lane& lane, int64_t k,
                           int64_t part) const noexcept {
  float* product = lane.product + 2 * lane.rows * width_;
  Multiply(args, lane, constants_[lane.d].candidate, k, true, part, product);
  Gates(args, RnnStage::kGruCandidate, lane, k, part);
  Finish(args, lane, k, part);
}

void Recurrent::Gates(const StepArgs& args, RnnStage stage, const Lane& lane, int64_t k,
                      int64_t part) const noexcept {
  const RnnConstants& c = constants_[lane.d];
  const int64_t first = blocks_ * part / s_.parts, unit = first * kRnnBlock, many = l_.gates();
  const int64_t in_product = stage == RnnStage::kGruReset       ? 2
                             : stage == RnnStage::kGruCandidate ? 1
                                                                : many;
  const float* product =
      lane.product + (stage == RnnStage::kGruCandidate ? 2 * lane.rows * width_ : 0);
  const float* input =
      lane.input[k / s_.chunk % s_.buffers] + k % s_.chunk * lane.rows * many * width_;
  const GateAct* acts = l_.acts.data() + lane.d * l_.acts_each();
  RnnF32Args t{};
  t.stage = stage;
  t.blocks = blocks_ * (part + 1) / s_.parts - first;
  t.bias = c.bias.data() + unit * many;
  if (c.peephole.size() > 0) t.peephole = c.peephole.data() + unit * 3;
  t.act_f = acts[0];
  if (l_.acts_each() > 1) t.act_g = acts[1];
  if (l_.acts_each() > 2) t.act_h = acts[2];
  t.clip = l_.clip;
  t.cell_clip = l_.cell_clip;
  t.input_forget = l_.input_forget;
  float* to = stage == RnnStage::kGruReset ? lane.reset : lane.state[(k + 1) % 2];
  for (int64_t r = 0; r < lane.rows; ++r) {
    const int64_t at = r * width_ + unit;
    t.x = input + (r * width_ + unit) * many;
    t.h = product + at * in_product;
    t.state = lane.state[k % 2] + at;
    t.z = lane.z + at;
    t.cell = lane.cell == nullptr ? nullptr : lane.cell + at;
    t.y = to + at;
    if (stage != RnnStage::kGruReset && k >= Length(args, lane.first + r)) {
      // The sequence has ended: its state stays.
      std::copy_n(t.state, t.blocks * kRnnBlock, t.y);
    } else {
      gates_(t);
    }
  }
  if (l_.dynamic) {
    NoteRange(lane, stage == RnnStage::kGruReset ? 2 : static_cast<int>((k + 1) % 2), part);
  }
}

// The outputs of step k for a part of the units.
void Recurrent::Finish(const StepArgs& args, const Lane& lane, int64_t k,
                       int64_t part) const noexcept {
  const int64_t first = blocks_ * part / s_.parts * kRnnBlock;
  const int64_t count = std::min(blocks_ * (part + 1) / s_.parts * kRnnBlock, l_.hidden) - first;
  const bool last = k == l_.steps - 1;
  for (int64_t r = 0; r < lane.rows; ++r) {
    const int64_t n = lane.first + r, at = r * width_ + first;
    const int64_t length = Length(args, n), position = Position(lane.d, k, length);
    const float* h = lane.state[(k + 1) % 2] + at;
    const int64_t row = (position * l_.directions + lane.d) * l_.batch + n;
    float* y = args.Out<float>(0) + row * l_.hidden + first;
    if (k < length) {
      std::copy_n(h, count, y);
    } else {
      std::fill_n(y, count, 0.0f);
    }
    if (!last) continue;
    const int64_t end = (lane.d * l_.batch + n) * l_.hidden + first;
    std::copy_n(h, count, args.Out<float>(1) + end);
    if (lane.cell != nullptr) std::copy_n(lane.cell + at, count, args.Out<float>(2) + end);
  }
}

}  // namespace

std::unique_ptr<Step> NewRecurrent(const RnnLayer& layer, PlanContext& plan) {
  return std::make_unique<Recurrent>(layer, plan);
}

}  // namespace bitlite
