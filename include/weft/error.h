/* Result codes: 0, or a negative number whose band says what the caller does next.
 *
 *   -1 ..   try again: nothing was consumed, the same call may succeed later
 *   -100 .. this connection is over; other connections are not concerned
 *   -200 .. the program is wrong, or what it asked for cannot be had: repeating the call does not help
 *   -900 .. only unref is allowed
 *
 * The enum, the names and the texts come from one list, so none of them can be forgotten. */
#ifndef WEFT_ERROR_H
#define WEFT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEFT_API __attribute__((visibility("default")))
#else
#define WEFT_API
#endif

#define WEFT_ERROR_LIST(X)                                                                                   \
    X(WEFT_OK, 0, "success")                                                                                 \
    X(WEFT_E_AGAIN, -1, "not possible for now, but perhaps later")                                           \
    X(WEFT_E_TIMEOUT, -2, "the time given for this call ran out")                                            \
    X(WEFT_E_CANCELED, -3, "the waiting task was canceled")                                                  \
    X(WEFT_E_NOMEM, -4, "no memory could be had")                                                            \
    X(WEFT_E_CLOSED, -100, "the connection is closing or closed")                                            \
    X(WEFT_E_PROTOCOL, -101, "the peer broke the protocol")                                                  \
    X(WEFT_E_UTF8, -102, "text that is not UTF-8")                                                           \
    X(WEFT_E_TOO_BIG, -103, "larger than the limit")                                                         \
    X(WEFT_E_REFUSED, -104, "the opening handshake was refused")                                             \
    X(WEFT_E_TLS, -105, "the TLS handshake or a certificate failed")                                         \
    X(WEFT_E_INVAL, -200, "an argument is not valid")                                                        \
    X(WEFT_E_STATE, -201, "not allowed in this state or on this thread")                                     \
    X(WEFT_E_SYSTEM, -202, "a system call failed; errno says how")                                           \
    X(WEFT_E_ADDRESS, -203, "the address cannot be used")                                                    \
    X(WEFT_E_BROKEN, -900, "an earlier failure left this object unusable")

enum weft_error {
#define WEFT_ERROR_ENUM(name, value, text) name = value,
    WEFT_ERROR_LIST(WEFT_ERROR_ENUM)
#undef WEFT_ERROR_ENUM
};

/* The text of a result code.
 *
 * code     a result of any weft function
 * Returns  a static string, never NULL; "unknown result" for a number that is not in the list
 * Thread   any
 * Since    0.1 */
WEFT_API const char *weft_strerror(int code);

/* The name of a result code as it is written in a program, such as "WEFT_E_AGAIN".
 *
 * code     a result of any weft function
 * Returns  a static string, never NULL
 * Thread   any
 * Since    0.1 */
WEFT_API const char *weft_error_name(int code);

/* Close codes as they stand in a Close frame.
 *
 * 1005 and 1006 never travel: they say that a Close frame carried no code, and that none came.
 * Source   RFC 6455 section 7.4.1, and the IANA registry for 1012 to 1014 */
enum weft_close_code {
    WEFT_CLOSE_NORMAL = 1000,
    WEFT_CLOSE_GOING_AWAY = 1001,
    WEFT_CLOSE_PROTOCOL_ERROR = 1002,
    WEFT_CLOSE_UNSUPPORTED_DATA = 1003,
    WEFT_CLOSE_NO_STATUS = 1005,
    WEFT_CLOSE_ABNORMAL = 1006,
    WEFT_CLOSE_INVALID_DATA = 1007,
    WEFT_CLOSE_POLICY_VIOLATION = 1008,
    WEFT_CLOSE_TOO_BIG = 1009,
    WEFT_CLOSE_MISSING_EXTENSION = 1010,
    WEFT_CLOSE_INTERNAL_ERROR = 1011,
    WEFT_CLOSE_SERVICE_RESTART = 1012,
    WEFT_CLOSE_TRY_AGAIN_LATER = 1013,
    WEFT_CLOSE_BAD_GATEWAY = 1014
};

#ifdef __cplusplus
}
#endif

#endif
