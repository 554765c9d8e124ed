// Planning, the thread pool and programs that run at the same time; meant for the sanitizers too.
#include "runtime.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "arena.h"
#include "kernel_cases.h"
#include "shared_constants.h"
#include "testing.h"
#include "thread_pool.h"

namespace bitlite {
namespace {

BITLITE_TEST(EqualConstantsOfAProgramAreOneArray) {
  const auto filled = [](size_t n, float value) {
    Aligned<float> a(n);
    std::fill_n(a.data(), n, value);
    Share(a);
    return a;
  };
  constexpr size_t kLarge = 4096, kSmall = 16;
  Aligned<float> kept;
  {
    const SlabScope scope;
    kept = filled(kLarge, 1.0f);
    CHECK(filled(kLarge, 1.0f).data() == kept.data());
    CHECK(filled(kLarge, 2.0f).data() != kept.data());
    CHECK(filled(kLarge / 2, 1.0f).data() != kept.data());
    const Aligned<float> small = filled(kSmall, 1.0f);
    CHECK(filled(kSmall, 1.0f).data() != small.data());
    Aligned<int32_t> other(kLarge);
    std::memcpy(other.data(), kept.data(), kLarge * sizeof(float));
    Share(other);
    CHECK(static_cast<void*>(other.data()) != kept.data());
  }
  CHECK(filled(kLarge, 1.0f).data() != kept.data());
  CHECK(kept[kLarge - 1] == 1.0f);
}

BITLITE_TEST(ArenaKeepsLiveBuffersApart) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> buffers;
    for (int i = 0; i < 40; ++i) {
      const int first = static_cast<int>(random() % 30);
      buffers.push_back({random() % 5000, first, first + static_cast<int>(random() % 6)});
    }
    const ArenaPlan plan = PlanArena(buffers);
    CHECK(plan.bytes >= ArenaLowerBound(buffers));
    for (size_t i = 0; i < buffers.size(); ++i) {
      CHECK(plan.offsets[i] % 64 == 0);
      CHECK(plan.offsets[i] + buffers[i].bytes <= plan.bytes);
      for (size_t k = 0; k < i; ++k) {
        const bool alive_together =
            buffers[i].first <= buffers[k].last && buffers[k].first <= buffers[i].last;
        const bool apart = plan.offsets[i] + buffers[i].bytes <= plan.offsets[k] ||
                           plan.offsets[k] + buffers[k].bytes <= plan.offsets[i];
        CHECK(!alive_together || apart) << i << " and " << k;
      }
    }
  }
}

BITLITE_TEST(PoolDoesEveryItemOnce) {
  for (int round = 0; round < 300; ++round) {
    // Workers that have no share of a job look on.
    const PoolLease lease(2 + round % 3);
    CHECK(lease.threads() >= 1);
    if (lease.threads() == 1) continue;
    // Job upon job: a worker may still look at the one before.
    for (int64_t items = 1 + round % 67; items > 0; items -= 7) {
      std::vector<int> done(static_cast<size_t>(items), 0);
      int* const counts = done.data();
      ThreadPool::Get().ParallelFor(
          lease.threads(), items, 1 + round % 9,
          [](const void* context, int, int64_t begin, int64_t end) {
            int* const done_of = *static_cast<int* const*>(context);
            for (int64_t i = begin; i < end; ++i) ++done_of[i];
          },
          &counts);
      for (int count : done) CHECK(count == 1);
    }
    // Now and then long enough for the workers to fall asleep.
    if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

BITLITE_TEST(PoolGoesToOneRunAtATime) {
  const PoolLease first(2);
  CHECK(first.threads() == 2);
  const PoolLease second(2);
  CHECK(second.threads() == 1);
}

TensorSpec Tensor(const std::string& name, Shape shape, const std::vector<float>* data = nullptr) {
  TensorSpec t;
  t.name = name;
  t.shape = std::move(shape);
  t.count = CountOf(t.shape);
  t.constant = data != nullptr;
  t.data = data != nullptr ? data->data() : nullptr;
  return t;
}

std::vector<float> Values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(n);
  for (float& v : values) v = static_cast<float>(random() % 2001) / 1000.0f - 1.0f;
  return values;
}

// conv 3x3 -> depthwise 3x3 -> conv 1x1 plus residual -> mean -> fully connected -> softmax.
struct Network {
  std::vector<float> w0 = Values(24 * 9 * 5, 1), w1 = Values(24 * 9, 2), w2 = Values(5 * 24, 3);
  std::vector<float> w3 = Values(10 * 5, 4);
  std::unique_ptr<Program> program;

  explicit Network(int threads, IsaMask isa) {
    std::vector<TensorSpec> tensors = {
        Tensor("x", {2, 33, 31, 5}),  Tensor("w0", {24, 3, 3, 5}, &w0),
        Tensor("a", {2, 33, 31, 24}), Tensor("w1", {24, 3, 3, 1}, &w1),
        Tensor("b", {2, 33, 31, 24}), Tensor("w2", {5, 1, 1, 24}, &w2),
        Tensor("c", {2, 33, 31, 5}),  Tensor("d", {2, 5}),
        Tensor("w3", {10, 5}, &w3),   Tensor("e", {2, 10}),
        Tensor("y", {2, 10}),
    };
    const auto step = [](const char* op, std::vector<int> in, int out,
                         std::map<std::string, Attr> attrs) {
      StepSpec s;
      s.op = op;
      s.name = op + std::to_string(out);
      s.inputs = std::move(in);
      s.outputs = {out};
      s.attrs = std::move(attrs);
      return s;
    };
    using Ints = std::vector<int64_t>;
    const Attr same = Ints{1, 1, 1, 1}, clip = std::string("clip");
    std::vector<StepSpec> steps = {
        step("conv", {0, 1}, 2, {{"pad", same}, {"act", clip}, {"act_min", 0.0}}),
        step("conv", {2, 3}, 4,
             {{"pad", same}, {"act", clip}, {"act_min", 0.0}, {"group", int64_t{24}}}),
        step("conv", {4, 5, -1, 0}, 6, {}),
        step("reduce", {6}, 7, {{"mode", std::string("mean")}, {"axes", Ints{1, 2}}}),
        step("fully_connected", {7, 8}, 9, {}),
        step("softmax", {9}, 10, {}),
    };
    program = std::make_unique<Program>(std::move(tensors), std::move(steps), std::vector<int>{0},
                                        std::vector<int>{10}, threads, isa);
  }

  std::vector<float> Run(const std::vector<float>& x) const {
    std::vector<float> y(20);
    const void* in = x.data();
    void* out = y.data();
    program->Run(&in, &out);
    return y;
  }
};

BITLITE_TEST(ThreadsDoNotChangeABit) {
  const std::vector<float> x = Values(2 * 33 * 31 * 5, 9);
  for (const std::string& isa : PermittedIsas()) {
    const std::vector<float> one = Network(1, IsaUpTo(isa)).Run(x);
    for (int threads : {2, 3, 4}) {
      const Network network(threads, IsaUpTo(isa));
      for (int round = 0; round < 5; ++round) CHECK(network.Run(x) == one) << isa << " " << threads;
    }
  }
}

BITLITE_TEST(RunsAtTheSameTimeDoNotMeet) {
  const Network network(2, ActiveIsa());
  std::vector<std::vector<float>> inputs, wants;
  for (uint32_t k = 0; k < 4; ++k) {
    inputs.push_back(Values(2 * 33 * 31 * 5, k));
    wants.push_back(network.Run(inputs.back()));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (size_t k = 0; k < 4; ++k) {
    callers.emplace_back([&, k] {
      for (int round = 0; round < 10; ++round) wrong += network.Run(inputs[k]) != wants[k];
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(wrong == 0);
}

// Expansion, depthwise and projection over 96 x 96 positions: large enough to run line by line.
BITLITE_TEST(LineByLineGivesTheBitsOfStepByStep) {
  const std::vector<float> w0 = Values(64 * 3, 1), w1 = Values(64 * 9, 2), w2 = Values(3 * 64, 3);
  const std::vector<float> x = Values(96 * 96 * 3, 4);
  const auto run = [&](int threads, bool apart) {
    std::vector<TensorSpec> tensors = {
        Tensor("x", {1, 96, 96, 3}),  Tensor("w0", {64, 1, 1, 3}, &w0),
        Tensor("a", {1, 96, 96, 64}), Tensor("w1", {64, 3, 3, 1}, &w1),
        Tensor("b", {1, 96, 96, 64}), Tensor("w2", {3, 1, 1, 64}, &w2),
        Tensor("y", {1, 96, 96, 3}),
    };
    std::vector<StepSpec> steps(3);
    for (int k = 0; k < 3; ++k) {
      steps[k].op = "conv";
      steps[k].name = std::string(1, static_cast<char>('a' + k));
      steps[k].inputs = {2 * k, 2 * k + 1};
      steps[k].outputs = {2 * k + 2};
      steps[k].attrs["act"] = std::string("clip");
      steps[k].attrs["act_min"] = 0.0;
    }
    steps[1].attrs["group"] = int64_t{64};
    steps[1].attrs["pad"] = std::vector<int64_t>{1, 1, 1, 1};
    // What is a graph output is computed as a whole.
    std::vector<int> outputs = {6};
    if (apart) outputs = {6, 4, 2};
    const Program program(tensors, steps, {0}, outputs, threads, ActiveIsa());
    CHECK(program.steps().size() == (apart ? 3u : 1u));
    std::vector<float> y(96 * 96 * 3), b(96 * 96 * 64), a(96 * 96 * 64);
    const void* in = x.data();
    void* out[] = {y.data(), b.data(), a.data()};
    program.Run(&in, out);
    return y;
  };
  const std::vector<float> want = run(1, true);
  for (int threads : {1, 2, 4}) CHECK(run(threads, false) == want) << threads;
}

// A convolution of codes and a function or prelu behind it, as one step or as two.
BITLITE_TEST(WhatGoesOverALayersOutputGivesTheBitsOfTwoSteps) {
  constexpr int64_t kChannels = 20;
  std::mt19937 random(3);
  const auto codes = [&](std::vector<int8_t>* v, size_t n) {
    for (size_t i = 0; i < n; ++i) v->push_back(static_cast<int8_t>(random()));
  };
  std::vector<int8_t> x, w, extra;
  codes(&x, 2 * 37 * 23 * kChannels);
  codes(&w, kChannels * 25 * kChannels);
  codes(&extra, 256);
  const auto tensor = [](const char* name, Shape shape, double scale,
                         const std::vector<int8_t>* data) {
    TensorSpec t = Tensor(name, std::move(shape));
    t.dtype = DType::kI8;
    t.scale = {scale};
    t.zero_point = {data == nullptr ? int64_t{3} : int64_t{0}};
    t.constant = data != nullptr;
    t.data = data == nullptr ? nullptr : data->data();
    return t;
  };
  using Ints = std::vector<int64_t>;
  for (const std::string tail : {"lut", "prelu"}) {
    for (int64_t group : {int64_t{1}, kChannels}) {
      const Shape shape = {2, 37, 23, kChannels};
      const std::vector<TensorSpec> tensors = {
          tensor("x", shape, 0.05, nullptr),
          tensor("w", {kChannels, 5, 5, kChannels / group}, 0.01, &w),
          tensor("extra", {tail == "lut" ? 256 : kChannels}, 0.01, &extra),
          tensor("a", shape, 0.2, nullptr),
          tensor("y", shape, 0.1, nullptr),
      };
      StepSpec conv, last;
      conv.op = conv.name = "conv";
      conv.inputs = {0, 1};
      conv.outputs = {3};
      conv.attrs = {{"pad", Ints{2, 2, 2, 2}}, {"group", group}};
      last.op = last.name = tail;
      last.inputs = {3, 2};
      last.outputs = {4};
      for (int threads : {1, 3}) {
        std::vector<int8_t> together(x.size()), between(x.size()), apart(x.size());
        const void* in = x.data();
        void *one = together.data(), *two[] = {between.data(), apart.data()};
        Program(tensors, {conv, last}, {0}, {4}, threads, ActiveIsa()).Run(&in, &one);
        Program(tensors, {conv, last}, {0}, {3, 4}, threads, ActiveIsa()).Run(&in, two);
        CHECK(together == apart) << tail << " " << group << " " << threads;
      }
    }
  }
}

BITLITE_TEST(RefusalsComeBeforeAnyWork) {
  const std::vector<float> w = Values(8 * 3, 1);
  std::vector<TensorSpec> tensors = {Tensor("x", {1, 4, 4, 3}), Tensor("w", {8, 1, 1, 3}, &w),
                                     Tensor("y", {1, 4, 4, 8})};
  std::vector<const TensorSpec*> pointers;
  for (const TensorSpec& t : tensors) pointers.push_back(&t);
  StepSpec step;
  step.op = "conv";
  step.inputs = {0, 1};
  step.outputs = {2};
  CHECK(CheckStep(pointers, step, ActiveIsa()).empty());
  step.attrs["no_such_attribute"] = true;
  CHECK(CheckStep(pointers, step, ActiveIsa()).find("no_such_attribute") != std::string::npos);
  step.attrs = {{"group", int64_t{2}}};
  CHECK(CheckStep(pointers, step, ActiveIsa()).find("group") != std::string::npos);
  step.inputs = {0, 5};
  CHECK(CheckStep(pointers, step, ActiveIsa()).find("index 5") != std::string::npos);
}

BITLITE_TEST(TestsRunWhatTheVariablePermits) {
  const char* const given = std::getenv("BITLITE_ISA");
  const std::string before = given == nullptr ? "" : given;
  setenv("BITLITE_ISA", "scalar", 1);
  ForEachKernel<gemm_f32>(ActiveIsa(), [](const Kernel<gemm_f32>& kernel) {
    CHECK(kernel.isa == kIsaScalar) << kernel.symbol;
  });
  for (const std::string& isa : PermittedIsas()) CHECK(isa == "scalar") << isa;
  setenv("BITLITE_ISA", before.c_str(), 1);
}

}  // namespace
}  // namespace bitlite
