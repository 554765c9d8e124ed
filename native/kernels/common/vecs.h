// N Vecs at a time. Each operation is done for all of them before the next one: a CPU that looks
// ahead by some dozens of instructions then finds N chains of operations that do not wait for each
// other, instead of one after the other.
#pragma once

#include <utility>

namespace {

template <int N>
struct Vecs;

// Without a loop, which would keep values in memory until it is unrolled.
template <int N, typename F, int... I>
[[gnu::always_inline]] inline Vecs<N> EachOf(F f, std::integer_sequence<int, I...>) {
  return {f(I)...};
}

template <int N>
struct Vecs {
  Vec v[N];

  Vecs() = default;
  template <typename... V>
  Vecs(Vec a, Vec b, V... more) : v{a, b, more...} {}
  // A constant for all; implicit, so that formulas read as those of one Vec.
  Vecs(Vec a) : Vecs(Each([a](int) { return a; })) {}

  template <typename F>
  [[gnu::always_inline]] static Vecs Each(F f) {
    return EachOf<N>(f, std::make_integer_sequence<int, N>());
  }

  friend Vecs operator+(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return a.v[i] + b.v[i]; });
  }
  friend Vecs operator-(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return a.v[i] - b.v[i]; });
  }
  friend Vecs operator*(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return a.v[i] * b.v[i]; });
  }
  friend Vecs operator/(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return a.v[i] / b.v[i]; });
  }
  friend Vecs Fma(const Vecs& a, const Vecs& b, const Vecs& c) {
    return Each([&](int i) { return Fma(a.v[i], b.v[i], c.v[i]); });
  }
  friend Vecs Min(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return Min(a.v[i], b.v[i]); });
  }
  friend Vecs Max(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return Max(a.v[i], b.v[i]); });
  }
  friend Vecs CopySign(const Vecs& a, const Vecs& b) {
    return Each([&](int i) { return CopySign(a.v[i], b.v[i]); });
  }
  friend Vecs Abs(const Vecs& a) {
    return Each([&](int i) { return Abs(a.v[i]); });
  }
  friend Vecs ExponentOf(const Vecs& a) {
    return Each([&](int i) { return ExponentOf(a.v[i]); });
  }
};

}  // namespace
