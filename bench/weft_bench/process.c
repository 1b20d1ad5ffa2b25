/* Reads /proc; see process.h. */
#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct tree {
    pid_t pids[PROCESS_TREE_MAX];
    size_t count;
};

/* As a string, cut at room. False: it is not there, as when a process has ended. */
static bool read_text(const char *path, char *out, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t held = 0;
    ssize_t got = 0;

    if (fd < 0)
        return false;
    while (held < room - 1 && (got = read(fd, out + held, room - 1 - held)) > 0)
        held += (size_t)got;
    close(fd);
    out[held] = '\0';
    return got >= 0;
}

static void add(struct tree *t, pid_t pid)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->pids[i] == pid)
            return;
    if (pid > 0 && t->count < PROCESS_TREE_MAX)
        t->pids[t->count++] = pid;
}

/* The number behind a label at the beginning of a line, 0 when there is none. */
static uint64_t labelled(const char *text, const char *label)
{
    const char *found = text;

    while ((found = strstr(found, label)) != NULL && found != text && found[-1] != '\n')
        found++;
    return found ? strtoull(found + strlen(label), NULL, 10) : 0;
}

static void look_at_thread(pid_t pid, const char *tid, struct tree *t, struct process_use *use)
{
    char path[320], text[16384];
    char *next = text, *end;

    snprintf(path, sizeof path, "/proc/%d/task/%s/status", pid, tid);
    if (read_text(path, text, sizeof text))
        use->switches +=
            labelled(text, "voluntary_ctxt_switches:") + labelled(text, "nonvoluntary_ctxt_switches:");
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", pid, tid);
    if (!read_text(path, text, sizeof text))
        return;
    for (long child; (child = strtol(next, &end, 10)) > 0 && end != next; next = end)
        add(t, (pid_t)child);
}

static void look_at_threads(pid_t pid, struct tree *t, struct process_use *use)
{
    char path[64];
    DIR *tasks;

    snprintf(path, sizeof path, "/proc/%d/task", pid);
    tasks = opendir(path);
    if (!tasks)
        return;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        if (isdigit((unsigned char)entry->d_name[0])) {
            look_at_thread(pid, entry->d_name, t, use);
            use->threads++;
        }
    closedir(tasks);
}

static void look_at_ticks(pid_t pid, struct process_use *use)
{
    char path[64], text[1024];
    const char *behind_name;
    unsigned long long user, system;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_text(path, text, sizeof text))
        return;
    behind_name = strrchr(text, ')');
    if (behind_name && sscanf(behind_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                              &system) == 2) {
        use->user_ticks += user;
        use->system_ticks += system;
    }
}

/* smaps_rollup counts pages; what statm says lags behind by some for each thread. */
static void look_at_memory(pid_t pid, struct process_use *use)
{
    char path[64], text[4096];
    unsigned long long pages;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    if (read_text(path, text, sizeof text) && labelled(text, "Rss:")) {
        use->rss_bytes += labelled(text, "Rss:") * 1024;
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    if (read_text(path, text, sizeof text) && sscanf(text, "%*u %llu", &pages) == 1)
        use->rss_bytes += pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void look_at(pid_t pid, bool with_memory, struct tree *t, struct process_use *use)
{
    struct timespec cpu;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &cpu) != 0)
        return;
    use->times[use->processes++] =
        (struct process_time){pid, (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec};
    look_at_ticks(pid, use);
    look_at_threads(pid, t, use);
    if (with_memory)
        look_at_memory(pid, use);
}

bool process_look(const pid_t *pids, size_t count, bool with_memory, struct process_use *out)
{
    struct tree t = {.count = 0};

    *out = (struct process_use){0};
    for (size_t i = 0; i < count; i++)
        add(&t, pids[i]);
    for (size_t i = 0; i < t.count; i++) /* looking finds children, which are added behind */
        look_at(t.pids[i], with_memory, &t, out);
    return out->processes > 0;
}

static uint64_t cpu_ns_of(const struct process_use *use, pid_t pid)
{
    for (uint32_t i = 0; i < use->processes; i++)
        if (use->times[i].pid == pid)
            return use->times[i].cpu_ns;
    return 0;
}

static uint64_t more_than(uint64_t before, uint64_t after)
{
    return after > before ? after - before : 0;
}

/* One by one: with the sums, a process that ended would take off all that it ever used. */
uint64_t process_cpu_ns(const struct process_use *before, const struct process_use *after)
{
    uint64_t ns = 0;

    for (uint32_t i = 0; i < after->processes; i++)
        ns += more_than(cpu_ns_of(before, after->times[i].pid), after->times[i].cpu_ns);
    return ns;
}

void process_cpu(const struct process_use *before, const struct process_use *after, double *user_s,
                 double *system_s)
{
    double total_s = (double)process_cpu_ns(before, after) / 1e9;
    uint64_t user = more_than(before->user_ticks, after->user_ticks);
    uint64_t system = more_than(before->system_ticks, after->system_ticks);

    *user_s = user + system ? total_s * (double)user / (double)(user + system) : 0;
    *system_s = total_s - *user_s;
}
