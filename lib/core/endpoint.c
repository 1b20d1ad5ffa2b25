/* What connections of one kind share; see endpoint.h. */
#include "core/endpoint.h"

#include "base/mem.h"
#include "base/order.h"
#include "core/engine.h"

int endpoint_init(struct endpoint *ep, struct engine *e, const struct settings *settings,
                  const struct engine_hooks *hooks)
{
    ep->homes = mem_calloc(e->io_thread_count, sizeof *ep->homes);
    if (!ep->homes)
        return WEFT_E_NOMEM;
    ep->engine = e;
    ep->settings = settings;
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

void endpoint_unref(struct endpoint *ep)
{
    struct engine *e = ep->engine;

    if (is_own(ep)) {
        engine_unref(e);
        return;
    }
    if (atomic_fetch_sub_explicit(&ep->refs, 1, ORDER(ENDPOINT_LAST, memory_order_acq_rel)) != 1)
        return;
    endpoint_fini(ep);
    mem_free(ep);
    engine_unref(e);
}
