/* fake_nvml.c - a stand-in for the NVIDIA driver's libnvidia-ml.so.1, for tests on machines without a GPU.
 *
 *   gcc -std=c11 -O1 -Wall -Wextra -shared -fPIC -Wl,-soname,libnvidia-ml.so.1 -o libnvidia-ml.so.1 fake_nvml.c
 *
 * State comes from the text file named by $FAKE_NVML_STATE, read again at every call, so a test (or another
 * process) changes "the GPU" by rewriting that file (write a temporary file, then rename over it). Lines:
 *   driver 570.124.06 | nvml 12.570.124.06 | cuda 12080
 *   gpu  uuid=GPU-..  total=BYTES [reserved=BYTES] [base=BYTES] [mig=0|1] [lost=1] [util=N] [cc=8.9] [name=rest of line]
 *   migdev gpu=0 uuid=MIG-.. gi=1 ci=0 total=BYTES [name=rest of line]
 *   proc gpu=0 pid=N used=BYTES|na [gi=N ci=N] [kind=c|g|m] [sticky=1]     (dropped once pid is dead, unless sticky)
 *   fail FUNCTION CODE [gpu=N]      (FUNCTION returns CODE, for all devices or the N-th of the lines above)
 *   delay FUNCTION MILLISECONDS
 * Besides, every file $FAKE_NVML_STATE.d/GPU.PID holds one decimal number: the bytes that live process PID holds
 * on gpu GPU. A "model server" under test writes its own file; when it dies, its memory is free, as on a real GPU.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef int nvmlReturn_t;
typedef struct dev *nvmlDevice_t;
enum { OK = 0, UNINIT = 1, INVAL = 2, NOTSUP = 3, NOTFOUND = 6, SMALL = 7, NODRIVER = 9, NOFUNC = 13, LOST = 15,
       VERSION = 25, UNKNOWN = 999 };
typedef struct { u64 total, free, used; } mem_v1;
typedef struct { u32 version; u64 total, reserved, free, used; } mem_v2;                  /* 40 bytes: 0x02000028 */
typedef struct { u32 pid; u64 used; } proc_v1;
typedef struct { u32 pid; u64 used; u32 gi, ci; } proc_v2;                                 /* v3 has the same layout */
typedef struct { u32 version, mode, n; struct proc_detail *arr; } proc_list;
struct proc_detail { u32 pid; u64 used; u32 gi, ci; u64 cc; };
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsys; char busId[32]; } pci_info;
typedef struct { u32 gpu, memory; } util_rates;

#define MAXD 24
#define MAXP 256
#define NA 0xffffffffffffffffULL
struct devst { char uuid[96], name[96]; u64 total, reserved, base; int mig, lost, util, parent, major, minor; u32 gi, ci; };
struct procst { int gpu; u32 pid; u64 used; u32 gi, ci; char kind; };
struct state { int ok, ngpu, ndev, nproc; char driver[80], nvml[80]; int cuda; struct devst d[MAXD]; struct procst p[MAXP];
               int rc; int rc_dev; int delay; };                                             /* rc_dev -1: rc is for all devices */
static volatile int inited;

static const char *field(const char *line, const char *key, char *buf, size_t n) {
    char pat[32]; snprintf(pat, sizeof pat, " %s=", key);
    const char *s = strstr(line, pat);
    if (!s) return NULL;
    s += strlen(pat);
    size_t len = strcmp(key, "name") ? strcspn(s, " \r\n") : strcspn(s, "\r\n");
    if (len >= n) len = n - 1;
    memcpy(buf, s, len); buf[len] = 0;
    return buf;
}
static u64 num(const char *line, const char *key, u64 dflt) {
    char b[64];
    if (!field(line, key, b, sizeof b)) return dflt;
    return strcmp(b, "na") ? strtoull(b, NULL, 0) : NA;
}
static int alive(u32 pid) {                       /* a zombie has let its GPU memory go already */
    char path[64], b[256]; snprintf(path, sizeof path, "/proc/%u/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    size_t n = fread(b, 1, sizeof b - 1, f); fclose(f); b[n] = 0;
    char *s = strrchr(b, ')');
    return s && s[1] == ' ' && s[2] != 'Z' && s[2] != 'X';
}
static void load(struct state *st, const char *fn) {
    memset(st, 0, sizeof *st);
    strcpy(st->driver, "570.124.06"); strcpy(st->nvml, "12.570.124.06"); st->cuda = 12080; st->rc_dev = -1;
    const char *path = getenv("FAKE_NVML_STATE");
    FILE *f = path ? fopen(path, "re") : NULL;
    if (!f) { st->rc = NODRIVER; return; }
    char line[1024], b[128];
    while (fgets(line, sizeof line, f)) {
        struct devst *d = &st->d[st->ndev]; struct procst *p = &st->p[st->nproc]; int v;
        if (sscanf(line, "driver %79s", st->driver) == 1 || sscanf(line, "nvml %79s", st->nvml) == 1 ||
            sscanf(line, "cuda %d", &st->cuda) == 1) continue;
        if (sscanf(line, "fail %127s %d", b, &v) == 2) {
            if (!strcmp(b, fn)) { st->rc = v; st->rc_dev = field(line, "gpu", b, sizeof b) ? atoi(b) : -1; }
            continue; }
        if (sscanf(line, "delay %127s %d", b, &v) == 2) { if (!strcmp(b, fn)) st->delay = v; continue; }
        int is_gpu = !strncmp(line, "gpu ", 4), is_mig = !strncmp(line, "migdev ", 7);
        if ((is_gpu || is_mig) && st->ndev < MAXD) {
            if (!field(line, "name", d->name, sizeof d->name)) strcpy(d->name, "Fake GPU");
            if (!field(line, "uuid", d->uuid, sizeof d->uuid)) snprintf(d->uuid, sizeof d->uuid, "GPU-fake-%d", st->ndev);
            d->total = num(line, "total", 24ULL << 30); d->reserved = num(line, "reserved", 0);
            d->base = num(line, "base", 0); d->mig = num(line, "mig", 0); d->lost = num(line, "lost", 0);
            d->util = num(line, "util", 0); d->gi = num(line, "gi", 0xffffffff); d->ci = num(line, "ci", 0xffffffff);
            d->parent = is_mig ? (int)num(line, "gpu", 0) : -1;
            if (!field(line, "cc", b, sizeof b) || sscanf(b, "%d.%d", &d->major, &d->minor) != 2) { d->major = 9; d->minor = 0; }
            if (is_gpu) st->ngpu++;                        /* 'gpu' lines come before 'migdev' lines */
            st->ndev++;
        } else if (!strncmp(line, "proc ", 5) && st->nproc < MAXP) {
            p->gpu = num(line, "gpu", 0); p->pid = num(line, "pid", 0); p->used = num(line, "used", 0);
            p->gi = num(line, "gi", 0xffffffff); p->ci = num(line, "ci", 0xffffffff);
            p->kind = field(line, "kind", b, sizeof b) ? b[0] : 'c';
            if (num(line, "sticky", 0) || alive(p->pid)) st->nproc++;
        }
    }
    fclose(f);
    char dir[4096]; snprintf(dir, sizeof dir, "%s.d", path);
    DIR *dp = opendir(dir);
    for (struct dirent *e; dp && (e = readdir(dp));) {
        int gpu; u32 pid; char full[4400], tail; u64 used;
        if (sscanf(e->d_name, "%d.%u%c", &gpu, &pid, &tail) != 2 || st->nproc >= MAXP || !alive(pid)) continue;
        snprintf(full, sizeof full, "%s/%s", dir, e->d_name);
        FILE *g = fopen(full, "re");
        if (!g) continue;
        if (fscanf(g, "%llu", &used) == 1)
            st->p[st->nproc++] = (struct procst){gpu, pid, used, 0xffffffff, 0xffffffff, 'c'};
        fclose(g);
    }
    if (dp) closedir(dp);
    st->ok = 1;
}
/* enter: load the state, apply delay/fail for this function; a non-zero result is returned to the caller */
static int enter(struct state *st, const char *fn) {
    if (!inited) return UNINIT;
    load(st, fn);
    if (st->delay) { struct timespec t = {st->delay / 1000, (st->delay % 1000) * 1000000L}; while (nanosleep(&t, &t) && errno == EINTR) {} }
    return st->rc_dev < 0 ? st->rc : OK;
}
#define ENTER struct state st_, *st = &st_; int rc_ = enter(st, __func__); if (rc_) return rc_
#define DEV ENTER; struct devst *d = get(st, h); if (!d) return INVAL; if (d->lost) return LOST; if (fails(st, h)) return st->rc
static nvmlDevice_t mk(int i) { return (nvmlDevice_t)(uintptr_t)(0x1000 + 16 * i); }
static int ix(nvmlDevice_t h) { return ((int)(uintptr_t)h - 0x1000) / 16; }
static struct devst *get(struct state *st, nvmlDevice_t h) { int i = ix(h); return i >= 0 && i < st->ndev ? &st->d[i] : NULL; }
static int fails(struct state *st, nvmlDevice_t h) { return st->rc && st->rc_dev == ix(h); }
static nvmlReturn_t str(const char *s, char *out, u32 n) { if (strlen(s) + 1 > n) return SMALL; strcpy(out, s); return OK; }
static int on(struct state *st, struct devst *d, struct procst *p) {      /* does p run on d? */
    int i = (int)(d - st->d);
    return d->parent < 0 ? p->gpu == i : p->gpu == d->parent && p->gi == d->gi && p->ci == d->ci;
}
static void mem(struct state *st, struct devst *d, u64 *used) {
    *used = d->base;
    for (int i = 0; i < st->nproc; i++) if (on(st, d, &st->p[i]) && st->p[i].used != NA) *used += st->p[i].used;
    u64 max = d->total - d->reserved; if (*used > max) *used = max;
}

nvmlReturn_t nvmlInitWithFlags(u32 flags) { (void)flags; struct state st; load(&st, __func__); if (st.rc) return st.rc; __sync_fetch_and_add(&inited, 1); return OK; }
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }
nvmlReturn_t nvmlShutdown(void) { if (!inited) return UNINIT; __sync_fetch_and_sub(&inited, 1); return OK; }
const char *nvmlErrorString(nvmlReturn_t r) {
    switch (r) { case OK: return "Success"; case UNINIT: return "Uninitialized"; case INVAL: return "Invalid Argument";
    case NOTSUP: return "Not Supported"; case NOTFOUND: return "Not Found"; case SMALL: return "Insufficient Size";
    case NODRIVER: return "Driver Not Loaded"; case NOFUNC: return "Function Not Found"; case LOST: return "GPU is lost";
    case VERSION: return "Argument version mismatch"; default: return "Unknown Error"; }
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *v, u32 n) { ENTER; return str(st->driver, v, n); }
nvmlReturn_t nvmlSystemGetNVMLVersion(char *v, u32 n) { ENTER; return str(st->nvml, v, n); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *v) { ENTER; *v = st->cuda; return OK; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *v) { return nvmlSystemGetCudaDriverVersion(v); }
nvmlReturn_t nvmlSystemGetProcessName(u32 pid, char *name, u32 n) {
    ENTER; char path[64], b[1024] = ""; snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *f = fopen(path, "re"); if (!f) return NOTFOUND;
    size_t k = fread(b, 1, sizeof b - 1, f); fclose(f); b[k] = 0; return str(b, name, n); }
nvmlReturn_t nvmlDeviceGetCount_v2(u32 *n) { ENTER; *n = st->ngpu; return OK; }
nvmlReturn_t nvmlDeviceGetCount(u32 *n) { return nvmlDeviceGetCount_v2(n); }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(u32 i, nvmlDevice_t *h) { ENTER; if ((int)i >= st->ngpu) return INVAL; if (st->d[i].lost) return LOST; *h = mk(i); return fails(st, *h) ? st->rc : OK; }
nvmlReturn_t nvmlDeviceGetHandleByIndex(u32 i, nvmlDevice_t *h) { return nvmlDeviceGetHandleByIndex_v2(i, h); }
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *u, nvmlDevice_t *h) {
    ENTER; for (int i = 0; u && i < st->ndev; i++) if (!strcmp(u, st->d[i].uuid)) { if (st->d[i].lost) return LOST; *h = mk(i); return OK; }
    return u ? NOTFOUND : INVAL; }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t h, char *s, u32 n) { DEV; return str(d->name, s, n); }
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t h, char *s, u32 n) { DEV; return str(d->uuid, s, n); }
nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t h, u32 *i) { DEV; *i = d->parent < 0 ? ix(h) : ix(h) - st->ngpu; return OK; }
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t h, u32 *i) { DEV; *i = ix(h); return OK; }
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t h, mem_v1 *m) {          /* v1: 'used' includes what the driver reserves */
    DEV; u64 u; mem(st, d, &u); m->total = d->total; m->used = u + d->reserved; m->free = m->total - m->used; return OK; }
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t h, mem_v2 *m) {       /* v2: 'reserved' apart, 'used' without it */
    DEV; if (m->version != (sizeof(mem_v2) | 2u << 24)) return VERSION;
    u64 u; mem(st, d, &u); m->total = d->total; m->reserved = d->reserved; m->used = u; m->free = d->total - d->reserved - u; return OK; }
static nvmlReturn_t procs(const char *fn, char kind, nvmlDevice_t h, u32 *n, void *arr, size_t item) {
    struct state st_, *st = &st_; int rc = enter(st, fn); if (rc) return rc;
    struct devst *d = get(st, h); if (!d || !n) return INVAL;
    if (d->lost) return LOST;
    if (fails(st, h)) return st->rc;
    u32 have = 0, room = *n;
    for (int i = 0; i < st->nproc; i++) have += on(st, d, &st->p[i]) && st->p[i].kind == kind;
    *n = have;
    if (!have) return OK;
    if (!arr || room < have) return SMALL;
    char *at = arr;
    for (int i = 0; i < st->nproc; i++) if (on(st, d, &st->p[i]) && st->p[i].kind == kind) {
        proc_v2 r = {st->p[i].pid, st->p[i].used, st->p[i].gi, st->p[i].ci};
        memcpy(at, &r, item); at += item; }                              /* proc_v1 is proc_v2's first 16 bytes */
    return OK; }
#define PROCS(NAME, KIND, T) nvmlReturn_t NAME(nvmlDevice_t h, u32 *n, void *a) { return procs(#NAME, KIND, h, n, a, sizeof(T)); }
PROCS(nvmlDeviceGetComputeRunningProcesses, 'c', proc_v1)
PROCS(nvmlDeviceGetComputeRunningProcesses_v2, 'c', proc_v2)
PROCS(nvmlDeviceGetComputeRunningProcesses_v3, 'c', proc_v2)
PROCS(nvmlDeviceGetGraphicsRunningProcesses_v3, 'g', proc_v2)
PROCS(nvmlDeviceGetMPSComputeRunningProcesses_v3, 'm', proc_v2)
nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t h, proc_list *l) {
    DEV; if (l->version != (sizeof(proc_list) | 1u << 24)) return VERSION;
    u32 have = 0, room = l->n; char k = "cgm"[l->mode % 3];
    for (int i = 0; i < st->nproc; i++) have += on(st, d, &st->p[i]) && st->p[i].kind == k;
    l->n = have; if (!have) return OK; if (!l->arr || room < have) return SMALL;
    for (int i = 0, j = 0; i < st->nproc; i++) if (on(st, d, &st->p[i]) && st->p[i].kind == k)
        l->arr[j++] = (struct proc_detail){st->p[i].pid, st->p[i].used, st->p[i].gi, st->p[i].ci, 0};
    return OK; }
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t h, util_rates *u) { DEV; if (d->mig || d->parent >= 0) return NOTSUP; u->gpu = d->util; u->memory = d->util / 2; return OK; }
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t h, int sensor, u32 *t) { DEV; if (sensor) return INVAL; *t = 42; return OK; }
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t h, u32 *mw) { DEV; *mw = 90000; return OK; }
nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t h, int *m) { DEV; *m = 0; return OK; }
nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t h, int *m) { DEV; *m = 1; return OK; }
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t h, int *a, int *b) { DEV; *a = d->major; *b = d->minor; return OK; }
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t h, pci_info *p) {
    DEV; memset(p, 0, sizeof *p); p->bus = 0x10 + ix(h); p->id = 0x233510de;
    snprintf(p->busId, sizeof p->busId, "00000000:%02X:00.0", p->bus); snprintf(p->legacy, sizeof p->legacy, "0000:%02X:00.0", p->bus); return OK; }
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t h, u32 *cur, u32 *pend) { DEV; if (d->mig < 0 || d->parent >= 0) return NOTSUP; *cur = *pend = d->mig; return OK; }
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t h, u32 *n) { DEV; *n = d->mig ? 7 : 0; return OK; }
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t h, u32 i, nvmlDevice_t *out) {
    DEV; u32 k = 0; for (int j = st->ngpu; j < st->ndev; j++) if (st->d[j].parent == ix(h) && k++ == i) { *out = mk(j); return OK; }
    return NOTFOUND; }
nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t h, u32 *is) { DEV; *is = d->parent >= 0; return OK; }
nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t h, nvmlDevice_t *out) { DEV; if (d->parent < 0) return INVAL; *out = mk(d->parent); return OK; }
nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t h, u32 *i) { DEV; if (d->parent < 0) return INVAL; *i = d->gi; return OK; }
nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t h, u32 *i) { DEV; if (d->parent < 0) return INVAL; *i = d->ci; return OK; }
/* what nvitop and gpustat also ask for: present, as on a GPU that cannot tell */
#define NOT_SUPPORTED(NAME) nvmlReturn_t NAME(nvmlDevice_t h) { DEV; return NOTSUP; }
NOT_SUPPORTED(nvmlDeviceGetEncoderUtilization) NOT_SUPPORTED(nvmlDeviceGetDecoderUtilization) NOT_SUPPORTED(nvmlDeviceGetFanSpeed)
NOT_SUPPORTED(nvmlDeviceGetEnforcedPowerLimit) NOT_SUPPORTED(nvmlDeviceGetPowerManagementLimit) NOT_SUPPORTED(nvmlDeviceGetPerformanceState)
NOT_SUPPORTED(nvmlDeviceGetClockInfo) NOT_SUPPORTED(nvmlDeviceGetMaxClockInfo) NOT_SUPPORTED(nvmlDeviceGetTotalEccErrors)
NOT_SUPPORTED(nvmlDeviceGetMemoryErrorCounter) NOT_SUPPORTED(nvmlDeviceGetDisplayMode) NOT_SUPPORTED(nvmlDeviceGetDisplayActive)
NOT_SUPPORTED(nvmlDeviceGetBAR1MemoryInfo) NOT_SUPPORTED(nvmlDeviceGetProcessUtilization) NOT_SUPPORTED(nvmlDeviceGetPcieThroughput)
NOT_SUPPORTED(nvmlDeviceGetDriverModel) NOT_SUPPORTED(nvmlDeviceGetDriverModel_v2) NOT_SUPPORTED(nvmlDeviceGetSerial) NOT_SUPPORTED(nvmlDeviceGetCurrPcieLinkGeneration)
NOT_SUPPORTED(nvmlDeviceGetMaxPcieLinkGeneration) NOT_SUPPORTED(nvmlDeviceGetCurrPcieLinkWidth) NOT_SUPPORTED(nvmlDeviceGetMaxPcieLinkWidth)
NOT_SUPPORTED(nvmlDeviceGetTemperatureThreshold)
