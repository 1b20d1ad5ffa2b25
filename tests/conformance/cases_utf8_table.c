/* Section 6, the table: one text frame each, which is UTF-8 or is not. */
#include "case.h"

/* clang-format off */
#define VALID(name, hex) \
    {.id = (name), .steps = STEPS(TEXT(HEX(hex)), KILL(500)), .ok = EVENTS(IS_TEXT(HEX(hex))), \
     .closing = TESTER_CLEAN(1000)}
#define INVALID(name, hex) \
    {.id = (name), .steps = STEPS(TEXT(HEX(hex)), KILL(500)), .ok = NOTHING, .closing = PEER_1007}

static const struct conf_case table[] = {
    /* 6.5 valid text with 1- to 4-octet sequences */
    VALID("6.5.1", "68656c6c6f24776f726c64"),
    VALID("6.5.2", "68656c6c6fc2a2776f726c64"),
    VALID("6.5.3", "68656c6c6fe282ac776f726c64"),
    VALID("6.5.4", "68656c6c6ff0a4ada2776f726c64"),
    VALID("6.5.5", "cebae1bdb9cf83cebcceb5"),
    /* 6.6 every prefix of X */
    INVALID("6.6.1", "ce"),
    VALID("6.6.2", "ceba"),
    INVALID("6.6.3", "cebae1"),
    INVALID("6.6.4", "cebae1bd"),
    VALID("6.6.5", "cebae1bdb9"),
    INVALID("6.6.6", "cebae1bdb9cf"),
    VALID("6.6.7", "cebae1bdb9cf83"),
    INVALID("6.6.8", "cebae1bdb9cf83ce"),
    VALID("6.6.9", "cebae1bdb9cf83cebc"),
    INVALID("6.6.10", "cebae1bdb9cf83cebcce"),
    VALID("6.6.11", "cebae1bdb9cf83cebcceb5"),
    /* 6.7 lowest code point of each length */
    VALID("6.7.1", "00"),
    VALID("6.7.2", "c280"),
    VALID("6.7.3", "e0a080"),
    VALID("6.7.4", "f0908080"),
    /* 6.8 5- and 6-octet forms, lowest */
    INVALID("6.8.1", "f888808080"),
    INVALID("6.8.2", "fc8480808080"),
    /* 6.9 highest of each length */
    VALID("6.9.1", "7f"),
    VALID("6.9.2", "dfbf"),
    VALID("6.9.3", "efbfbf"),
    VALID("6.9.4", "f48fbfbf"),
    /* 6.10 beyond U+10FFFF, 4/5/6 octets, highest */
    INVALID("6.10.1", "f7bfbfbf"),
    INVALID("6.10.2", "fbbfbfbfbf"),
    INVALID("6.10.3", "fdbfbfbfbfbf"),
    /* 6.11 borders (surrogates, U+FFFD, U+10FFFF, U+110000) */
    VALID("6.11.1", "ed9fbf"),
    VALID("6.11.2", "ee8080"),
    VALID("6.11.3", "efbfbd"),
    VALID("6.11.4", "f48fbfbf"),
    INVALID("6.11.5", "f4908080"),
    /* 6.12 continuation octets alone */
    INVALID("6.12.1", "80"),
    INVALID("6.12.2", "bf"),
    INVALID("6.12.3", "80bf"),
    INVALID("6.12.4", "80bf80"),
    INVALID("6.12.5", "80bf80bf"),
    INVALID("6.12.6", "80bf80bf80"),
    INVALID("6.12.7", "80bf80bf80bf"),
    INVALID("6.12.8", "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7"
            "a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbe"),
    /* 6.13 lead octets, each followed by a space */
    INVALID("6.13.1", "c020c120c220c320c420c520c620c720c820c920ca20cb20cc20cd20ce20cf20d020d120d220d320"
            "d420d520d620d720d820d920da20db20dc20dd20de20"),
    INVALID("6.13.2", "e020e120e220e320e420e520e620e720e820e920ea20eb20ec20ed20ee20"),
    INVALID("6.13.3", "f020f120f220f320f420f520f620"),
    INVALID("6.13.4", "f820f920fa20"),
    INVALID("6.13.5", "fc20"),
    /* 6.14 last continuation octet missing */
    INVALID("6.14.1", "c0"),
    INVALID("6.14.2", "e080"),
    INVALID("6.14.3", "f08080"),
    INVALID("6.14.4", "f8808080"),
    INVALID("6.14.5", "fc80808080"),
    INVALID("6.14.6", "df"),
    INVALID("6.14.7", "efbf"),
    INVALID("6.14.8", "f7bfbf"),
    INVALID("6.14.9", "fbbfbfbf"),
    INVALID("6.14.10", "fdbfbfbfbf"),
    /* 6.15 all of 6.14 joined */
    INVALID("6.15.1", "c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"),
    /* 6.16 octets fe and ff */
    INVALID("6.16.1", "fe"),
    INVALID("6.16.2", "ff"),
    INVALID("6.16.3", "fefeffff"),
    /* 6.17 overlong / */
    INVALID("6.17.1", "c0af"),
    INVALID("6.17.2", "e080af"),
    INVALID("6.17.3", "f08080af"),
    INVALID("6.17.4", "f8808080af"),
    INVALID("6.17.5", "fc80808080af"),
    /* 6.18 highest overlong of each length */
    INVALID("6.18.1", "c1bf"),
    INVALID("6.18.2", "e09fbf"),
    INVALID("6.18.3", "f08fbfbf"),
    INVALID("6.18.4", "f887bfbfbf"),
    INVALID("6.18.5", "fc83bfbfbfbf"),
    /* 6.19 overlong NUL */
    INVALID("6.19.1", "c080"),
    INVALID("6.19.2", "e08080"),
    INVALID("6.19.3", "f0808080"),
    INVALID("6.19.4", "f880808080"),
    INVALID("6.19.5", "fc8080808080"),
    /* 6.20 single surrogates */
    INVALID("6.20.1", "eda080"),
    INVALID("6.20.2", "edadbf"),
    INVALID("6.20.3", "edae80"),
    INVALID("6.20.4", "edafbf"),
    INVALID("6.20.5", "edb080"),
    INVALID("6.20.6", "edbe80"),
    INVALID("6.20.7", "edbfbf"),
    /* 6.21 surrogate pairs */
    INVALID("6.21.1", "eda080edb080"),
    INVALID("6.21.2", "eda080edbfbf"),
    INVALID("6.21.3", "edadbfedb080"),
    INVALID("6.21.4", "edadbfedbfbf"),
    INVALID("6.21.5", "edae80edb080"),
    INVALID("6.21.6", "edae80edbfbf"),
    INVALID("6.21.7", "edafbfedb080"),
    INVALID("6.21.8", "edafbfedbfbf"),
    /* 6.22 noncharacters (valid) */
    VALID("6.22.1", "efbfbe"),
    VALID("6.22.2", "efbfbf"),
    VALID("6.22.3", "f09fbfbe"),
    VALID("6.22.4", "f09fbfbf"),
    VALID("6.22.5", "f0afbfbe"),
    VALID("6.22.6", "f0afbfbf"),
    VALID("6.22.7", "f0bfbfbe"),
    VALID("6.22.8", "f0bfbfbf"),
    VALID("6.22.9", "f18fbfbe"),
    VALID("6.22.10", "f18fbfbf"),
    VALID("6.22.11", "f19fbfbe"),
    VALID("6.22.12", "f19fbfbf"),
    VALID("6.22.13", "f1afbfbe"),
    VALID("6.22.14", "f1afbfbf"),
    VALID("6.22.15", "f1bfbfbe"),
    VALID("6.22.16", "f1bfbfbf"),
    VALID("6.22.17", "f28fbfbe"),
    VALID("6.22.18", "f28fbfbf"),
    VALID("6.22.19", "f29fbfbe"),
    VALID("6.22.20", "f29fbfbf"),
    VALID("6.22.21", "f2afbfbe"),
    VALID("6.22.22", "f2afbfbf"),
    VALID("6.22.23", "f2bfbfbe"),
    VALID("6.22.24", "f2bfbfbf"),
    VALID("6.22.25", "f38fbfbe"),
    VALID("6.22.26", "f38fbfbf"),
    VALID("6.22.27", "f39fbfbe"),
    VALID("6.22.28", "f39fbfbf"),
    VALID("6.22.29", "f3afbfbe"),
    VALID("6.22.30", "f3afbfbf"),
    VALID("6.22.31", "f3bfbfbe"),
    VALID("6.22.32", "f3bfbfbf"),
    VALID("6.22.33", "f48fbfbe"),
    VALID("6.22.34", "f48fbfbf"),
    /* 6.23 specials U+FFF9..U+FFFF (valid) */
    VALID("6.23.1", "efbfb9"),
    VALID("6.23.2", "efbfba"),
    VALID("6.23.3", "efbfbb"),
    VALID("6.23.4", "efbfbc"),
    VALID("6.23.5", "efbfbd"),
    VALID("6.23.6", "efbfbe"),
    VALID("6.23.7", "efbfbf"),
};
/* clang-format on */

const struct case_table cases_utf8_table = {table, sizeof table / sizeof table[0]};
