/* Processors: what the scheduler allows, what a control group allows, and pinning. The groups are files in a
 * directory of the test's own. */
#include "base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crew.h"
#include "unit.h"

static char root[] = "/tmp/weft_cpu_XXXXXX";
static char membership[64];

static void write_file(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
}

static void begin(void)
{
    strcpy(root + strlen(root) - 6, "XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    snprintf(membership, sizeof membership, "%s/membership", root);
}

static void end(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", root);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void processors_are_those_that_this_process_may_use(void)
{
    cpu_set_t all, one;
    unsigned count = cpu_count();

    CU_ASSERT_TRUE(count >= 1);
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof all, &all), 0);
    CU_ASSERT(count <= (unsigned)CPU_COUNT(&all));
    crew_pin(0);
    CU_ASSERT_EQUAL(cpu_count(), 1);
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof one, &one), 0);
    CU_ASSERT_EQUAL(CPU_COUNT(&one), 1);
    CU_ASSERT_EQUAL(sched_setaffinity(0, sizeof all, &all), 0);
    CU_ASSERT_EQUAL(cpu_count(), count);
}

static void a_thread_is_pinned_to_one_of_those_that_it_may_use(void)
{
    struct cpu_mask among;
    cpu_set_t all, one, seen;

    sched_getaffinity(0, sizeof all, &all);
    cpu_mask_here(&among);
    CPU_ZERO(&seen);
    for (unsigned n = 0; n < 2u * (unsigned)CPU_COUNT(&all); n++) { /* one after the other, without unpinning */
        cpu_pin(&among, n);
        CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof one, &one), 0);
        CU_ASSERT_EQUAL(CPU_COUNT(&one), 1);
        CPU_OR(&seen, &seen, &one);
    }
    CU_ASSERT(CPU_EQUAL(&seen, &all));
    cpu_unpin(&among);
    CU_ASSERT_EQUAL(sched_getaffinity(0, sizeof one, &one), 0);
    CU_ASSERT(CPU_EQUAL(&one, &all));
}

static void a_limit_of_version_2_is_rounded_up(void)
{
    static const struct {
        const char *text;
        unsigned limit;
    } cases[] = {{"max 100000\n", 0},   {"100000 100000\n", 1}, {"150000 100000\n", 2}, {"50000 100000\n", 1},
                 {"200000 50000\n", 4}, {"", 0},                {"0 100000\n", 0},      {"100000\n", 0},
                 {"100000 0\n", 0},     {"-5 100000\n", 0},     {"nonsense\n", 0}};

    begin();
    write_file("membership", "0::/service\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file("service/cpu.max", cases[i].text);
        CU_ASSERT_EQUAL(cpu_group_limit(membership, root), cases[i].limit);
    }
    end();
}

static void the_least_limit_up_to_the_root_holds(void)
{
    begin();
    write_file("membership", "0::/a/b/c\n");
    write_file("a/b/c/cpu.max", "800000 100000\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 8);
    write_file("a/cpu.max", "300000 100000\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 3);
    write_file("a/b/cpu.max", "max 100000\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 3);
    write_file("cpu.max", "200000 100000\n"); /* a container sees its own group as the root */
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 2);
    write_file("membership", "0::/\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 2);
    end();
}

static void version_1_has_its_own_files(void)
{
    begin();
    write_file("membership", "12:cpuset:/x\n4:cpu,cpuacct:/y\n1:name=systemd:/z\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 0);
    write_file("cpu/y/cpu.cfs_quota_us", "-1\n");
    write_file("cpu/y/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 0);
    write_file("cpu/y/cpu.cfs_quota_us", "250000\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 3);
    end();
}

static void what_cannot_be_read_is_no_limit(void)
{
    char line[3000];

    begin();
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 0);
    write_file("membership", "no colons\n:\n0\n0:\n0::\n");
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 0);
    memset(line, 'x', sizeof line - 1);
    memcpy(line, "0::/", 4);
    line[sizeof line - 1] = '\0';
    write_file("membership", line);
    CU_ASSERT_EQUAL(cpu_group_limit(membership, root), 0);
    end();
}

static const struct unit_case cases[] = {
    CASE(processors_are_those_that_this_process_may_use), CASE(a_thread_is_pinned_to_one_of_those_that_it_may_use),
    CASE(a_limit_of_version_2_is_rounded_up),             CASE(the_least_limit_up_to_the_root_holds),
    CASE(version_1_has_its_own_files),                    CASE(what_cannot_be_read_is_no_limit),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "cpu", cases, sizeof cases / sizeof cases[0]);
}
