/* Two networks and a cable; see network.h. */
#include "network.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t keeper = -1; /* a process that is in the other network and does nothing */
static int far_fd = -1;   /* that network */

static bool run(const char *command)
{
    return system(command) == 0;
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

/* Who is not root may be, in a namespace of users, where the machine permits that. */
static bool leave_network(void)
{
    char map[64];
    unsigned uid = geteuid();

    if (unshare(CLONE_NEWNET) == 0)
        return true;
    snprintf(map, sizeof map, "0 %u 1", uid);
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_text("/proc/self/uid_map", map);
}

/* False: the child could not leave. */
static bool start_keeper(void)
{
    int ends[2];
    char byte = 0;
    bool is_there;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    keeper = fork();
    if (keeper == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWNET) == 0 && write(ends[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ends[1]);
    is_there = keeper > 0 && read(ends[0], &byte, 1) == 1;
    close(ends[0]);
    return is_there;
}

/* The far end is the keeper's from the start. */
static bool lay_cable(void)
{
    char command[160];

    snprintf(command, sizeof command, "ip link add name weft0 type veth peer name weft1 netns %d 2>/dev/null",
             (int)keeper);
    return run(command) && run("ip link set lo up") && run("ip addr add " NETWORK_NEAR "/24 dev weft0") &&
           run("ip link set weft0 up");
}

/* In the other network. */
static bool run_there(const char *command)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0) {
        if (setns(far_fd, CLONE_NEWNET) == 0)
            execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

const char *network_begin(void)
{
    const char *path = getenv("PATH");
    char text[4096];

    snprintf(text, sizeof text, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
    setenv("PATH", text, 1);
    if (!run("ip -V >/dev/null 2>&1"))
        return "there is no ip (iproute2)";
    if (!leave_network() || !start_keeper())
        return "no network namespace may be made here (it takes CAP_SYS_ADMIN, or namespaces of users)";
    snprintf(text, sizeof text, "/proc/%d/ns/net", (int)keeper);
    far_fd = open(text, O_RDONLY | O_CLOEXEC);
    if (far_fd < 0 || !lay_cable() ||
        !run_there("ip link set lo up && ip addr add " NETWORK_FAR "/24 dev weft1") || !network_cable(true))
        return "no pair of network devices (veth) can be made here";
    return NULL;
}

void network_end(void)
{
    if (keeper > 0) {
        kill(keeper, SIGKILL);
        waitpid(keeper, NULL, 0);
    }
    if (far_fd >= 0)
        close(far_fd);
}

pid_t network_run_far(const char *const *args, int in_fd, int out_fd)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (in_fd >= 0)
        dup2(in_fd, 0);
    if (out_fd >= 0)
        dup2(out_fd, 1);
    if (setns(far_fd, CLONE_NEWNET) == 0)
        execvp(args[0], (char **)args);
    _exit(127);
}

/* The far end: here a device that is down would take its route along, and that would be told. */
bool network_cable(bool is_in)
{
    return run_there(is_in ? "ip link set weft1 up" : "ip link set weft1 down");
}
