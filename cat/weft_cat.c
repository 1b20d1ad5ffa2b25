/* weft-cat: talk to a WebSocket server, at a terminal and in pipes. What it does is in talk.c;
 * docs/weft-cat.md. */
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <unistd.h>

/* WebSocket text is UTF-8, and so is what is typed and shown, whatever the environment says. */
static void speak_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

/* Who was started with one of them closed would find a descriptor of its own in its place. */
static bool have_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    struct arguments args;
    int status;

    if (!have_standard_descriptors())
        return TALK_TROUBLE;
    speak_utf8();
    status = arguments_read(&args, argc, argv, stdout, stderr);
    if (status == OPTIONS_RUN)
        status = talk(&args);
    arguments_fini(&args);
    return status;
}
