/* Giving up root; see privileges.h. */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPABILITY_WORDS _LINUX_CAPABILITY_U32S_3

typedef struct __user_cap_data_struct capability_word;

/* --- who --- */

static int refuse(FILE *err, const char *program, const char *kind, const char *name, const char *why)
{
    fprintf(err, "%s: --user: %s '%s' %s\n", program, kind, name, why);
    return 2;
}

static int missing(FILE *err, const char *program, const char *kind, const char *name, int error)
{
    return refuse(err, program, kind, name, error ? strerror(error) : "does not exist");
}

static int find_group(struct privileges *p, const char *program, const char *name, FILE *err)
{
    const struct group *group;

    errno = 0;
    group = getgrnam(name);
    if (!group)
        return missing(err, program, "group", name, errno);
    p->gid = group->gr_gid;
    return p->gid ? 0 : refuse(err, program, "group", name, "is root's");
}

int privileges_find(struct privileges *p, const char *program, const char *text, FILE *err)
{
    size_t n = strcspn(text, ":");
    const struct passwd *user;

    if (n > PRIVILEGES_NAME_MAX)
        return refuse(err, program, "user", text, "has too long a name");
    memcpy(p->user, text, n);
    p->user[n] = '\0';
    errno = 0;
    user = getpwnam(p->user);
    if (!user)
        return missing(err, program, "user", p->user, errno);
    p->uid = user->pw_uid;
    p->gid = user->pw_gid;
    if (p->uid == 0)
        return refuse(err, program, "user", p->user, "is root");
    if (text[n] == ':') {
        int status = find_group(p, program, text + n + 1, err);
        if (status)
            return status;
    } else if (p->gid == 0) {
        return refuse(err, program, "user", p->user, "is in root's group; name another one: NAME:GROUP");
    }
    if (geteuid() == 0)
        return 0;
    fprintf(err, "%s: --user: only root can become '%s', and this is user %lu\n", program, p->user,
            (unsigned long)geteuid());
    return 1;
}

/* --- become --- */

static int set_capabilities(const capability_word *words)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};

    return (int)syscall(SYS_capset, &head, words);
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    capability_word words[CAPABILITY_WORDS] = {0};
    const capability_word none[CAPABILITY_WORDS] = {0};

    return syscall(SYS_capget, &head, words) != 0 || memcmp(words, none, sizeof words) != 0;
}

/* The bounding set is a second fence behind PR_SET_NO_NEW_PRIVS: a root that may not lower it goes on
 * without. */
static void lower_bounds(void)
{
    for (unsigned long i = 0; prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0; i++) {
    }
}

/* NULL, or what failed; errno says how. */
static const char *become(const struct privileges *p)
{
    /* Changing the user does not clear what may be inherited, and nothing at all with SECBIT_NO_SETUID_FIXUP.
     */
    static const capability_word none[CAPABILITY_WORDS] = {0};

    lower_bounds();
    if (initgroups(p->user, p->gid) != 0)
        return "initgroups";
    if (setresgid(p->gid, p->gid, p->gid) != 0)
        return "setresgid";
    if (setresuid(p->uid, p->uid, p->uid) != 0)
        return "setresuid";
    if (set_capabilities(none) != 0)
        return "capset";
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? NULL : "PR_SET_NO_NEW_PRIVS";
}

static bool is_only(const struct privileges *p)
{
    uid_t uid[3];
    gid_t gid[3];

    if (getresuid(&uid[0], &uid[1], &uid[2]) != 0 || getresgid(&gid[0], &gid[1], &gid[2]) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (uid[i] != p->uid || gid[i] != p->gid)
            return false;
    return true;
}

/* Asked of the kernel rather than concluded: a way back that is found is an error. */
static bool can_go_back(void)
{
    return setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setresgid((gid_t)-1, 0, (gid_t)-1) == 0 ||
           setgroups(0, NULL) == 0 || has_capabilities() || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

int privileges_drop(const struct privileges *p, const char *program, FILE *err)
{
    const char *failed = become(p);

    if (failed) {
        fprintf(err, "%s: cannot become '%s': %s: %s\n", program, p->user, failed, strerror(errno));
        return 1;
    }
    if (!is_only(p) || can_go_back()) {
        fprintf(err, "%s: cannot become '%s': root's rights could be had back\n", program, p->user);
        return 1;
    }
    return 0;
}
