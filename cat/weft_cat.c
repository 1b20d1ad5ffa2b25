/* weft-cat: talk to a WebSocket server, at a terminal and in pipes. What it does is in talk.c; docs/weft-cat.md. */
#include "talk.h"

#include <langinfo.h>
#include <locale.h>
#include <string.h>

/* WebSocket text is UTF-8, and so is what is typed and shown, whatever the environment says. */
static void speak_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
    struct arguments args;
    int status;

    speak_utf8();
    status = arguments_read(&args, argc, argv, stdout, stderr);
    if (status == OPTIONS_RUN)
        status = talk(&args);
    arguments_fini(&args);
    return status;
}
