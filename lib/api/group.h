/* What the server needs of groups: members leave when their connection closes. */
#ifndef WEFT_API_GROUP_H
#define WEFT_API_GROUP_H

#include "weft/group.h"

/* Take the connection out of all its groups; from now on it can enter none. */
void group_leave_all(weft_conn *c);

#endif
