/* Giving up root: who may be asked for, and that nothing of it is left. What needs root is tried in a child,
 * and is not there for who runs the tests as somebody else. */
#include "privileges.h"

#include "unit.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER "nobody"

/* The complaint about looking this one up; "" for none. */
static const char *complaint(const char *text, int status)
{
    static char said[512];
    FILE *err = fmemopen(said, sizeof said, "w");
    struct privileges p;

    memset(said, 0, sizeof said);
    CU_ASSERT_EQUAL(privileges_find(&p, "test", text, err), status);
    fclose(err);
    return said;
}

static bool is_root(void)
{
    return geteuid() == 0;
}

static void who_is_not_there_or_is_root_is_refused_by_name(void)
{
    char long_name[PRIVILEGES_NAME_MAX + 2];

    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    CU_ASSERT_STRING_EQUAL(complaint("no-such-user", 2),
                           "test: --user: user 'no-such-user' does not exist\n");
    CU_ASSERT_STRING_EQUAL(complaint("root", 2), "test: --user: user 'root' is root\n");
    CU_ASSERT_STRING_EQUAL(complaint("root:daemon", 2), "test: --user: user 'root' is root\n");
    CU_ASSERT_STRING_EQUAL(complaint(USER ":no-such-group", 2),
                           "test: --user: group 'no-such-group' does not exist\n");
    CU_ASSERT_STRING_EQUAL(complaint(USER ":root", 2), "test: --user: group 'root' is root's\n");
    CU_ASSERT_STRING_EQUAL(complaint(USER ":", 2), "test: --user: group '' does not exist\n");
    CU_ASSERT_STRING_EQUAL(complaint(":daemon", 2), "test: --user: user '' does not exist\n");
    CU_ASSERT_STRING_EQUAL(complaint("0", 2), "test: --user: user '0' does not exist\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(complaint(long_name, 2), "has too long a name"));
}

static void a_name_stands_for_its_ids(void)
{
    const struct passwd *user = getpwnam(USER);
    struct privileges p;
    uid_t uid = user->pw_uid;
    gid_t gid = user->pw_gid, other = getgrnam("daemon")->gr_gid;
    FILE *err = fopen("/dev/null", "w");

    CU_ASSERT_EQUAL(privileges_find(&p, "test", USER, err), is_root() ? 0 : 1);
    CU_ASSERT(p.uid == uid && p.gid == gid);
    CU_ASSERT_STRING_EQUAL(p.user, USER);
    CU_ASSERT_EQUAL(privileges_find(&p, "test", USER ":daemon", err), is_root() ? 0 : 1);
    CU_ASSERT(p.uid == uid && p.gid == other);
    fclose(err);
}

/* --- in a child --- */

/* The exit status of what the child did. */
static int in_child(int (*body)(const struct privileges *p))
{
    struct privileges p;
    int status = -1;
    pid_t child;

    CU_ASSERT_EQUAL_FATAL(privileges_find(&p, "test", USER ":daemon", stderr), 0);
    fflush(NULL);
    child = fork();
    if (child == 0)
        _exit(body(&p));
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool are_capabilities_gone(void)
{
    static const char *const sets[] = {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    int found = 0;

    while (f && fgets(line, sizeof line, f))
        for (int i = 0; i < 5; i++)
            if (strncmp(line, sets[i], 7) == 0)
                found += strtoull(line + 7, NULL, 16) == 0;
    if (f)
        fclose(f);
    return found == 5;
}

/* With what could be inherited, and told not to clear anything when the user changes: all that a careless
 * starter may have left. */
static void keep_all(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct words[2];

    syscall(SYS_capget, &head, words);
    words[0].inheritable = words[0].permitted;
    words[1].inheritable = words[1].permitted;
    syscall(SYS_capset, &head, words);
    prctl(PR_SET_SECUREBITS, 1 << 2 /* SECBIT_NO_SETUID_FIXUP */, 0, 0, 0);
    setgroups(1, (gid_t[]){0});
}

static int become_and_look(const struct privileges *p)
{
    gid_t groups[64];
    int n;

    keep_all();
    if (privileges_drop(p, "test", stderr) != 0)
        return 1;
    if (getuid() != p->uid || geteuid() != p->uid || getgid() != p->gid || getegid() != p->gid)
        return 2;
    n = getgroups(64, groups);
    for (int i = 0; i < n; i++)
        if (groups[i] == 0)
            return 3;
    if (n < 1 || !are_capabilities_gone() || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 4;
    return 0;
}

static int become_and_go_back(const struct privileges *p)
{
    if (privileges_drop(p, "test", stderr) != 0)
        return 1;
    if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(1, (gid_t[]){0}) == 0)
        return 2;
    if (open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0 || kill(1, 0) == 0 || chroot("/") == 0)
        return 3;
    return 0;
}

static int become_without_the_right_to(const struct privileges *p)
{
    FILE *quiet = fopen("/dev/null", "w");

    return setresuid(p->uid, p->uid, p->uid) == 0 && privileges_drop(p, "test", quiet) == 1 ? 0 : 1;
}

static void nothing_of_root_is_left(void)
{
    if (is_root())
        CU_ASSERT_EQUAL(in_child(become_and_look), 0);
}

static void root_cannot_be_had_back(void)
{
    if (is_root())
        CU_ASSERT_EQUAL(in_child(become_and_go_back), 0);
}

static void who_cannot_change_says_so(void)
{
    if (is_root())
        CU_ASSERT_EQUAL(in_child(become_without_the_right_to), 0);
}

static const struct unit_case cases[] = {
    CASE(who_is_not_there_or_is_root_is_refused_by_name),
    CASE(a_name_stands_for_its_ids),
    CASE(nothing_of_root_is_left),
    CASE(root_cannot_be_had_back),
    CASE(who_cannot_change_says_so),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "privileges", cases, sizeof cases / sizeof cases[0]);
}
