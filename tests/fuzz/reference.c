/* A second reading of RFC 6455; see reference.h. */
#include "reference.h"

#include <string.h>

struct reading {
    struct trace *trace;
    const struct session_config *config;
    const uint8_t *p;
    size_t bytes, at;
    uint8_t message[REFERENCE_BYTES_MAX];
    size_t message_bytes;
    unsigned type, fragments;
    bool is_compressed;
    bool in_message;
};

static bool read_fails(struct reading *r, unsigned code)
{
    trace_line(r->trace, "fail", code, NULL, 0);
    return false;
}

static unsigned fault_of_first_bytes(const struct reading *r, unsigned first, unsigned second)
{
    unsigned opcode = first & 15;
    bool is_control = opcode >= 8;
    unsigned reserved = r->config->allows_compressed && (opcode == 1 || opcode == 2) ? 0x30 : 0x70;

    if (first & reserved || (opcode > 2 && opcode < 8) || opcode > 10)
        return 1002;
    if (!!(second & 0x80) == r->config->is_client)
        return 1002;
    if (is_control && (!(first & 0x80) || (second & 0x7f) > 125))
        return 1002;
    if (!is_control && (opcode == 0) != r->in_message)
        return 1002;
    return 0;
}

static bool read_data(struct reading *r, unsigned first, uint64_t length, const uint8_t *payload,
                      size_t there)
{
    static const char *const names[2][2] = {{"binary", "compressed-binary"}, {"text", "compressed-text"}};
    uint64_t most = r->config->message_bytes_max;
    bool is_whole, is_text;

    if (first & 15) {
        r->is_compressed = first & 0x40;
        r->type = first & 15;
        r->message_bytes = r->fragments = 0;
        r->in_message = true;
    }
    is_text = r->type == 1 && !r->is_compressed;
    if (r->is_compressed)
        most += most / 8 + most / 32 + 64;
    if (++r->fragments > r->config->fragments_max)
        return read_fails(r, 1008);
    if (length > most - r->message_bytes)
        return read_fails(r, 1009);
    memcpy(r->message + r->message_bytes, payload, there);
    r->message_bytes += there;
    if (is_text && wire_utf8_right_until(r->message, r->message_bytes, &is_whole) < r->message_bytes)
        return read_fails(r, 1007);
    if (there < length)
        return false;
    if (!(first & 0x80))
        return true;
    if (is_text && !is_whole)
        return read_fails(r, 1007);
    trace_line(r->trace, names[r->type == 1][r->is_compressed], 0, r->message, r->message_bytes);
    r->in_message = false;
    return true;
}

/* The registry of close codes: what a peer may put on the wire. */
static bool code_may_be_sent(unsigned code)
{
    static const unsigned short assigned[] = {1000, 1001, 1002, 1003, 1007, 1008,
                                              1009, 1010, 1011, 1012, 1013, 1014};

    for (size_t i = 0; i < sizeof assigned / sizeof assigned[0]; i++)
        if (code == assigned[i])
            return true;
    return code >= 3000 && code < 5000;
}

static bool read_control(struct reading *r, unsigned opcode, const uint8_t *payload, size_t n)
{
    unsigned code = n >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005;
    bool is_whole;

    if (opcode != 8) {
        trace_line(r->trace, opcode == 9 ? "ping" : "pong", 0, payload, n);
        return true;
    }
    if (n == 1)
        return read_fails(r, 1002);
    if (n && !code_may_be_sent(code))
        return read_fails(r, 1002);
    if (n && (wire_utf8_right_until(payload + 2, n - 2, &is_whole) < n - 2 || !is_whole))
        return read_fails(r, 1007);
    trace_line(r->trace, "close", code, payload + 2, n ? n - 2 : 0);
    return false;
}

/* One frame. False: the end, of the bytes or of the connection. */
static bool read_frame(struct reading *r)
{
    const uint8_t *p = r->p + r->at, *key;
    size_t left = r->bytes - r->at, header = 2, there;
    uint8_t payload[REFERENCE_BYTES_MAX];
    uint64_t length;
    unsigned more;

    if (left < 2)
        return false;
    if (fault_of_first_bytes(r, p[0], p[1]))
        return read_fails(r, 1002);
    length = p[1] & 0x7f;
    more = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (left < header + more + (r->config->is_client ? 0 : 4))
        return false;
    if (more)
        length = 0;
    for (unsigned i = 0; i < more; i++)
        length = length << 8 | p[header++];
    if (more && (length < (more == 2 ? 126 : 65536) || length >> 63))
        return read_fails(r, 1002);
    key = p + header;
    header += r->config->is_client ? 0 : 4;
    there = left - header < length ? left - header : (size_t)length;
    for (size_t i = 0; i < there; i++)
        payload[i] = p[header + i] ^ (r->config->is_client ? 0 : key[i % 4]);
    r->at += header + there;
    if ((p[0] & 15) < 8)
        return read_data(r, p[0], length, payload, there);
    return there == length && read_control(r, p[0] & 15, payload, there);
}

void reference_read(struct trace *trace, const struct session_config *config, const uint8_t *p, size_t n)
{
    static struct reading r; /* too large for the stack */

    r.trace = trace;
    r.config = config;
    r.p = p;
    r.bytes = n;
    r.at = r.message_bytes = 0;
    r.type = r.fragments = 0;
    r.is_compressed = r.in_message = false;
    trace_init(trace);
    while (n && read_frame(&r))
        continue;
}
