/* Files with certificates and keys, and what to say of them; see tls_private.h.
 *
 * A key's bytes are wiped before their memory is given back. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "io/tls_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "weft/error.h"

/* Larger than any chain of certificates, or an OCSP response. */
#define FILE_BYTES_MAX (1024u * 1024u)

int tls_complain(struct tls_complaint *why, int rc, const char *format, ...)
{
    va_list args;

    if (!why->room)
        return rc;
    va_start(args, format);
    vsnprintf(why->out, why->room, format, args);
    va_end(args);
    return rc;
}

int tls_result_of_file(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM ? WEFT_E_SYSTEM : WEFT_E_INVAL;
}

int tls_complain_of(struct tls_complaint *why, const char *what, const char *file, int wolf_error)
{
    char text[WOLFSSL_MAX_ERROR_SZ] = "";

    if (wolf_error == MEMORY_E)
        return tls_complain(why, WEFT_E_NOMEM, "%s: no memory", what);
    wolfSSL_ERR_error_string((unsigned long)wolf_error, text);
    return tls_complain(why, WEFT_E_INVAL, "%s%s%s: %s", what, file ? " " : "", file ? file : "", text);
}

void tls_wipe(struct tls_bytes *b)
{
    if (b->p)
        explicit_bzero(b->p, b->n);
    mem_free(b->p);
    *b = (struct tls_bytes){0};
}

static bool read_whole(int fd, struct tls_bytes *b)
{
    for (size_t have = 0; have < b->n;) {
        ssize_t n = read(fd, b->p + have, b->n - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

int tls_read_file(const char *file, struct tls_bytes *out, struct tls_complaint *why)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = WEFT_OK;
    struct stat st;

    *out = (struct tls_bytes){0};
    if (fd < 0)
        return tls_complain(why, tls_result_of_file(errno), "%s: %s", file, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = tls_complain(why, WEFT_E_INVAL, "%s: not a file", file);
    else if (st.st_size == 0 || st.st_size > FILE_BYTES_MAX)
        rc = tls_complain(why, WEFT_E_INVAL, "%s: empty, or larger than a megabyte", file);
    else if (!(out->p = mem_alloc((size_t)st.st_size)))
        rc = tls_complain(why, WEFT_E_NOMEM, "%s: no memory", file);
    out->n = rc == WEFT_OK ? (size_t)st.st_size : 0;
    if (rc == WEFT_OK && !read_whole(fd, out)) {
        rc = tls_complain(why, WEFT_E_INVAL, "%s: %s", file, "cannot be read");
        tls_wipe(out);
    }
    close(fd);
    return rc;
}
