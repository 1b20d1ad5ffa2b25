/* Tasks and waiting: argument checks over core/tasks.h and core/waits.h. */
#include "weft/task.h"

#include "base/thr.h"
#include "core/tasks.h"
#include "core/waits.h"
#include "sync/cancel.h"

static int run(weft_conn *c, void *app, weft_task *const *tasks, size_t count, bool is_race)
{
    if (!c || !tasks || count < 1 || count > TASKS_MAX)
        return WEFT_E_INVAL;
    for (size_t i = 0; i < count; i++)
        if (!tasks[i])
            return WEFT_E_INVAL;
    return tasks_run(c, app, tasks, count, is_race);
}

int weft_conn_race_n(weft_conn *c, void *app, weft_task *const *tasks, size_t count)
{
    return run(c, app, tasks, count, true);
}

int weft_conn_gather_n(weft_conn *c, void *app, weft_task *const *tasks, size_t count)
{
    return run(c, app, tasks, count, false);
}

int weft_conn_sleep(weft_conn *c, uint32_t ms)
{
    if (!c)
        return WEFT_E_INVAL;
    return thr_kind() == THR_IO ? WEFT_E_STATE : waits_sleep(c, ms);
}

int weft_conn_wait_closed(weft_conn *c, uint32_t timeout_ms)
{
    if (!c)
        return WEFT_E_INVAL;
    return timeout_ms && thr_kind() == THR_IO ? WEFT_E_STATE : waits_closed(c, timeout_ms);
}

int weft_conn_ping_wait(weft_conn *c, uint32_t timeout_ms, uint32_t *latency_us)
{
    if (!c)
        return WEFT_E_INVAL;
    return thr_kind() == THR_IO ? WEFT_E_STATE : waits_ping(c, timeout_ms, latency_us);
}

bool weft_task_is_canceled(void)
{
    return cancel_is_fired();
}
