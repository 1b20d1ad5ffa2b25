/* The options of a bus: checked, completed with defaults, and copied. */
#include <string.h>

#include "api/bus.h"
#include "base/mem.h"
#include "core/options.h"

#define HISTORIES_BYTES ((uint64_t)64 << 20)

void bus_options_free(weft_bus_opts *o)
{
    for (size_t i = 0; o->rules && i < o->rule_count; i++)
        mem_free((char *)o->rules[i].topic);
    mem_free((weft_bus_rule *)o->rules);
    mem_free((char *)o->history_file);
    mem_free((char *)o->prefix);
    mem_free((char *)o->ca_file);
    mem_free((char *)o->cert_file);
    mem_free((char *)o->key_file);
}

static bool keep(const char **text)
{
    *text = *text ? mem_strdup(*text) : NULL;
    return *text;
}

/* Each string becomes a copy, NULL where there was none or there is no memory; and false then. */
bool bus_options_copy(weft_bus_opts *o)
{
    const char **texts[] = {&o->history_file, &o->prefix, &o->ca_file, &o->cert_file, &o->key_file};
    const weft_bus_rule *given = o->rules;
    weft_bus_rule *rules = mem_calloc(o->rule_count + 1, sizeof *rules);
    bool is_whole = rules != NULL;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        bool was_there = *texts[i] != NULL;
        is_whole &= keep(texts[i]) || !was_there;
    }
    for (size_t i = 0; rules && i < o->rule_count; i++) {
        rules[i] = given[i];
        is_whole &= keep(&rules[i].topic);
    }
    o->rules = rules;
    return is_whole;
}

/* WEFT_OK; how long a name is, and may it be a pattern? */
int bus_check_topic(const char *topic, bool may_be_pattern)
{
    size_t bytes = topic ? strnlen(topic, WEFT_BUS_TOPIC_BYTES_MAX + 2) : 0;
    bool is_pattern = bytes && topic[bytes - 1] == '*';

    if (!bytes || bytes - is_pattern > WEFT_BUS_TOPIC_BYTES_MAX || (is_pattern && !may_be_pattern))
        return WEFT_E_INVAL;
    return WEFT_OK;
}

static int check_rules(const weft_bus_opts *o)
{
    if (o->rule_count && !o->rules)
        return option_refused("rule_count without rules");
    for (size_t i = 0; i < o->rule_count; i++)
        if (bus_check_topic(o->rules[i].topic, true) != WEFT_OK)
            return option_refused("a rule of the bus has no proper topic");
    return WEFT_OK;
}

int bus_options_choose(weft_bus_opts *o)
{
    OPTION_CHOOSE(o, queue_bytes_max, 16u << 20, 1024, UINT64_MAX / 2);
    OPTION_CHOOSE(o, message_bytes_max, 1u << 20, 1, 1u << 28);
    OPTION_CHOOSE(o, subscriptions_max, 1u << 20, 1, UINT32_MAX);
    OPTION_CHOOSE(o, topics_max, 65536, 1, UINT32_MAX);
    OPTION_CHOOSE(o, history_bytes_max, 16u << 20, 1024, UINT64_MAX / 2);
    OPTION_CHOOSE(o, histories_bytes_max,
                  o->history_bytes_max > HISTORIES_BYTES ? o->history_bytes_max : HISTORIES_BYTES, 1024,
                  UINT64_MAX / 2);
    OPTION_CHOOSE(o, presence_timeout_ms, 30000, 100, 86400000);
    OPTION_CHOOSE(o, connect_timeout_ms, 5000, 10, 600000);
    OPTION_CHOOSE(o, reply_timeout_ms, 5000, 10, 600000);
    OPTION_CHOOSE(o, reconnect_min_ms, 100, 1, 600000);
    OPTION_CHOOSE(o, reconnect_max_ms, o->reconnect_min_ms < 10000 ? 10000 : o->reconnect_min_ms,
                  o->reconnect_min_ms, 3600000);
    OPTION_CHOOSE(o, in_flight_max, 1024, 1, 65536);
    if (o->full_policy != WEFT_BUS_FULL_REFUSE && o->full_policy != WEFT_BUS_FULL_DROP)
        return option_refused("full_policy is none of its values");
    if (!o->prefix)
        o->prefix = "weft:";
    if (strpbrk(o->prefix, "{}*") || strlen(o->prefix) > WEFT_BUS_TOPIC_BYTES_MAX)
        return option_refused("prefix is too long, or holds one of {}*");
    return check_rules(o);
}
