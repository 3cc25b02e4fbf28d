/* A libnvidia-ml.so.1 for the tests: what a driver would answer, without a card.
 *
 * NVML_STUB       one16     one 16 GB card, idle (default)
 *                 one12     one 12 GB card, idle
 *                 two       two cards of different kind; the second without bfloat16
 *                 busy9     the 16 GB card with 9 GB held by a program, and a desktop
 *                 shared    the same with 2 GB held by the process that asks, and no desktop
 *                 mig       a card that denies memory, load and processes
 *                 nocards   a driver without a card
 *                 initfail  a driver that is not loaded
 * NVML_STUB_INIT  the code nvmlInit returns, over all else (18: driver updated while loaded)
 * NVML_STUB_LIVE  1: used memory, load, temperature and power move with the clock
 * NVML_STUB_CLOCKS  the bits of why the clocks are low, as a number; without it 1: the card idles
 *
 * Built with -DOLD_DRIVER the library is an older driver: some functions are missing, some are
 * there only in their former version, some refuse. It has one older card.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
       NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, FUNCTION_NOT_FOUND = 13 };

#define NOBODY 5000001u /* above the largest pid Linux gives */

typedef unsigned long long u64;
typedef struct { u64 total, free, used; } Memory;
typedef struct { unsigned gpu, memory; } Load;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } Process;
typedef struct { unsigned version, sensor; int degrees; } Temperature;

typedef struct {
    const char *name, *uuid;
    int major, minor;
    u64 total, used; /* MiB */
    unsigned degrees, milliwatts, limit, load;
} Card;

static const Card ADA = {"NVIDIA GeForce RTX 4060 Ti", "GPU-00000000-aaaa", 8, 9,
                         16380, 312, 41, 11400, 165000, 0};
static const Card TURING = {"NVIDIA GeForce RTX 2080 Ti", "GPU-00000000-bbbb", 7, 5,
                            11264, 210, 55, 62500, 250000, 17};
static const Card AMPERE = {"NVIDIA GeForce RTX 3060", "GPU-00000000-eeee", 8, 6,
                            12288, 290, 39, 13100, 170000, 0};
static const Card PASCAL = {"NVIDIA GeForce GTX 1080 Ti", "GPU-00000000-dddd", 6, 1,
                            11264, 95, 47, 0, 0, 0};
static const Card MIG = {"NVIDIA A30", "GPU-00000000-cccc", 8, 0, 24576, 0, 33, 28000, 165000, 0};
static const u64 MIB = 1024 * 1024;
static int users = 0; /* nvmlInit and nvmlShutdown count, as the real library does */

static int variant(const char *name) {
    const char *chosen = getenv("NVML_STUB");
    return strcmp(chosen && *chosen ? chosen : "one16", name) == 0;
}

static unsigned cards(void) { return variant("nocards") ? 0 : variant("two") ? 2 : 1; }

/* A handle is the address of its card. */
static Card *card(unsigned index) {
    static Card chosen[2];
    chosen[index] = index ? TURING : variant("mig") ? MIG : variant("old") ? PASCAL
                            : variant("one12") ? AMPERE : ADA;
    if (variant("busy9")) { chosen[index].used = 9216 + 180; chosen[index].load = 96; }
    return &chosen[index];
}

/* Between 0 and 1, a wave of 8 seconds; 0 unless the stub is live. */
static double wave(void) {
    const char *live = getenv("NVML_STUB_LIVE");
    struct timespec now;
    if (!live || strcmp(live, "1")) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 0.5 - 0.5 * cos((now.tv_sec % 8 + now.tv_nsec / 1e9) * 2 * 3.14159265358979 / 8);
}

static int text(const char *value, char *out, unsigned size) {
    if (strlen(value) >= size) return TOO_SMALL;
    strcpy(out, value);
    return OK;
}

static int list(const Process *held, unsigned n, unsigned *count, Process *out) {
    unsigned room = *count;
    if (variant("mig")) return NO_PERMISSION;
    *count = n;
    if (n == 0) return OK;
    if (!out || room < n) return TOO_SMALL;
    memcpy(out, held, n * sizeof *held);
    return OK;
}

int nvmlInitWithFlags(unsigned flags) {
    const char *code = getenv("NVML_STUB_INIT");
    (void)flags;
    if (code && *code) return atoi(code);
    if (variant("initfail")) return NOT_LOADED;
    users++;
    return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return users > 0 ? (users--, OK) : UNINITIALIZED; }
/* Not part of NVML: lets a test see that every init was shut down. */
int stub_users(void) { return users; }
const char *nvmlErrorString(int code) { return code == 42 ? "Stub Error" : "Unknown Error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
#ifdef OLD_DRIVER
    return text("460.106.00", out, size);
#else
    return text("550.54.14", out, size);
#endif
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    if (users == 0) return UNINITIALIZED;
    *count = cards();
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Card **out) {
    if (users == 0) return UNINITIALIZED;
    if (index >= cards()) return INVALID;
    *out = card(index);
    return OK;
}
int nvmlDeviceGetName(Card *c, char *out, unsigned size) { return text(c->name, out, size); }
int nvmlDeviceGetUUID(Card *c, char *out, unsigned size) { return text(c->uuid, out, size); }
int nvmlDeviceGetMemoryInfo(Card *c, Memory *out) {
    if (variant("mig")) return NO_PERMISSION;
    out->total = c->total * MIB;
    out->used = (c->used + (u64)(wave() * 512)) * MIB;
    out->free = out->total - out->used;
    return OK;
}
int nvmlDeviceGetTemperature(Card *c, unsigned sensor, unsigned *out) {
    (void)sensor;
    *out = c->degrees + (unsigned)(wave() * 20);
    return OK;
}

/* Named so since driver 535; the older name is still there. */
static int reasons(u64 *out) {
    const char *bits = getenv("NVML_STUB_CLOCKS");
    if (variant("mig")) return NOT_SUPPORTED;
    *out = bits && *bits ? strtoull(bits, NULL, 0) : 1;
    return OK;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(Card *c, u64 *out) { (void)c; return reasons(out); }

#ifdef OLD_DRIVER
/* There, but refused: a symbol of its time that this card does not answer. */
int nvmlDeviceGetUtilizationRates(Card *c, Load *out) { (void)c, (void)out; return NOT_SUPPORTED; }
int nvmlDeviceGetPowerUsage(Card *c, unsigned *out) {
    (void)c, (void)out;
    return FUNCTION_NOT_FOUND;
}
int nvmlSystemGetCudaDriverVersion(int *out) { *out = 11020; return OK; }
int nvmlDeviceGetComputeRunningProcesses_v2(Card *c, unsigned *count, Process *out) {
    const Process held[] = {{1, 64 * MIB, ~0u, ~0u}};
    (void)c;
    return list(held, 1, count, out);
}
#else
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 12040; return OK; }
int nvmlDeviceGetCudaComputeCapability(Card *c, int *major, int *minor) {
    *major = c->major;
    *minor = c->minor;
    return OK;
}
int nvmlDeviceGetUtilizationRates(Card *c, Load *out) {
    if (variant("mig")) return NOT_SUPPORTED;
    out->gpu = c->load + (unsigned)(wave() * (100 - c->load));
    out->memory = 0;
    return OK;
}
int nvmlDeviceGetPowerUsage(Card *c, unsigned *out) {
    *out = c->milliwatts + (unsigned)(wave() * (c->limit - c->milliwatts));
    return OK;
}
int nvmlDeviceGetCurrentClocksEventReasons(Card *c, u64 *out) { (void)c; return reasons(out); }
int nvmlDeviceGetEnforcedPowerLimit(Card *c, unsigned *out) { *out = c->limit; return OK; }
int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
    if (pid == 4242) return text("/home/ann/my env/bin/python3 -m serve", out, size);
    if (pid == 1001) return text("/usr/lib/xorg/Xorg", out, size);
    if (pid == NOBODY) return text("\xff\xfe", out, size); /* no UTF-8 */
    return pid == 1 ? NO_PERMISSION : NOT_FOUND;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Card *c, unsigned *count, Process *out) {
    const Process held[] = {{1, 16 * MIB, ~0u, ~0u}, {4242, 9216 * MIB, ~0u, ~0u}};
    const Process shared[] = {{4242, 9216 * MIB, ~0u, ~0u},
                              {(unsigned)getpid(), 2048 * MIB, ~0u, ~0u}};
    (void)c;
    if (variant("shared")) return list(shared, 2, count, out);
    return list(held, variant("busy9") ? 2 : 0, count, out);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Card *c, unsigned *count, Process *out) {
    const Process held[] = {{1001, 160 * MIB, ~0u, ~0u},
                            {4242, 9216 * MIB, ~0u, ~0u},
                            {NOBODY, ~0ull, ~0u, ~0u}}; /* ~0: not available */
    (void)c;
    return list(held, variant("busy9") ? 3 : 0, count, out);
}
#endif
