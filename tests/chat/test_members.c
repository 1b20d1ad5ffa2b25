/* Who is in a room, as instances put it together: what events say, and looks at the presence. */
#include "members.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

#define OURS   "0000000000000001"
#define THEIRS "0000000000000002"
#define THIRD  "0000000000000003"

static struct members members;
static bool is_settled; /* by the last look */
static char told[4096]; /* "+ann -bob ": what looks have reported */

static void on_came(const char *name, void *arg)
{
    (void)arg;
    sprintf(told + strlen(told), "+%s ", name);
}

static void on_went(const char *name, void *arg)
{
    (void)arg;
    sprintf(told + strlen(told), "-%s ", name);
}

static struct members_look begin_look(void)
{
    told[0] = '\0';
    return (struct members_look){.members = &members,
                                 .step = members_begin_look(&members),
                                 .own = OURS,
                                 .on_came = on_came,
                                 .on_went = on_went};
}

/* A look that finds at most one. */
static const char *look_and_find(const char *name, const char *token)
{
    struct members_look look = begin_look();
    const char *loser = name ? members_see(&look, name, token) : NULL;

    is_settled = members_end_look(&look);
    return loser;
}

static bool is_here(const char *name, const char *token)
{
    const struct member *m = members_find(&members, name);

    return m && strcmp(m->token, token) == 0;
}

static void the_first_has_the_name(void)
{
    CU_ASSERT_EQUAL(members_came(&members, "ann", OURS "-1"), MEMBERS_NEW);
    CU_ASSERT_EQUAL(members_came(&members, "ann", THEIRS "-1"), MEMBERS_TAKEN);
    CU_ASSERT_EQUAL(members_came(&members, "ann", OURS "-1"), MEMBERS_KNOWN);
    CU_ASSERT_EQUAL(members.here, 1);
    CU_ASSERT_TRUE(is_here("ann", OURS "-1"));
    members_fini(&members);
}

static void who_does_not_have_the_name_cannot_take_it_along(void)
{
    members_came(&members, "ann", OURS "-1");
    CU_ASSERT_FALSE(members_went(&members, "ann", THEIRS "-1"));
    CU_ASSERT_FALSE(members_went(&members, "bob", OURS "-1"));
    CU_ASSERT_TRUE(members_went(&members, "ann", OURS "-1"));
    CU_ASSERT_FALSE(members_went(&members, "ann", OURS "-1"));
    CU_ASSERT_EQUAL(members.here, 0);
    CU_ASSERT_EQUAL(members_came(&members, "ann", THEIRS "-1"), MEMBERS_NEW);
    members_fini(&members);
}

static void who_comes_back_is_the_last_to_have_arrived(void)
{
    members_came(&members, "ann", OURS "-1");
    members_came(&members, "bob", OURS "-2");
    members_went(&members, "ann", OURS "-1");
    members_came(&members, "ann", OURS "-3");
    CU_ASSERT_EQUAL(members.count, 2);
    CU_ASSERT_STRING_EQUAL(members.all[0].name, "bob");
    CU_ASSERT_STRING_EQUAL(members.all[1].name, "ann");
    members_fini(&members);
}

static void a_look_finds_who_was_there_before(void)
{
    CU_ASSERT_PTR_NULL(look_and_find("ann", THEIRS "-1"));
    CU_ASSERT_STRING_EQUAL(told, "+ann ");
    CU_ASSERT_PTR_NULL(look_and_find("ann", THEIRS "-1"));
    CU_ASSERT_STRING_EQUAL(told, "");
    CU_ASSERT_EQUAL(members.here, 1);
    members_fini(&members);
}

static void who_is_missed_twice_in_a_row_is_gone(void)
{
    members_came(&members, "ann", THEIRS "-1");
    look_and_find(NULL, NULL);
    CU_ASSERT_STRING_EQUAL(told, "");
    CU_ASSERT_FALSE(is_settled);
    look_and_find("ann", THEIRS "-1");
    CU_ASSERT_TRUE(is_settled);
    look_and_find(NULL, NULL);
    CU_ASSERT_TRUE(is_here("ann", THEIRS "-1"));
    look_and_find(NULL, NULL);
    CU_ASSERT_STRING_EQUAL(told, "-ann ");
    CU_ASSERT_TRUE(is_settled);
    CU_ASSERT_EQUAL(members.here, 0);
    CU_ASSERT_EQUAL(members.count, 0);
    members_fini(&members);
}

static void our_own_are_here_as_long_as_we_say_so(void)
{
    members_came(&members, "ann", OURS "-1");
    members_came(&members, "eve", OURS "-3"); /* whose word of going got lost */
    for (int i = 0; i < 5; i++) {
        struct members_look look = begin_look();
        members_ours(&look, "ann", OURS "-1");
        members_end_look(&look);
        CU_ASSERT_STRING_EQUAL(told, i == 1 ? "-eve " : "");
    }
    CU_ASSERT_TRUE(is_here("ann", OURS "-1"));
    look_and_find("bob", OURS "-2"); /* what is left of somebody who went */
    CU_ASSERT_STRING_EQUAL(told, "");
    members_fini(&members);
}

/* The answer is older than the event, though it comes later. */
static void a_look_does_not_undo_what_happened_behind_its_question(void)
{
    struct members_look look;

    members_came(&members, "ann", THEIRS "-1");
    look = begin_look();
    members_went(&members, "ann", THEIRS "-1");
    members_came(&members, "bob", THEIRS "-2");
    members_see(&look, "ann", THEIRS "-1");
    members_end_look(&look);
    CU_ASSERT_STRING_EQUAL(told, "");
    CU_ASSERT_FALSE(is_here("ann", THEIRS "-1"));
    CU_ASSERT_TRUE(is_here("bob", THEIRS "-2"));
    CU_ASSERT_EQUAL(members.count, 2); /* who has gone is remembered until a later look */
    look_and_find("bob", THEIRS "-2");
    CU_ASSERT_EQUAL(members.count, 1);
    members_fini(&members);
}

/* Each of two instances has let one in; whichever looks, the same one keeps the name. */
static void of_two_with_one_name_the_lower_token_keeps_it(void)
{
    const char *loser;

    members_came(&members, "ann", OURS "-1");
    CU_ASSERT_PTR_NULL(look_and_find("ann", THEIRS "-1"));
    CU_ASSERT_TRUE(is_here("ann", OURS "-1"));
    loser = look_and_find("ann", "0000000000000000-9");
    CU_ASSERT_PTR_NOT_NULL_FATAL(loser);
    CU_ASSERT_STRING_EQUAL(loser, OURS "-1");
    CU_ASSERT_TRUE(is_here("ann", "0000000000000000-9"));
    CU_ASSERT_STRING_EQUAL(told, "");
    members_fini(&members);
    for (int order = 0; order < 2; order++) {
        struct members_look look;
        members_came(&members, "bob", THIRD "-5");
        look = begin_look();
        CU_ASSERT_PTR_NULL(members_see(&look, "bob", order ? THIRD "-1" : THEIRS "-1"));
        CU_ASSERT_PTR_NULL(members_see(&look, "bob", order ? THEIRS "-1" : THIRD "-1"));
        members_end_look(&look);
        CU_ASSERT_TRUE(is_here("bob", THEIRS "-1"));
        members_fini(&members);
    }
}

static void who_is_leaving_is_marked(void)
{
    members_came(&members, "ann", OURS "-1");
    members_leave(&members, "ann", THEIRS "-1");
    CU_ASSERT_FALSE(members_find(&members, "ann")->is_leaving);
    members_leave(&members, "ann", OURS "-1");
    CU_ASSERT_TRUE(members_find(&members, "ann")->is_leaving);
    members_fini(&members);
}

static void the_register_has_a_bound(void)
{
    char name[16];

    for (int i = 0; i < MEMBERS_MAX; i++) {
        snprintf(name, sizeof name, "p%d", i);
        CU_ASSERT_EQUAL_FATAL(members_came(&members, name, THEIRS "-1"), MEMBERS_NEW);
    }
    CU_ASSERT_EQUAL(members_came(&members, "one more", THEIRS "-1"), MEMBERS_NO_ROOM);
    CU_ASSERT_EQUAL(members.here, MEMBERS_MAX);
    members_fini(&members);
}

static const struct unit_case cases[] = {
    CASE(the_first_has_the_name),
    CASE(who_does_not_have_the_name_cannot_take_it_along),
    CASE(who_comes_back_is_the_last_to_have_arrived),
    CASE(a_look_finds_who_was_there_before),
    CASE(who_is_missed_twice_in_a_row_is_gone),
    CASE(our_own_are_here_as_long_as_we_say_so),
    CASE(a_look_does_not_undo_what_happened_behind_its_question),
    CASE(of_two_with_one_name_the_lower_token_keeps_it),
    CASE(who_is_leaving_is_marked),
    CASE(the_register_has_a_bound),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "members", cases, sizeof cases / sizeof cases[0]);
}
