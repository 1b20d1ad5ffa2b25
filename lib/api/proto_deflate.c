/* Compression of a weft_proto; see proto_deflate.h. */
#include "api/proto_deflate.h"

#include "core/options.h"
#include "core/settings.h"

int proto_deflate_init(struct proto_deflate *d, const weft_compression *opts)
{
    int rc;

    *d = (struct proto_deflate){.opts = *opts};
    if (opts->memory_bytes_max)
        return option_refused("compression.memory_bytes_max is for connections that share their memory");
    rc = settings_choose_compression(&d->opts);
    d->policy = settings_policy_of(&d->opts);
    return rc;
}

void proto_deflate_fini(struct proto_deflate *d)
{
    deflater_free(d->out);
    inflater_free(d->in);
    d->out = NULL;
    d->in = NULL;
}

static bool is_worth_it(const struct proto_deflate *d, const weft_msg *m)
{
    return d->is_agreed && d->params.out_window_bits && m->bytes >= d->opts.bytes_min && !m->is_plain &&
           !m->is_compressed;
}

static unsigned level_of(const struct proto_deflate *d)
{
    if (d->opts.level)
        return d->opts.level;
    return d->params.out_takeover ? DEFLATE_LEVEL_TAKEOVER : DEFLATE_LEVEL_ALONE;
}

void proto_deflate_forget(struct proto_deflate *d)
{
    deflater_free(d->out);
    d->out = NULL;
}

weft_msg *proto_deflate_out(struct proto_deflate *d, const weft_msg *m)
{
    weft_msg *packed = NULL;

    if (!is_worth_it(d, m))
        return NULL;
    if (!d->out)
        d->out = deflater_new(d->params.out_window_bits, level_of(d), d->opts.mem_level);
    if (d->out && deflater_message(d->out, m, d->params.out_takeover, &packed) != WEFT_OK)
        packed = NULL;
    if (!d->params.out_takeover)
        proto_deflate_forget(d);
    return packed;
}

int proto_deflate_in(struct proto_deflate *d, const weft_msg *m, size_t bytes_max, weft_msg **out)
{
    int rc;

    if (!d->in)
        d->in = inflater_new(d->params.in_window_bits);
    if (!d->in)
        return WEFT_E_NOMEM;
    rc = inflater_message(d->in, m, bytes_max, out);
    if (rc != WEFT_OK || !d->params.in_takeover) {
        inflater_free(d->in);
        d->in = NULL;
    }
    return rc;
}
