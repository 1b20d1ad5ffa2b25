/* Tasks over one connection: run at once, and joined; see weft/task.h.
 *
 * K1  The first task runs on the caller's thread, the others on threads of the crew, reserved before any
 *     begins: all run or none.
 * K2  Each task has a scope (sync/cancel.h). While they run, the caller's own scope, if it is itself a task,
 *     has a hook that fires all of theirs: canceling goes inwards at once, whatever the first task is doing.
 * K3  The caller returns when all have ended. That wait is not canceled, for their memory is its own. */
#ifndef WEFT_CORE_TASKS_H
#define WEFT_CORE_TASKS_H

#include <stdbool.h>
#include <stddef.h>

#include "weft/task.h"

#define TASKS_MAX 64

int tasks_run(weft_conn *c, void *app, weft_task *const *tasks, size_t count, bool is_race);

#endif
