/* Giving up root, for good: --user.
 *
 * Who is asked for is looked up before anything is opened; it is become when everything that needs root is
 * open: ports, certificate, key, the file of a Unix socket. What comes behind it is made by that user: the
 * history, every thread.
 *
 * The calling thread must be the only one. For ids that would not matter, for glibc's calls change those of
 * all threads; but capabilities and PR_SET_NO_NEW_PRIVS are a thread's own, and pass to those that it
 * starts. */
#ifndef WEFT_SERVER_PRIVILEGES_H
#define WEFT_SERVER_PRIVILEGES_H

#include <stdio.h>
#include <sys/types.h>

#define PRIVILEGES_NAME_MAX 255

struct privileges {
    char user[PRIVILEGES_NAME_MAX + 1];
    uid_t uid;
    gid_t gid;
};

/* Look somebody up.
 *
 * text     "NAME" or "NAME:GROUP"; without GROUP it is the group of NAME
 * err      where complaints go, behind the program's name: about users and groups that are not there or have
 *          the id 0, and when this is not root
 * Returns  0, or the status to exit with */
int privileges_find(struct privileges *p, const char *program, const char *text, FILE *err);

/* Become them, with all the groups that they are in, with no capability and no way to get one, and see that
 * there is no way back.
 *
 * Returns  0, or the status to exit with after a complaint; then the process is neither the one nor the
 *          other, and must end */
int privileges_drop(const struct privileges *p, const char *program, FILE *err);

#endif
