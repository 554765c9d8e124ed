#include "testing.h"

#include <cstring>
#include <utility>
#include <vector>

#include "cpu.h"

namespace bitlite {
namespace testing {
namespace {

std::vector<std::pair<const char*, void (*)()>>& Tests() {
  static std::vector<std::pair<const char*, void (*)()>> tests;
  return tests;
}

int failures = 0;
constexpr int kPrinted = 20;

}  // namespace

bool Register(const char* name, void (*run)()) {
  Tests().emplace_back(name, run);
  return true;
}

Check::Check(bool ok, const char* text, const char* file, int line) : ok_(ok) {
  if (!ok) message_ << file << ":" << line << ": " << text << " ";
}

Check::~Check() {
  if (ok_) return;
  if (++failures <= kPrinted) std::cerr << message_.str() << "\n";
}

int RunTests(const char* part) {
  int run = 0;
  for (const auto& [name, function] : Tests()) {
    if (std::strstr(name, part) == nullptr) continue;
    const int before = failures;
    function();
    ++run;
    std::cout << (failures == before ? "ok   " : "FAIL ") << name << "\n";
  }
  std::cout << IsaName(ActiveIsa()) << ": " << run << " tests, " << failures << " failed checks\n";
  return failures == 0 && run > 0 ? 0 : 1;
}

}  // namespace testing
}  // namespace bitlite
