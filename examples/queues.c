/* A queue for each client, with a policy of the program's own: here of one place, in which a newer price
 * replaces one that was not sent yet. So a slow client gets fewer prices, and none that is old. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "serve.h"

#define CLIENTS_MAX 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct client {
    bool is_here;
    weft_msg *price;    /* the one place; NULL: it was sent */
} clients[CLIENTS_MAX]; /* under lock */

/* Empty its place; returns what was in it. */
static weft_msg *take(struct client *k, bool stays)
{
    weft_msg *price;

    pthread_mutex_lock(&lock);
    price = k->price;
    k->price = NULL;
    k->is_here = stays;
    pthread_mutex_unlock(&lock);
    return price;
}

static int handler(weft_conn *c, void *app)
{
    struct client *me = app; /* the first of all */
    int rc = WEFT_OK;

    pthread_mutex_lock(&lock);
    while (me->is_here) /* there are as many as handlers_max */
        me++;
    me->is_here = true;
    pthread_mutex_unlock(&lock);
    while (rc == WEFT_OK) {
        weft_msg *m = take(me, true);
        rc = m ? weft_conn_send(c, m) : weft_conn_sleep(c, 5); /* send waits here while the client is slow */
        if (m && rc != WEFT_OK)
            weft_msg_unref(m);
    }
    weft_msg_unref(take(me, false));
    return rc;
}

/* The market, a thread of the program: it never waits for a client. */
static void *make_prices(void *arg)
{
    for (unsigned n = 0;; n++, usleep(1000)) {
        char text[32];
        weft_msg *m;
        if (weft_msg_new(&m, WEFT_TEXT, text, (size_t)snprintf(text, sizeof text, "price %u", n)) != WEFT_OK)
            return arg;
        pthread_mutex_lock(&lock);
        for (struct client *k = clients; k < clients + CLIENTS_MAX; k++)
            if (k->is_here) {
                weft_msg_unref(k->price);
                k->price = weft_msg_ref(m);
            }
        pthread_mutex_unlock(&lock);
        weft_msg_unref(m);
    }
}

int main(int argc, char **argv)
{
    weft_server_opts opts = {
        .size = sizeof opts, .handler = handler, .app = clients, .handlers_max = CLIENTS_MAX};
    pthread_t market;

    return pthread_create(&market, NULL, make_prices, NULL) || serve(argc, argv, &opts, NULL);
}
