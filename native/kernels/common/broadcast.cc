#include "broadcast.h"

namespace bitlite {

BroadcastSpace MergeBroadcast(const Shape& a, const Shape& b, const Shape& y) {
  const size_t rank = y.size();
  std::vector<int64_t> sa(rank, 0), sb(rank, 0);
  const auto strides = [&](const Shape& shape, std::vector<int64_t>& s) {
    Require(shape.size() <= rank, "the output has fewer dimensions than an operand");
    int64_t stride = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      const size_t d = shape.size() - 1 - i, to = rank - 1 - i;
      Require(shape[d] == y[to] || shape[d] == 1, "operands do not broadcast to the output");
      s[to] = shape[d] == 1 ? 0 : stride;
      stride *= shape[d];
    }
  };
  strides(a, sa);
  strides(b, sb);
  for (size_t d = 0; d < rank; ++d) {
    Require(sa[d] != 0 || sb[d] != 0 || y[d] == 1 || CountOf(y) == 0,
            "the output is larger than its operands");
  }
  BroadcastSpace m;
  for (size_t d = 0; d < rank; ++d) {
    if (y[d] == 1) continue;
    if (!m.extents.empty() && m.a_strides.back() == sa[d] * y[d] &&
        m.b_strides.back() == sb[d] * y[d]) {
      m.extents.back() *= y[d];
      m.a_strides.back() = sa[d];
      m.b_strides.back() = sb[d];
    } else {
      m.extents.push_back(y[d]);
      m.a_strides.push_back(sa[d]);
      m.b_strides.push_back(sb[d]);
    }
  }
  if (m.extents.empty()) {
    m.extents = {1};
    m.a_strides = m.b_strides = {1};
  }
  return m;
}

}  // namespace bitlite
