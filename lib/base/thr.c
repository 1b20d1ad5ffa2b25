/* Thread roles and names; see thr.h. */
#include "base/thr.h"

#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

struct thr_role role_io;
struct thr_role role_worker;

static _Thread_local enum thr_kind kind_here = THR_FOREIGN;
static _Thread_local const void *owner_here;
/* An I/O thread in inline mode runs handlers too: roles are counted apart from the kind of thread. */
static _Thread_local bool holds_io, holds_worker;

enum thr_kind thr_kind(void)
{
    return kind_here;
}
const void *thr_owner(void)
{
    return owner_here;
}

void thr_become(enum thr_kind kind, const void *owner)
{
    kind_here = kind;
    owner_here = owner;
}

void thr_enter_io(void) THR_ATTR(no_thread_safety_analysis)
{
    assert(!holds_io);
    holds_io = true;
}

void thr_exit_io(void) THR_ATTR(no_thread_safety_analysis)
{
    assert(holds_io);
    holds_io = false;
}

void thr_enter_worker(void) THR_ATTR(no_thread_safety_analysis)
{
    assert(!holds_worker);
    holds_worker = true;
}

void thr_exit_worker(void) THR_ATTR(no_thread_safety_analysis)
{
    assert(holds_worker);
    holds_worker = false;
}

void thr_assert_io(void)
{
    assert(holds_io);
}
void thr_assert_worker(void)
{
    assert(holds_worker);
}

struct thr_switches thr_switches(void)
{
    struct rusage u = {0};

    getrusage(RUSAGE_THREAD, &u);
    return (struct thr_switches){(uint64_t)u.ru_nvcsw, (uint64_t)u.ru_nivcsw};
}

void thr_name(const char *name)
{
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(pthread_self(), cut);
}

void thr_schedule_as_batch(void)
{
    struct sched_param p = {0};
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &p);
}

static int add_local_bytes(struct dl_phdr_info *object, size_t size, void *sum)
{
    (void)size;
    for (unsigned i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_TLS)
            *(size_t *)sum += object->dlpi_phdr[i].p_memsz + object->dlpi_phdr[i].p_align;
    return 0;
}

size_t thr_local_bytes(void)
{
    size_t sum = 0;

    dl_iterate_phdr(add_local_bytes, &sum);
    return sum;
}
