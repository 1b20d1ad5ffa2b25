/* Host names as they go to the resolver and into Host: ASCII, lower case, international labels as xn--. */
#ifndef WEFT_PROTO_IDN_H
#define WEFT_PROTO_IDN_H

#define IDN_NAME_BYTES_MAX  254 /* with a dot at the end */
#define IDN_LABEL_BYTES_MAX 63

/* The ASCII form of a host name.
 *
 * A name of letters, digits, '-' and '_' is only made lower case: labels that begin with xn-- stay as they
 * are, since registries sell some that today's rules would not make. Any other is mapped as UTS 46 says
 * (non-transitional: sharp s is kept) and the result judged by the same rule, for among its characters are
 * some that map to '/', ':' or '@'. One dot at the end is kept.
 *
 * name     UTF-8, borrowed
 * out      set on WEFT_OK only
 * reason   out, on failure: a static text
 * Returns  WEFT_OK, WEFT_E_INVAL, WEFT_E_NOMEM
 * Source   RFC 5890 to 5893, UTS 46, RFC 1035 section 2.3.4 for the lengths */
int idn_to_ascii(const char *name, char out[IDN_NAME_BYTES_MAX + 1], const char **reason);

#endif
