#include "benching.h"

int main(int argc, char** argv) {
  bitlite::benching::RunBenchmarks(argc > 1 ? argv[1] : "");
  return 0;
}
