/* The register of members; see members.h. A room is searched one by one: it has a thousand at most. */
#include "members.h"

#include <stdlib.h>
#include <string.h>

void members_fini(struct members *m)
{
    free(m->all);
    *m = (struct members){0};
}

/* Also one who is gone. */
static struct member *find_entry(const struct members *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->all[i].name, name) == 0)
            return &m->all[i];
    return NULL;
}

struct member *members_find(const struct members *m, const char *name)
{
    struct member *found = find_entry(m, name);

    return found && !found->is_gone ? found : NULL;
}

static void drop_entry(struct members *m, size_t at)
{
    m->count--;
    memmove(&m->all[at], &m->all[at + 1], (m->count - at) * sizeof m->all[0]);
}

static bool make_place(struct members *m)
{
    size_t room = m->room ? m->room * 2 : 8;
    struct member *all;

    if (m->count < m->room)
        return true;
    if (m->count == MEMBERS_MAX)
        return false;
    all = realloc(m->all, room * sizeof *all);
    if (!all)
        return false;
    m->all = all;
    m->room = room;
    return true;
}

/* At the end, in order of arrival, also if they were here before. */
static enum members_result add(struct members *m, const char *name, const char *token)
{
    struct member *old = find_entry(m, name), *new;

    if (old)
        drop_entry(m, (size_t)(old - m->all));
    if (!make_place(m))
        return MEMBERS_NO_ROOM;
    new = &m->all[m->count++];
    *new = (struct member){.changed = ++m->step, .seen = m->step};
    strcpy(new->name, name);
    strcpy(new->token, token);
    m->here++;
    return MEMBERS_NEW;
}

enum members_result members_came(struct members *m, const char *name, const char *token)
{
    struct member *holder = members_find(m, name);

    if (!holder)
        return add(m, name, token);
    return strcmp(holder->token, token) == 0 ? MEMBERS_KNOWN : MEMBERS_TAKEN;
}

static struct member *find_exactly(const struct members *m, const char *name, const char *token)
{
    struct member *found = members_find(m, name);

    return found && strcmp(found->token, token) == 0 ? found : NULL;
}

bool members_went(struct members *m, const char *name, const char *token)
{
    struct member *found = find_exactly(m, name, token);

    if (!found)
        return false;
    found->is_gone = true;
    found->changed = ++m->step;
    m->here--;
    return true;
}

void members_leave(struct members *m, const char *name, const char *token)
{
    struct member *found = find_exactly(m, name, token);

    if (found)
        found->is_leaving = true;
}

uint64_t members_begin_look(struct members *m)
{
    return ++m->step;
}

static bool is_of(const char *token, const char *instance)
{
    return strncmp(token, instance, INSTANCE_BYTES) == 0;
}

void members_ours(const struct members_look *look, const char *name, const char *token)
{
    struct member *entry = find_exactly(look->members, name, token);

    if (!entry)
        return;
    entry->seen = look->step;
    entry->misses = 0;
}

/* Two hold one name, as after a time in which they could not know of each other: the lower token keeps it. */
static const char *settle(const struct members_look *look, struct member *holder, const char *token)
{
    static _Thread_local char loser[TOKEN_BYTES_MAX + 1];
    bool was_ours = is_of(holder->token, look->own);

    if ((was_ours || holder->seen == look->step) && strcmp(token, holder->token) > 0)
        return NULL;
    strcpy(loser, holder->token);
    strcpy(holder->token, token);
    holder->seen = look->step;
    holder->misses = 0;
    return was_ours ? loser : NULL;
}

const char *members_see(const struct members_look *look, const char *name, const char *token)
{
    struct member *entry = find_entry(look->members, name);

    if (is_of(token, look->own) || (entry && entry->changed > look->step))
        return NULL;
    if (!entry || entry->is_gone) {
        if (add(look->members, name, token) == MEMBERS_NEW)
            look->on_came(name, look->arg);
        return NULL;
    }
    if (strcmp(entry->token, token) != 0)
        return settle(look, entry, token);
    entry->seen = look->step;
    entry->misses = 0;
    return NULL;
}

/* Is this one to be taken out of the register? */
static bool is_over(const struct members_look *look, struct member *entry)
{
    if (entry->changed > look->step)
        return false;
    if (entry->is_gone)
        return true;
    return entry->seen < look->step && ++entry->misses >= MEMBERS_MISSES;
}

bool members_end_look(const struct members_look *look)
{
    struct members *m = look->members;
    bool are_all_found = true;

    for (size_t i = 0; i < m->count;) {
        struct member entry;
        if (!is_over(look, &m->all[i])) {
            are_all_found = are_all_found && m->all[i].misses == 0;
            i++;
            continue;
        }
        entry = m->all[i];
        drop_entry(m, i);
        if (entry.is_gone)
            continue;
        m->here--;
        look->on_went(entry.name, look->arg);
    }
    return are_all_found;
}
