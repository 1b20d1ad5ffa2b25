/* Result codes: every one has its own number, name and text, and the bands are kept. */
#include "unit.h"
#include "weft/error.h"

#include <stdbool.h>
#include <string.h>

struct row {
    int code;
    const char *name, *text;
};

static const struct row rows[] = {
#define ROW(name, value, text) {value, #name, text},
    WEFT_ERROR_LIST(ROW)
#undef ROW
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static void every_code_has_its_name_and_text(void)
{
    for (int i = 0; i < ROWS; i++) {
        CU_ASSERT_STRING_EQUAL(weft_error_name(rows[i].code), rows[i].name);
        CU_ASSERT_STRING_EQUAL(weft_strerror(rows[i].code), rows[i].text);
    }
    CU_ASSERT_STRING_EQUAL(weft_error_name(WEFT_E_AGAIN), "WEFT_E_AGAIN");
    CU_ASSERT_STRING_EQUAL(weft_strerror(WEFT_OK), "success");
}

static void no_two_codes_share_a_number_a_name_or_a_text(void)
{
    for (int i = 0; i < ROWS; i++) {
        for (int k = i + 1; k < ROWS; k++) {
            CU_ASSERT_NOT_EQUAL(rows[i].code, rows[k].code);
            CU_ASSERT_STRING_NOT_EQUAL(rows[i].name, rows[k].name);
            CU_ASSERT_STRING_NOT_EQUAL(rows[i].text, rows[k].text);
        }
    }
}

static void a_number_that_is_no_code_is_unknown(void)
{
    static const int strange[] = {1, 42, -5, -99, -106, -204, -901, -2147483647 - 1, 2147483647};

    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        CU_ASSERT_STRING_EQUAL(weft_error_name(strange[i]), "WEFT_E_UNKNOWN");
        CU_ASSERT_STRING_EQUAL(weft_strerror(strange[i]), "unknown result");
    }
}

static bool is_in(int code, int first, int last)
{
    return code <= first && code > last;
}

static void the_bands_say_what_to_do_next(void)
{
    static const int again[] = {WEFT_E_AGAIN, WEFT_E_TIMEOUT, WEFT_E_CANCELED, WEFT_E_NOMEM};
    static const int over[] = {WEFT_E_CLOSED, WEFT_E_PROTOCOL, WEFT_E_UTF8, WEFT_E_TOO_BIG, WEFT_E_REFUSED,
                               WEFT_E_TLS};
    static const int wrong[] = {WEFT_E_INVAL, WEFT_E_STATE, WEFT_E_SYSTEM, WEFT_E_ADDRESS};

    CU_ASSERT_EQUAL(WEFT_OK, 0);
    for (size_t i = 0; i < sizeof again / sizeof again[0]; i++)
        CU_ASSERT_TRUE(is_in(again[i], -1, -100));
    for (size_t i = 0; i < sizeof over / sizeof over[0]; i++)
        CU_ASSERT_TRUE(is_in(over[i], -100, -200));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CU_ASSERT_TRUE(is_in(wrong[i], -200, -900));
    CU_ASSERT_EQUAL(WEFT_E_BROKEN, -900);
    /* A code that was added stands in one of the lists above. */
    CU_ASSERT_EQUAL(ROWS, 2 + 4 + 6 + 4);
}

static void close_codes_are_those_of_the_registry(void)
{
    CU_ASSERT_EQUAL(WEFT_CLOSE_NORMAL, 1000);
    CU_ASSERT_EQUAL(WEFT_CLOSE_GOING_AWAY, 1001);
    CU_ASSERT_EQUAL(WEFT_CLOSE_PROTOCOL_ERROR, 1002);
    CU_ASSERT_EQUAL(WEFT_CLOSE_UNSUPPORTED_DATA, 1003);
    CU_ASSERT_EQUAL(WEFT_CLOSE_NO_STATUS, 1005);
    CU_ASSERT_EQUAL(WEFT_CLOSE_ABNORMAL, 1006);
    CU_ASSERT_EQUAL(WEFT_CLOSE_INVALID_DATA, 1007);
    CU_ASSERT_EQUAL(WEFT_CLOSE_POLICY_VIOLATION, 1008);
    CU_ASSERT_EQUAL(WEFT_CLOSE_TOO_BIG, 1009);
    CU_ASSERT_EQUAL(WEFT_CLOSE_MISSING_EXTENSION, 1010);
    CU_ASSERT_EQUAL(WEFT_CLOSE_INTERNAL_ERROR, 1011);
    CU_ASSERT_EQUAL(WEFT_CLOSE_SERVICE_RESTART, 1012);
    CU_ASSERT_EQUAL(WEFT_CLOSE_TRY_AGAIN_LATER, 1013);
    CU_ASSERT_EQUAL(WEFT_CLOSE_BAD_GATEWAY, 1014);
}

static const struct unit_case cases[] = {
    CASE(every_code_has_its_name_and_text),      CASE(no_two_codes_share_a_number_a_name_or_a_text),
    CASE(a_number_that_is_no_code_is_unknown),   CASE(the_bands_say_what_to_do_next),
    CASE(close_codes_are_those_of_the_registry),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "error", cases, sizeof cases / sizeof cases[0]);
}
