/* SQLite's files with faults: what is written can be held up, or refused. Registered as SQLite's default for
 * the program that links it. */
#ifndef WEFT_TESTS_FAULTY_FILE_H
#define WEFT_TESTS_FAULTY_FILE_H

#include <stdatomic.h>

extern atomic_int file_fault;    /* SQLITE_FULL and so on: what writing answers; SQLITE_OK: it writes */
extern atomic_bool file_is_held; /* who writes waits until it is false */
extern atomic_uint file_waiting; /* who waits for that, now */
extern atomic_uint file_writes;  /* since the start */

void faulty_file_begin(void);

#endif
