/* Prints the least milliseconds of runs of a generated model. */
#include <stdio.h>
#include <time.h>
#include "net.h"
#include "net_example.h"
static int8_t output[NET_OUTPUT_SIZE];
int main(void) {
  double least = 1e9, spent = 0;
  while (spent < 1.0) {
    struct timespec a, b;
    double ms;
    clock_gettime(CLOCK_MONOTONIC, &a);
    net_run(example_input, output);
    clock_gettime(CLOCK_MONOTONIC, &b);
    ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    spent += ms / 1e3;
    least = ms < least ? ms : least;
  }
  printf("%.4f\n", least);
  return 0;
}
