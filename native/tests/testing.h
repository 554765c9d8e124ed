// A test is a function that registers itself; a failed CHECK is counted and the test goes on.
//   BITLITE_TEST(AddsUp) { CHECK(1 + 1 == 2) << "arithmetic"; }
// `bitlite_tests [substring]` runs the tests whose names contain it; exit status 1 on failure.
#pragma once

#include <iostream>
#include <random>
#include <sstream>
#include <string>

namespace bitlite {
namespace testing {

bool Register(const char* name, void (*run)());

// Runs the tests whose names contain `part`; the exit status.
int RunTests(const char* part);

// Prints what was streamed into it when the condition was false.
class Check {
 public:
  Check(bool ok, const char* text, const char* file, int line);
  ~Check();
  template <typename T>
  Check& operator<<(const T& value) {
    if (!ok_) message_ << value;
    return *this;
  }

 private:
  const bool ok_;
  std::ostringstream message_;
};

}  // namespace testing
}  // namespace bitlite

#define BITLITE_TEST(name)                                                         \
  static void name();                                                              \
  static const bool name##_registered = ::bitlite::testing::Register(#name, name); \
  static void name()
#define CHECK(condition) ::bitlite::testing::Check((condition), #condition, __FILE__, __LINE__)
