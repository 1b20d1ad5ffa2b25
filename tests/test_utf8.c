/* The UTF-8 check is compared with a judge that knows no table: it puts the bits together and asks whether
 * any code point that RFC 3629 allows can begin like that. Each kernel this processor can run is tried. */
#include "fence.h"
#include "unit.h"
#include "proto/utf8.h"

#include <stdlib.h>
#include <unistd.h>

enum { LENGTH_MAX = 300, LONG_BYTES = 5000 };
enum verdict { WRONG, OPEN, WHOLE };

/* The first character of n octets, n > 0; length: out, how many of them it takes. */
static enum verdict judge_first(const uint8_t *p, size_t n, size_t *length)
{
    size_t need = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint32_t lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t low, high;

    if (need == 0)
        return WRONG;
    *length = n < need ? n : need;
    low = p[0] & lead_bits[need];
    for (size_t i = 1; i < *length; i++) {
        if (p[i] >> 6 != 2)
            return WRONG;
        low = low << 6 | (p[i] & 0x3f);
    }
    low <<= 6 * (need - *length);
    high = low | ((1u << 6 * (need - *length)) - 1);
    low = low < least[need] ? least[need] : low;
    high = high > 0x10ffff ? 0x10ffff : high;
    if (low > high || (low >= 0xd800 && high <= 0xdfff))
        return WRONG;
    return *length == need ? WHOLE : OPEN;
}

static enum verdict judge(const uint8_t *p, size_t n)
{
    enum verdict v = WHOLE;
    size_t length;

    for (size_t i = 0; i < n && v == WHOLE; i += length)
        v = judge_first(p + i, n - i, &length);
    return v;
}

/* Way 0 is the public function, 1 the automaton alone, from 2 on the kernels. */
static size_t ways(void)
{
    size_t kernels;

    utf8_kernels(&kernels);
    return kernels + 2;
}

static bool feed(size_t way, struct utf8_state *s, const uint8_t *p, size_t n)
{
    size_t kernels;
    const struct utf8_kernel *list = utf8_kernels(&kernels);

    if (way == 0)
        return utf8_feed(s, p, n);
    return utf8_feed_by(way == 1 ? NULL : &list[way - 2], s, p, n);
}

static bool agrees(enum verdict v, bool accepted, const struct utf8_state *s)
{
    return accepted == (v != WRONG) && utf8_is_complete(s) == (v == WHOLE);
}

/* In one piece, and cut in two at each place. */
static bool whole_and_halves_agree(size_t way, const uint8_t *p, size_t n, enum verdict wanted)
{
    bool good = true;

    for (size_t cut = 0; cut <= n; cut++) {
        struct utf8_state s = {0};
        bool first = feed(way, &s, p, cut);
        good =
            good && first == (judge(p, cut) != WRONG) && agrees(wanted, feed(way, &s, p + cut, n - cut), &s);
    }
    return good;
}

/* Refused with the very octet that no valid text can have there, and from then on for good. */
static bool octets_agree(size_t way, const uint8_t *p, size_t n)
{
    struct utf8_state s = {0};
    bool good = true;

    for (size_t i = 0; i < n; i++) {
        bool accepted = feed(way, &s, p + i, 1);
        good = good && agrees(judge(p, i + 1), accepted, &s);
    }
    return good;
}

static bool all_ways_agree(const uint8_t *p, size_t n)
{
    enum verdict wanted = judge(p, n);
    bool good = true;

    for (size_t way = 0; way < ways(); way++)
        good = good && whole_and_halves_agree(way, p, n, wanted) && octets_agree(way, p, n);
    return good;
}

static size_t read_hex(const char *hex, uint8_t *p)
{
    size_t n = strlen(hex) / 2;

    for (size_t i = 0; i < n; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        p[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return n;
}

/* The conformance cases 6.5 to 6.23: one text frame each. */
static const struct {
    const char *id, *hex;
    bool valid;
} table[] = {
    {"6.5.1", "68656c6c6f24776f726c64", true},
    {"6.5.2", "68656c6c6fc2a2776f726c64", true},
    {"6.5.3", "68656c6c6fe282ac776f726c64", true},
    {"6.5.4", "68656c6c6ff0a4ada2776f726c64", true},
    {"6.5.5", "cebae1bdb9cf83cebcceb5", true},
    {"6.6.1", "ce", false},
    {"6.6.2", "ceba", true},
    {"6.6.3", "cebae1", false},
    {"6.6.4", "cebae1bd", false},
    {"6.6.5", "cebae1bdb9", true},
    {"6.6.6", "cebae1bdb9cf", false},
    {"6.6.7", "cebae1bdb9cf83", true},
    {"6.6.8", "cebae1bdb9cf83ce", false},
    {"6.6.9", "cebae1bdb9cf83cebc", true},
    {"6.6.10", "cebae1bdb9cf83cebcce", false},
    {"6.6.11", "cebae1bdb9cf83cebcceb5", true},
    {"6.7.1", "00", true},
    {"6.7.2", "c280", true},
    {"6.7.3", "e0a080", true},
    {"6.7.4", "f0908080", true},
    {"6.8.1", "f888808080", false},
    {"6.8.2", "fc8480808080", false},
    {"6.9.1", "7f", true},
    {"6.9.2", "dfbf", true},
    {"6.9.3", "efbfbf", true},
    {"6.9.4", "f48fbfbf", true},
    {"6.10.1", "f7bfbfbf", false},
    {"6.10.2", "fbbfbfbfbf", false},
    {"6.10.3", "fdbfbfbfbfbf", false},
    {"6.11.1", "ed9fbf", true},
    {"6.11.2", "ee8080", true},
    {"6.11.3", "efbfbd", true},
    {"6.11.4", "f48fbfbf", true},
    {"6.11.5", "f4908080", false},
    {"6.12.1", "80", false},
    {"6.12.2", "bf", false},
    {"6.12.3", "80bf", false},
    {"6.12.4", "80bf80", false},
    {"6.12.5", "80bf80bf", false},
    {"6.12.6", "80bf80bf80", false},
    {"6.12.7", "80bf80bf80bf", false},
    {"6.12.8",
     "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b"
     "3b4b5b6b7b8b9babbbcbdbe",
     false},
    {"6.13.1",
     "c020c120c220c320c420c520c620c720c820c920ca20cb20cc20cd20ce20cf20d020d120d220d320d420d520d620d720d820d92"
     "0da20db20dc20dd20de20",
     false},
    {"6.13.2", "e020e120e220e320e420e520e620e720e820e920ea20eb20ec20ed20ee20", false},
    {"6.13.3", "f020f120f220f320f420f520f620", false},
    {"6.13.4", "f820f920fa20", false},
    {"6.13.5", "fc20", false},
    {"6.14.1", "c0", false},
    {"6.14.2", "e080", false},
    {"6.14.3", "f08080", false},
    {"6.14.4", "f8808080", false},
    {"6.14.5", "fc80808080", false},
    {"6.14.6", "df", false},
    {"6.14.7", "efbf", false},
    {"6.14.8", "f7bfbf", false},
    {"6.14.9", "fbbfbfbf", false},
    {"6.14.10", "fdbfbfbfbf", false},
    {"6.15.1", "c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf", false},
    {"6.16.1", "fe", false},
    {"6.16.2", "ff", false},
    {"6.16.3", "fefeffff", false},
    {"6.17.1", "c0af", false},
    {"6.17.2", "e080af", false},
    {"6.17.3", "f08080af", false},
    {"6.17.4", "f8808080af", false},
    {"6.17.5", "fc80808080af", false},
    {"6.18.1", "c1bf", false},
    {"6.18.2", "e09fbf", false},
    {"6.18.3", "f08fbfbf", false},
    {"6.18.4", "f887bfbfbf", false},
    {"6.18.5", "fc83bfbfbfbf", false},
    {"6.19.1", "c080", false},
    {"6.19.2", "e08080", false},
    {"6.19.3", "f0808080", false},
    {"6.19.4", "f880808080", false},
    {"6.19.5", "fc8080808080", false},
    {"6.20.1", "eda080", false},
    {"6.20.2", "edadbf", false},
    {"6.20.3", "edae80", false},
    {"6.20.4", "edafbf", false},
    {"6.20.5", "edb080", false},
    {"6.20.6", "edbe80", false},
    {"6.20.7", "edbfbf", false},
    {"6.21.1", "eda080edb080", false},
    {"6.21.2", "eda080edbfbf", false},
    {"6.21.3", "edadbfedb080", false},
    {"6.21.4", "edadbfedbfbf", false},
    {"6.21.5", "edae80edb080", false},
    {"6.21.6", "edae80edbfbf", false},
    {"6.21.7", "edafbfedb080", false},
    {"6.21.8", "edafbfedbfbf", false},
    {"6.22.1", "efbfbe", true},
    {"6.22.2", "efbfbf", true},
    {"6.22.3", "f09fbfbe", true},
    {"6.22.4", "f09fbfbf", true},
    {"6.22.5", "f0afbfbe", true},
    {"6.22.6", "f0afbfbf", true},
    {"6.22.7", "f0bfbfbe", true},
    {"6.22.8", "f0bfbfbf", true},
    {"6.22.9", "f18fbfbe", true},
    {"6.22.10", "f18fbfbf", true},
    {"6.22.11", "f19fbfbe", true},
    {"6.22.12", "f19fbfbf", true},
    {"6.22.13", "f1afbfbe", true},
    {"6.22.14", "f1afbfbf", true},
    {"6.22.15", "f1bfbfbe", true},
    {"6.22.16", "f1bfbfbf", true},
    {"6.22.17", "f28fbfbe", true},
    {"6.22.18", "f28fbfbf", true},
    {"6.22.19", "f29fbfbe", true},
    {"6.22.20", "f29fbfbf", true},
    {"6.22.21", "f2afbfbe", true},
    {"6.22.22", "f2afbfbf", true},
    {"6.22.23", "f2bfbfbe", true},
    {"6.22.24", "f2bfbfbf", true},
    {"6.22.25", "f38fbfbe", true},
    {"6.22.26", "f38fbfbf", true},
    {"6.22.27", "f39fbfbe", true},
    {"6.22.28", "f39fbfbf", true},
    {"6.22.29", "f3afbfbe", true},
    {"6.22.30", "f3afbfbf", true},
    {"6.22.31", "f3bfbfbe", true},
    {"6.22.32", "f3bfbfbf", true},
    {"6.22.33", "f48fbfbe", true},
    {"6.22.34", "f48fbfbf", true},
    {"6.23.1", "efbfb9", true},
    {"6.23.2", "efbfba", true},
    {"6.23.3", "efbfbb", true},
    {"6.23.4", "efbfbc", true},
    {"6.23.5", "efbfbd", true},
    {"6.23.6", "efbfbe", true},
    {"6.23.7", "efbfbf", true},
};
enum { TABLE = sizeof table / sizeof table[0] };

static void conformance_table_is_judged_as_it_says_also_behind_and_before_other_text(void)
{
    uint8_t text[LENGTH_MAX];

    CU_ASSERT_EQUAL(TABLE, 132);
    for (size_t i = 0; i < TABLE; i++) {
        size_t n = read_hex(table[i].hex, text + 70);
        memset(text, 'a', 70);
        memset(text + 70 + n, 'b', 70);
        CU_ASSERT_EQUAL(judge(text + 70, n) == WHOLE, table[i].valid);
        CU_ASSERT(all_ways_agree(text + 70, n));
        CU_ASSERT(all_ways_agree(text, 70 + n));
        CU_ASSERT_EQUAL(judge(text, 140 + n) == WHOLE, table[i].valid);
        CU_ASSERT(all_ways_agree(text, 140 + n));
    }
}

static const char greek[] = "cebae1bdb9cf83cebcceb5"; /* X in the conformance cases */

static void conformance_6_1_empty_pieces_change_nothing(void)
{
    for (size_t way = 0; way < ways(); way++) {
        struct utf8_state s = {0};
        CU_ASSERT(feed(way, &s, NULL, 0));
        CU_ASSERT(utf8_is_complete(&s));
        CU_ASSERT(feed(way, &s, (const uint8_t *)"middle frame payload", 20));
        CU_ASSERT(feed(way, &s, NULL, 0));
        CU_ASSERT(utf8_is_complete(&s));
        CU_ASSERT(feed(way, &s, (const uint8_t *)"\xc3", 1));
        CU_ASSERT(feed(way, &s, NULL, 0));
        CU_ASSERT_FALSE(utf8_is_complete(&s));
    }
}

static void conformance_6_2_and_6_3_are_judged_wherever_they_are_cut(void)
{
    static const struct {
        const char *hex;
        enum verdict verdict;
    } texts[] = {{"48656c6c6f2dc2b540c39fc3b6c3a4c3bcc3a0c3a12d5554462d382121", WHOLE},
                 {greek, WHOLE},
                 {"cebae1bdb9cf83cebcceb5eda080656469746564", WRONG}};
    uint8_t text[64];

    for (size_t i = 0; i < 3; i++) {
        size_t n = read_hex(texts[i].hex, text);
        CU_ASSERT_EQUAL(judge(text, n), texts[i].verdict);
        CU_ASSERT(all_ways_agree(text, n));
    }
}

static void conformance_6_4_fails_with_the_piece_that_cannot_be_right(void)
{
    uint8_t text[64];
    size_t n = read_hex(greek, text);

    read_hex("f4908080656469746564", text + n);
    for (size_t way = 0; way < ways(); way++) {
        struct utf8_state s = {0}, t = {0};
        CU_ASSERT(feed(way, &s, text, n));
        CU_ASSERT_FALSE(feed(way, &s, text + n, 4));
        CU_ASSERT(feed(way, &t, text, n + 1));
        CU_ASSERT_FALSE(feed(way, &t, text + n + 1, 1));
        CU_ASSERT_FALSE(feed(way, &t, text + n + 2, 8));
    }
}

/* Octets at and beside each border that the definition has. */
static const uint8_t borders[] = {0x00, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xa1,
                                  0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                  0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xff};

/* All octets in sequences of up to three, of four all second ones and the borders elsewhere; under a
 * sanitizer all octets only in pairs. */
static bool takes_all_octets(size_t at, size_t n)
{
    return n < 3 || (!unit_is_slow() && (n == 3 || at == 1));
}

static size_t count_faults(uint8_t *seq, size_t at, size_t n, bool (*good)(const uint8_t *seq, size_t n))
{
    size_t faults = 0, choices;

    if (at == n)
        return !good(seq, n);
    choices = takes_all_octets(at, n) ? 256 : sizeof borders;
    for (size_t i = 0; i < choices; i++) {
        seq[at] = choices == 256 ? (uint8_t)i : borders[i];
        faults += count_faults(seq, at + 1, n, good);
    }
    return faults;
}

static size_t count_faults_up_to_4(bool (*good)(const uint8_t *seq, size_t n))
{
    uint8_t seq[4];
    size_t faults = 0;

    for (size_t n = 1; n <= 4; n++)
        faults += count_faults(seq, 0, n, good);
    return faults;
}

/* The public function and the automaton; kernels have no part in texts this short. */
static bool pieces_agree(const uint8_t *seq, size_t n)
{
    return whole_and_halves_agree(0, seq, n, judge(seq, n)) && octets_agree(0, seq, n);
}

static void each_short_sequence_is_judged_right_wherever_it_is_cut(void)
{
    CU_ASSERT_EQUAL(count_faults_up_to_4(pieces_agree), 0);
}

/* The places move with each call, so that a sequence meets each border of a vector, and each vector each
 * sequence. */
static bool embedded_agree(const uint8_t *seq, size_t n)
{
    static uint8_t text[256];
    static size_t calls;
    size_t letters = calls++ % 41, before = 3 * letters, bytes = before + n + 66;
    bool wanted, good = true;

    for (size_t i = 0; i < bytes; i += 3)
        memcpy(text + i, calls & 1 ? "\xe6\xbc\xa2" : "abc", 3);
    for (size_t i = 0; i < n; i++)
        text[before + i] = seq[i];
    memset(text + before + n, 'z', 66);
    wanted = judge(text + before, n + 1) == WHOLE;
    for (size_t way = 2; way < ways(); way++) {
        struct utf8_state s = {0};
        good = good && feed(way, &s, text, bytes) == wanted && utf8_is_complete(&s) == wanted;
    }
    return good;
}

static void each_short_sequence_is_judged_right_inside_of_long_text(void)
{
    CU_ASSERT_EQUAL(count_faults_up_to_4(embedded_agree), 0);
}

static bool last_in_text_agrees(const uint8_t *seq, size_t n)
{
    static uint8_t text[128];
    static size_t calls;
    size_t before = 35 + calls++ % 64;
    enum verdict wanted = judge(seq, n);
    bool good = true;

    memset(text, 'a', before);
    memcpy(text + before, seq, n);
    for (size_t way = 2; way < ways(); way++) {
        struct utf8_state s = {0};
        good = good && agrees(wanted, feed(way, &s, text, before + n), &s);
    }
    return good;
}

static void each_short_sequence_is_judged_right_at_the_end_of_long_text(void)
{
    CU_ASSERT_EQUAL(count_faults_up_to_4(last_in_text_agrees), 0);
}

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

/* Encodes any number below 2^21, allowed or not. */
static size_t encode(uint32_t c, uint8_t *p)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = n; i-- > 1; c >>= 6)
        p[i] = 0x80 | (c & 0x3f);
    p[0] = (uint8_t)(lead[n] | c);
    return n;
}

/* Text of letters of all lengths; about every second one with a fault, and the end may cut a letter. */
static void draw_text(uint8_t *p, size_t n)
{
    static const uint32_t below[] = {0x80, 0x80, 0x800, 0xd800, 0x110000};
    uint32_t kinds = 1 + draw(5);
    uint8_t letter[4];

    for (size_t i = 0, length; i < n; i += length) {
        uint32_t c = draw(below[draw(kinds)]);
        length = encode(c >= 0xd800 && c <= 0xdfff ? 0xfffd : c, letter);
        memcpy(p + i, letter, length < n - i ? length : n - i);
    }
    if (n > 0 && draw(2))
        p[draw((uint32_t)n)] = draw(2) ? borders[draw(sizeof borders)] : (uint8_t)draw(256);
}

static bool drawn_pieces_agree(size_t way, const uint8_t *p, size_t n)
{
    struct utf8_state s = {0};
    bool good = true;

    for (size_t i = 0, bytes; i < n; i += bytes) {
        bool accepted;
        bytes = 1 + draw((uint32_t)(n - i));
        accepted = feed(way, &s, p + i, bytes);
        good = good && agrees(judge(p, i + bytes), accepted, &s);
    }
    return good;
}

static bool drawn_text_agrees(const uint8_t *p, size_t n)
{
    enum verdict wanted = judge(p, n);
    bool good = true;

    for (size_t way = 0; way < ways(); way++) {
        struct utf8_state s = {0};
        good = good && agrees(wanted, feed(way, &s, p, n), &s);
        good = good && drawn_pieces_agree(way, p, n) && octets_agree(way, p, n);
    }
    return good;
}

static void random_text_of_each_length_is_judged_right_and_nothing_beyond_it_is_read(void)
{
    struct fenced f = fence(1);
    size_t faults = 0;

    seed = 6455;
    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        for (int i = 0; i < (unit_is_slow() ? 4 : 40); i++) {
            draw_text(f.end - n, n);
            faults += !drawn_text_agrees(f.end - n, n);
            draw_text(f.start, n);
            faults += !drawn_text_agrees(f.start, n);
        }
    }
    CU_ASSERT_EQUAL(faults, 0);
    unfence(f);
}

static void alignment_does_not_matter(void)
{
    static uint8_t page[LENGTH_MAX + 64];
    size_t faults = 0, step = unit_is_slow() ? 11 : 1;

    seed = 3629;
    for (size_t skew = 0; skew < 64; skew++) {
        for (size_t n = 0; n <= LENGTH_MAX; n += step) {
            draw_text(page + skew, n);
            for (size_t way = 0; way < ways(); way++) {
                struct utf8_state s = {0};
                bool accepted = feed(way, &s, page + skew, n);
                faults += !agrees(judge(page + skew, n), accepted, &s);
            }
        }
    }
    CU_ASSERT_EQUAL(faults, 0);
}

static void ascii_of_each_length_is_accepted_and_one_high_octet_anywhere_is_not(void)
{
    static uint8_t text[LENGTH_MAX];
    size_t faults = 0;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i & 0x7f);
    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        struct utf8_state s = {0};
        faults += !utf8_feed(&s, text, n) || !utf8_is_complete(&s);
        for (size_t i = 0; i < n; i++) {
            struct utf8_state t = {0};
            text[i] ^= 0x80; /* 80 and above with no lead, or a lead with no rest */
            faults += utf8_feed(&t, text, n) && utf8_is_complete(&t);
            text[i] ^= 0x80;
        }
    }
    CU_ASSERT_EQUAL(faults, 0);
}

/* Else the automaton would do the work of a kernel that gives up, and nobody would notice but the clock. */
static void kernels_reach_the_end_of_text_that_is_right(void)
{
    static uint8_t text[LONG_BYTES];
    size_t kernels, faults = 0;
    const struct utf8_kernel *list = utf8_kernels(&kernels);

    for (size_t i = 0; i + 10 <= sizeof text; i += 10)
        memcpy(text + i, "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 10);
    for (size_t k = 0; k < kernels; k++)
        for (size_t n = list[k].least_bytes; n < sizeof text; n += n < LENGTH_MAX ? 1 : 37)
            faults += list[k].right_until(text, n) != n;
    CU_ASSERT_EQUAL(faults, 0);
}

static void a_fault_anywhere_in_a_long_text_is_found_and_stays(void)
{
    static uint8_t text[LONG_BYTES];
    size_t faults = 0;

    for (size_t i = 0; i + 5 <= sizeof text; i += 5)
        memcpy(text + i, i < LONG_BYTES / 2 ? "\xe6\xbc\xa2\xc3\xa9" : "ascii", 5);
    for (size_t way = 0; way < ways(); way++) {
        for (size_t i = 0; i < sizeof text; i += unit_is_slow() ? 13 : 1) {
            struct utf8_state s = {0};
            uint8_t kept = text[i];
            text[i] = 0xff;
            faults += feed(way, &s, text, sizeof text);
            text[i] = kept;
            faults +=
                feed(way, &s, NULL, 0) || feed(way, &s, (const uint8_t *)"ok", 2) || utf8_is_complete(&s);
            faults += feed(way, &s, text, sizeof text);
        }
    }
    CU_ASSERT_EQUAL(faults, 0);
}

static void the_state_is_one_octet(void)
{
    CU_ASSERT_EQUAL(sizeof(struct utf8_state), 1);
}

static const struct unit_case cases[] = {
    CASE(the_state_is_one_octet),
    CASE(conformance_6_1_empty_pieces_change_nothing),
    CASE(conformance_6_2_and_6_3_are_judged_wherever_they_are_cut),
    CASE(conformance_6_4_fails_with_the_piece_that_cannot_be_right),
    CASE(conformance_table_is_judged_as_it_says_also_behind_and_before_other_text),
    CASE(each_short_sequence_is_judged_right_wherever_it_is_cut),
    CASE(each_short_sequence_is_judged_right_inside_of_long_text),
    CASE(each_short_sequence_is_judged_right_at_the_end_of_long_text),
    CASE(random_text_of_each_length_is_judged_right_and_nothing_beyond_it_is_read),
    CASE(alignment_does_not_matter),
    CASE(ascii_of_each_length_is_accepted_and_one_high_octet_anywhere_is_not),
    CASE(kernels_reach_the_end_of_text_that_is_right),
    CASE(a_fault_anywhere_in_a_long_text_is_found_and_stays),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "utf8", cases, sizeof cases / sizeof cases[0]);
}
