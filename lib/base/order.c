/* The hook of labelled points; see order.h. Without WEFT_POINTS there is
 * nothing here. */
#include "base/order.h"

#ifdef WEFT_POINTS
_Atomic(order_hook *) order_hook_here;
#endif
