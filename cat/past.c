/* Where the typed lines are kept; see past.h. Source: XDG Base Directory Specification 0.8 */
#include "past.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Make all directories of the path but its last part. */
static bool make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        int rc;
        *slash = '\0';
        rc = mkdir(path, 0700);
        *slash = '/';
        if (rc != 0 && errno != EEXIST)
            return false;
    }
    return true;
}

char *past_path(void)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char *path;
    int bytes;

    if (state && state[0] == '/')
        bytes = asprintf(&path, "%s/weft/cat_history", state);
    else if (home && home[0] == '/')
        bytes = asprintf(&path, "%s/.local/state/weft/cat_history", home);
    else
        return NULL;
    if (bytes < 0)
        return NULL;
    if (make_directories(path))
        return path;
    free(path);
    return NULL;
}
