/* The page, put into the program by page/embed.py when it is built. */
#ifndef WEFT_SERVER_PAGE_H
#define WEFT_SERVER_PAGE_H

#include <stddef.h>

extern const char page_html[];
extern const size_t page_html_bytes;

/* Content-Security-Policy of the page: only its own style and script run, known by their hashes, and it may
 * open WebSockets. */
extern const char page_policy[];

#endif
