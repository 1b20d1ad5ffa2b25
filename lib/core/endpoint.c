/* What connections of one kind share; see endpoint.h. */
#include "core/endpoint.h"

#include "base/mem.h"
#include "base/order.h"
#include "core/engine.h"
#include "sync/park.h"

int endpoint_init(struct endpoint *ep, struct engine *e, const struct settings *settings,
                  const struct engine_hooks *hooks)
{
    ep->homes = mem_calloc(e->io_thread_count, sizeof *ep->homes);
    if (!ep->homes)
        return WEFT_E_NOMEM;
    ep->engine = e;
    ep->settings = settings;
    ep->squeeze = e->squeeze;
    ep->hooks = *hooks;
    atomic_init(&ep->refs, 1);
    for (unsigned i = 0; i < e->io_thread_count; i++)
        ep->homes[i] = (struct home){e->io_threads[i], settings, ep};
    return WEFT_OK;
}

void endpoint_fini(struct endpoint *ep)
{
    mem_free(ep->homes);
}

static bool is_own(const struct endpoint *ep)
{
    return ep == &ep->engine->own;
}

/* Relaxed: who takes a reference has one. */
void endpoint_ref(struct endpoint *ep)
{
    if (is_own(ep))
        engine_ref(ep->engine);
    else
        atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
}

void endpoint_one_more(struct endpoint *ep)
{
    /* Relaxed: seen behind the lock under which connections are made, or by the thread that accepts. */
    atomic_fetch_add_explicit(&ep->engine->alive, 1, memory_order_relaxed);
    if (!is_own(ep))
        atomic_fetch_add_explicit(&ep->alive, 1, memory_order_relaxed);
}

void endpoint_one_less(struct endpoint *ep)
{
    if (!is_own(ep) && atomic_fetch_sub_explicit(&ep->alive, 1, ORDER(ALIVE, memory_order_release)) == 1)
        park_futex_wake(&ep->alive, INT32_MAX);
    engine_one_less(ep->engine);
}

bool endpoint_wait(struct endpoint *ep, uint64_t until_ms)
{
    return engine_wait_for_zero(&ep->alive, until_ms);
}

void endpoint_unref(struct endpoint *ep)
{
    struct engine *e = ep->engine;

    if (is_own(ep)) {
        engine_unref(e);
        return;
    }
    if (atomic_fetch_sub_explicit(&ep->refs, 1, ORDER(ENDPOINT_LAST, memory_order_acq_rel)) != 1)
        return;
    if (ep->squeeze != e->squeeze)
        squeeze_free(ep->squeeze);
    endpoint_fini(ep);
    settings_fini(ep->kept);
    mem_free(ep->kept);
    mem_free(ep);
    engine_unref(e);
}

int endpoint_new(struct endpoint **out, struct engine *e, const struct settings *settings,
                 const struct engine_hooks *hooks)
{
    struct endpoint *ep = mem_calloc(1, sizeof *ep);
    struct settings *kept = mem_calloc(1, sizeof *kept);

    if (!ep || !kept || endpoint_init(ep, e, kept, hooks) != WEFT_OK) {
        mem_free(ep);
        mem_free(kept);
        return WEFT_E_NOMEM;
    }
    if (!squeeze_is_as(e->squeeze, &settings->squeeze) && !(ep->squeeze = squeeze_new(&settings->squeeze))) {
        endpoint_fini(ep);
        mem_free(ep);
        mem_free(kept);
        return WEFT_E_NOMEM;
    }
    *kept = *settings;
    ep->kept = kept;
    engine_ref(e);
    *out = ep;
    return WEFT_OK;
}
