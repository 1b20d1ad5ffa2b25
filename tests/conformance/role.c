/* The two roles; see role.h. */
#include "role.h"

const struct role role_client = {.peer = "server", .connects = true, .masks = true, .bit = ONLY_CLIENT};
const struct role role_server = {.peer = "client", .ends_tcp_first = true, .bit = ONLY_SERVER};
