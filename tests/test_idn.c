/* International host names. The forms are those of the IDNA 2008 tables and of UTS 46. */
#include "unit.h"
#include "proto/idn.h"

#include <stdbool.h>
#include <string.h>

#include "weft/error.h"

static bool becomes(const char *name, const char *expected)
{
    char out[IDN_NAME_BYTES_MAX + 1] = "untouched";
    const char *reason = NULL;

    return idn_to_ascii(name, out, &reason) == WEFT_OK && strcmp(out, expected) == 0 && !reason;
}

static bool is_refused_as(const char *name, const char *expected)
{
    char out[IDN_NAME_BYTES_MAX + 1] = "untouched";
    const char *reason = NULL;

    return idn_to_ascii(name, out, &reason) == WEFT_E_INVAL && reason && strcmp(reason, expected) == 0 &&
           strcmp(out, "untouched") == 0;
}

static void an_ascii_name_is_made_lower_case_and_no_more(void)
{
    CU_ASSERT(becomes("Example.ORG", "example.org"));
    CU_ASSERT(becomes("example.org.", "example.org."));
    CU_ASSERT(becomes("my_service", "my_service"));
    CU_ASSERT(becomes("r3---sn-x.example", "r3---sn-x.example"));
    CU_ASSERT(becomes("XN--Bcher-KVA.example", "xn--bcher-kva.example"));
    CU_ASSERT(becomes("xn--i-7iq.ws", "xn--i-7iq.ws")); /* a heart, of which IDNA 2008 knows nothing */
}

static void an_international_name_is_mapped(void)
{
    CU_ASSERT(becomes("bücher.example", "xn--bcher-kva.example"));
    CU_ASSERT(becomes("BÜCHER.example", "xn--bcher-kva.example"));
    CU_ASSERT(becomes("bu\xcc\x88"
                      "cher.example",
                      "xn--bcher-kva.example")); /* u and a combining diaeresis */
    CU_ASSERT(becomes("straße.example", "xn--strae-oqa.example"));
    CU_ASSERT(becomes("例え。テスト", "xn--r8jz45g.xn--zckzah"));
    CU_ASSERT(becomes("ｅｘａｍｐｌｅ.org", "example.org"));
    CU_ASSERT(becomes("１２７.0.0.1", "127.0.0.1")); /* url.c judges what looks like an address */
}

static void characters_that_map_to_delimiters_are_refused(void)
{
    static const char *const names[] = {
        "ｅvil／.example",   /* U+FF0F becomes '/' */
        "example.org：80",   /* U+FF1A ':' */
        "user＠example.org", /* U+FF20 '@' */
        "example.org＃",     /* U+FF03 '#' */
        "℀.example",         /* U+2100 "a/c" */
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char out[IDN_NAME_BYTES_MAX + 1];
        const char *reason = NULL;

        CU_ASSERT_EQUAL(idn_to_ascii(names[i], out, &reason), WEFT_E_INVAL);
        CU_ASSERT_PTR_NOT_NULL(reason);
    }
}

static void what_no_name_may_hold_is_refused(void)
{
    static const char bad[] = " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}~\x01\x7f";
    const char *wrong = "the host name holds a character that no name may hold";

    for (const char *c = bad; *c; c++)
        CU_ASSERT(is_refused_as((char[]){'a', *c, 'b', '\0'}, wrong));
    CU_ASSERT(is_refused_as("", "the host name is empty"));
    CU_ASSERT(is_refused_as(".", "a label of the host name is empty"));
    CU_ASSERT(is_refused_as("a..b", "a label of the host name is empty"));
    CU_ASSERT(is_refused_as(".a", "a label of the host name is empty"));
    CU_ASSERT(is_refused_as("a..", "a label of the host name is empty"));
    CU_ASSERT(is_refused_as("\xc3\x28", "not a valid international host name"));
    CU_ASSERT(is_refused_as("a\xcc\x88\xe2\x80\x8e.example", "not a valid international host name"));
}

static void lengths_are_those_of_the_domain_name_system(void)
{
    char name[IDN_NAME_BYTES_MAX + 3];

    memset(name, 'a', sizeof name);
    name[IDN_LABEL_BYTES_MAX] = '\0';
    CU_ASSERT(becomes(name, name));
    name[IDN_LABEL_BYTES_MAX] = 'a';
    name[IDN_LABEL_BYTES_MAX + 1] = '\0';
    CU_ASSERT(is_refused_as(name, "a label of the host name is too long"));
    for (size_t i = 0; i < sizeof name; i++)
        name[i] = i % 2 ? '.' : 'a';
    name[253] = '\0';
    CU_ASSERT(becomes(name, name));
    name[253] = '.';
    name[254] = '\0';
    CU_ASSERT(becomes(name, name));
    name[253] = name[254 - 2];
    CU_ASSERT(is_refused_as(name, "the host name is too long"));
    name[253] = '.';
    name[254] = 'a';
    name[255] = '\0';
    CU_ASSERT(is_refused_as(name, "the host name is too long"));
}

static const struct unit_case cases[] = {
    CASE(an_ascii_name_is_made_lower_case_and_no_more),  CASE(an_international_name_is_mapped),
    CASE(characters_that_map_to_delimiters_are_refused), CASE(what_no_name_may_hold_is_refused),
    CASE(lengths_are_those_of_the_domain_name_system),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "idn", cases, sizeof cases / sizeof cases[0]);
}
