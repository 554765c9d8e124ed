#include "conv_bench.h"

#include <memory>
#include <vector>

#include "benching.h"
#include "runtime.h"

namespace bitlite {
namespace benching {

void TimeConvS8(const ConvLayer& l, IsaMask isa, const std::string& who) {
  const int64_t out = (l.size + l.stride - 1) / l.stride, pad = l.kernel / 2;
  const int64_t group = l.depthwise ? l.c : 1;
  std::vector<TensorSpec> t(3);
  t[0].shape = {1, l.size, l.size, l.c};
  t[1].shape = {l.o, l.kernel, l.kernel, l.c / group};
  t[2].shape = {1, out, out, l.o};
  for (size_t i = 0; i < t.size(); ++i) {
    t[i].name = "t" + std::to_string(i);
    t[i].dtype = DType::kI8;
    t[i].count = CountOf(t[i].shape);
    t[i].scale = {i == 2 ? 1.0 : 0.01};
    t[i].zero_point = {0};
  }
  const auto weights = std::make_shared<std::vector<int8_t>>(static_cast<size_t>(t[1].count), 3);
  t[1].constant = true;
  t[1].data = weights->data();
  t[1].owner = weights;
  StepSpec spec;
  spec.op = spec.name = "conv";
  spec.inputs = {0, 1, -1};
  spec.outputs = {2};
  const int64_t end = (out - 1) * l.stride + l.kernel - l.size - pad;
  spec.attrs = {{"stride", std::vector<int64_t>{l.stride, l.stride}},
                {"pad", std::vector<int64_t>{pad, end, pad, end}},
                {"group", group}};
  const double operations = 2.0 * static_cast<double>(t[2].count) *
                            static_cast<double>(l.kernel * l.kernel * l.c / group);
  std::vector<int8_t> x(static_cast<size_t>(t[0].count), 1), y(static_cast<size_t>(t[2].count));
  const Program program(t, {spec}, {0}, {2}, 1, isa);
  const void* in = x.data();
  void* result = y.data();
  const double seconds = Time([&] { program.Run(&in, &result); });
  Report(who + (l.depthwise ? ": depthwise " : ": conv ") + std::to_string(l.kernel) + "x" +
             std::to_string(l.kernel) + "/" + std::to_string(l.stride) + " " +
             std::to_string(l.size) + "x" + std::to_string(l.size) + "x" + std::to_string(l.c) +
             "->" + std::to_string(l.o),
         seconds, operations, 0);
}

}  // namespace benching
}  // namespace bitlite
