/* The byte stream under a connection; see link.h. */
#include "io/link.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "weft/error.h"

static ptrdiff_t result_of_errno(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM ? WEFT_E_AGAIN
                                                                                          : WEFT_E_CLOSED;
}

/* The C library's recv and send are cancellation points, which costs two atomic operations for each call;
 * no thread that comes here is ever cancelled. Sanitizers only see those of the C library. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SEES_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SEES_SANITIZER 1
#endif
#endif

static ssize_t receive(int fd, void *p, size_t n)
{
#ifdef SEES_SANITIZER
    return recv(fd, p, n, 0);
#else
    return syscall(SYS_recvfrom, fd, p, n, 0, NULL, NULL);
#endif
}

static ssize_t transmit(int fd, const void *p, size_t n)
{
#ifdef SEES_SANITIZER
    return send(fd, p, n, MSG_NOSIGNAL);
#else
    return syscall(SYS_sendto, fd, p, n, MSG_NOSIGNAL, NULL, 0);
#endif
}

ptrdiff_t link_read(struct link *l, struct iovec *iov, int count)
{
    for (;;) {
        /* recv is measurably cheaper than readv for the usual single buffer. */
        ssize_t n = count == 1 ? receive(l->fd, iov->iov_base, iov->iov_len) : readv(l->fd, iov, count);
        if (n > 0)
            return n;
        if (n == 0)
            return LINK_END;
        if (errno != EINTR)
            return result_of_errno();
    }
}

ptrdiff_t link_write(struct link *l, const struct iovec *iov, int count)
{
    for (;;) {
        ssize_t n;

        if (count == 1) {
            n = transmit(l->fd, iov->iov_base, iov->iov_len);
        } else {
            struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
            n = sendmsg(l->fd, &m, MSG_NOSIGNAL);
        }
        if (n >= 0)
            return n;
        if (errno != EINTR)
            return result_of_errno();
    }
}

uint32_t link_held_bytes(struct link *l)
{
    int held = 0;

    if (ioctl(l->fd, SIOCOUTQ, &held) != 0 || held < 0)
        return 0;
    return (uint32_t)held;
}

void link_finish(struct link *l)
{
    shutdown(l->fd, SHUT_WR);
}

void link_close(struct link *l, int with_reset)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (l->fd < 0)
        return;
    if (with_reset)
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(l->fd);
    l->fd = -1;
}
