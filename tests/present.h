/* Who is present, as weft_bus_presence tells it. */
#ifndef WEFT_TESTS_PRESENT_H
#define WEFT_TESTS_PRESENT_H

#include <stddef.h>

struct present {
    _Atomic unsigned answers;
    int result;
    char names[256]; /* each followed by a blank */
};

/* For weft_bus_presence; arg is a struct present. */
void present_note(int result, const char *const *names, size_t count, void *arg);

#endif
