/* Runs the cases of one test program with CUnit; see unit.h. */
#include "unit.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct unit_case *current;

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* A joined thread stays in /proc for a moment after pthread_join returned. */
static int threads_settle_at(int wanted)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < 10000 && count_entries("/proc/self/task") > wanted; i++)
        nanosleep(&pause, NULL);
    return count_entries("/proc/self/task");
}

static void run_current(void)
{
    int descriptors = count_entries("/proc/self/fd");
    int threads = count_entries("/proc/self/task");

    current->run();
    CU_ASSERT_EQUAL(threads_settle_at(threads), threads);
    CU_ASSERT_EQUAL(count_entries("/proc/self/fd"), descriptors);
}

/* CUnit hands no context to a test, so each case runs in a CUnit run of its own. */
static int run_case(const char *suite, const struct unit_case *c)
{
    unsigned failed;
    CU_pSuite s;

    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    current = c;
    s = CU_add_suite(suite, NULL, NULL);
    if (!s || !CU_add_test(s, c->name, run_current)) {
        CU_cleanup_registry();
        return 1;
    }
    CU_run_all_tests();
    failed = CU_get_number_of_failures();
    printf("%s %s/%s\n", failed ? "FAIL" : "ok  ", suite, c->name);
    if (failed)
        CU_basic_show_failures(CU_get_failure_list());
    fflush(stdout);
    CU_cleanup_registry();
    return failed ? 1 : 0;
}

static const struct unit_case *find_case(const struct unit_case *cases, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    fprintf(stderr, "no case is named '%s'; there are:\n", name);
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "  %s\n", cases[i].name);
    return NULL;
}

static void *tell_id(void *id)
{
    *(long *)id = syscall(SYS_gettid);
    return NULL;
}

/* ThreadSanitizer makes a thread of its own beside the first one of the program. Made here, it is not taken for one that a
 * case left behind; nor is the first one, joined but still in /proc, taken for one that was there before the first case. */
static void make_first_thread(void)
{
    struct timespec pause = {.tv_nsec = 1000000};
    pthread_t first;
    char path[64];
    long id = 0;

    if (pthread_create(&first, NULL, tell_id, &id) != 0)
        return;
    pthread_join(first, NULL);
    snprintf(path, sizeof path, "/proc/self/task/%ld", id);
    for (int i = 0; i < 10000 && access(path, F_OK) == 0; i++)
        nanosleep(&pause, NULL);
}

int unit_main(int argc, char **argv, const char *suite, const struct unit_case *cases, size_t count)
{
    unsigned failed = 0, total = 0;

    for (int i = 1; i < argc; i++)
        if (!find_case(cases, count, argv[i]))
            return 2;
    make_first_thread();
    for (size_t i = 0; i < count; i++) {
        bool wanted = argc == 1;
        for (int k = 1; k < argc; k++)
            wanted |= strcmp(cases[i].name, argv[k]) == 0;
        if (!wanted)
            continue;
        total++;
        failed += (unsigned)run_case(suite, &cases[i]);
    }
    printf("%s: %u passed, %u failed\n", suite, total - failed, failed);
    return failed ? 1 : 0;
}

int unit_is_in_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");

    return preloaded && strstr(preloaded, "/vgpreload_");
}

int unit_is_slow(void)
{
    if (unit_is_in_valgrind())
        return 1;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 1;
#elif defined(__has_feature)
    return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || getenv("WEFT_TEST_SLOW") != NULL;
#else
    return getenv("WEFT_TEST_SLOW") != NULL;
#endif
}
