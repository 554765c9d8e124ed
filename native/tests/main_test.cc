#include "testing.h"

int main(int argc, char** argv) { return bitlite::testing::RunTests(argc > 1 ? argv[1] : ""); }
