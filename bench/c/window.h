/* What the loads share: the clocks, the measured window, and the JSON line that says what was in it.
 *
 * To be included behind `option` (mode, cpu_of, seconds, warmup and messages are read), `outstanding` and `complaint`. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    DRAIN_SECONDS = 1, /* after the window, outstanding echoes get this long, so that close() sends no reset */
    SUBBITS = 6,       /* histogram: 64 steps an octave, 1.6 % */
    ERRORS_MAX = 1000,
};

static void fail(const char *operation) {
    fprintf(stderr, "load: %s: %s\n", operation, complaint ? complaint : strerror(errno));
    exit(1);
}

static uint64_t histogram[(64 - SUBBITS + 1) << SUBBITS];
static uint64_t completed, errors, window_begin_ns, window_end_ns, cpu_begin_ns, cpu_end_ns;
static bool measuring, draining;

static uint64_t read_clock(clockid_t clock) {
    struct timespec now;
    return clock_gettime(clock, &now) ? 0 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

static uint64_t cpu_ns(void) {
    clockid_t clock;
    return option.cpu_of && !clock_getcpuclockid(option.cpu_of, &clock) ? read_clock(clock) : 0;
}

/* How long a process has waited in a run queue so far: the second field of its schedstat. */
static uint64_t waited_ns(int process) {
    char path[64];
    unsigned long long ran, waited = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", process);
    FILE *file = process ? fopen(path, "re") : NULL;
    if (file) {
        if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
            waited = 0;
        fclose(file);
    }
    return waited;
}

/* The core on which a process was last seen: field 39 of its stat, whose second field may hold anything. */
static int core_of(int process) {
    char path[64], line[1024] = "";
    int core = -1;
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    FILE *file = process ? fopen(path, "re") : NULL;
    char *at = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    for (int field = 2; at && field < 39; field++)
        at = strchr(at + 1, ' ');
    if (at)
        core = atoi(at);
    if (file)
        fclose(file);
    return core;
}

/* How long a hypervisor has kept a core for others so far: the eighth figure of its line in /proc/stat, in ticks. */
static uint64_t stolen_ns(int core) {
    char line[512];
    unsigned long long stolen = 0;
    int number;
    FILE *file = core < 0 ? NULL : fopen("/proc/stat", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "cpu%d %*u %*u %*u %*u %*u %*u %*u %llu", &number, &stolen) == 2 && number == core)
            break;
        stolen = 0;
    }
    if (file)
        fclose(file);
    return stolen * (1000000000u / (unsigned)sysconf(_SC_CLK_TCK));
}

static struct {
    uint64_t begin_ns, end_ns;
} server_wait, load_wait, server_theft, load_theft;

static void look(bool end) {
    *(end ? &server_wait.end_ns : &server_wait.begin_ns) = waited_ns(option.cpu_of);
    *(end ? &load_wait.end_ns : &load_wait.begin_ns) = waited_ns(getpid());
    *(end ? &server_theft.end_ns : &server_theft.begin_ns) = stolen_ns(core_of(option.cpu_of));
    *(end ? &load_theft.end_ns : &load_theft.begin_ns) = stolen_ns(core_of(getpid()));
}

static void open_window(void) {
    memset(histogram, 0, sizeof histogram);
    completed = 0;
    look(false);
    cpu_begin_ns = cpu_ns();
    window_begin_ns = now_ns();
}

static void close_window(void) {
    cpu_end_ns = cpu_ns();
    window_end_ns = now_ns();
    look(true);
}

/* The end of every mode's JSON line. */
static void report_window(void) {
    double elapsed_ns = (double)(window_end_ns - window_begin_ns);
    printf("\"seconds\": %.6f, \"server_waited\": %.4f, \"load_waited\": %.4f, \"stolen\": %.4f, \"errors\": %llu}\n",
           elapsed_ns / 1e9, (double)(server_wait.end_ns - server_wait.begin_ns) / elapsed_ns,
           (double)(load_wait.end_ns - load_wait.begin_ns) / elapsed_ns,
           (double)(server_theft.end_ns - server_theft.begin_ns + load_theft.end_ns - load_theft.begin_ns) / elapsed_ns,
           (unsigned long long)errors);
}

static void record(uint64_t elapsed_ns) {
    completed++;
    int octave = elapsed_ns >> SUBBITS ? 63 - __builtin_clzll(elapsed_ns) - SUBBITS : -1;
    histogram[octave < 0 ? elapsed_ns : ((uint64_t)octave << SUBBITS) + (elapsed_ns >> octave)]++;
}

static double percentile_us(double share) {
    uint64_t rank = (uint64_t)(share * (double)completed), seen = 0;
    for (size_t i = 0; i < sizeof histogram / sizeof *histogram; i++) {
        seen += histogram[i];
        if (seen > rank) {
            uint64_t octave = i >> SUBBITS ? (i >> SUBBITS) - 1 : 0;
            return (double)((i - (octave << SUBBITS)) << octave) / 1e3;
        }
    }
    return 0;
}

/* `now` is read once a turn and may be older than `then`. */
static bool passed(uint64_t now, uint64_t then, double seconds) {
    return now > then && now - then >= (uint64_t)(seconds * 1e9);
}

/* Opens, closes and ends the window; false once everything is over. */
static bool tick(uint64_t now, uint64_t begun_ns) {
    if (!measuring && !draining && passed(now, begun_ns, option.warmup)) {
        open_window();
        measuring = true;
    } else if (measuring && (passed(now, window_begin_ns, option.seconds) ||
                             (option.messages && completed >= option.messages))) {
        close_window();
        measuring = false;
        draining = true;
    }
    return errors < ERRORS_MAX && !(draining && (!outstanding || passed(now, window_end_ns, DRAIN_SECONDS)));
}

/* The beginning of the line for messages; what else the mode has to say may follow. */
static void report_messages(uint64_t total) {
    if (!total && complaint)
        fail("nothing got through");
    if (!window_end_ns) /* every connection broke before the end */
        close_window();
    double seconds = (double)(window_end_ns - window_begin_ns) / 1e9;
    printf("{\"mode\": \"%s\", \"messages\": %llu, \"messages_per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"cpu_us_per_message\": %.4f, ",
           option.mode, (unsigned long long)total, (double)total / seconds, percentile_us(0.5), percentile_us(0.99),
           option.cpu_of && total ? (double)(cpu_end_ns - cpu_begin_ns) / 1e3 / (double)total : 0.0);
}
