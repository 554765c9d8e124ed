/* Answers ud2 as cpuid would on a CPU without AVX-512 and VNNI: `limited_cpu.py` writes the one over the other, byte for
   byte of equal length, in copies of libraries that this process loads. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

/* Leaf 7 (Intel SDM, volume 2, CPUID): every bit of AVX-512, AMX and AVX-VNNI. */
enum {
    EBX_0 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31,
    ECX_0 = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14,
    EDX_0 = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25,
    EAX_1 = 1u << 4 | 1u << 5 | 1u << 21 | 1u << 23,
    EDX_1 = 1u << 4 | 1u << 5 | 1u << 8 | 1u << 10 | 1u << 19,
};

static void answer(int signal_number, siginfo_t* info, void* context) {
    greg_t* r = ((ucontext_t*)context)->uc_mcontext.gregs;
    const unsigned char* at = (const unsigned char*)r[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0x0b) {
        signal(SIGILL, SIG_DFL);
        return;
    }
    unsigned leaf = (unsigned)r[REG_RAX], sub = (unsigned)r[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 7 && sub == 0) b &= ~EBX_0, c &= ~ECX_0, d &= ~EDX_0;
    if (leaf == 7 && sub == 1) a &= ~EAX_1, d &= ~EDX_1;
    r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d, r[REG_RIP] += 2;
}

__attribute__((constructor)) static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, 0);
}
