/* Where the typed lines are kept from one run to the next. */
#ifndef WEFT_CAT_PAST_H
#define WEFT_CAT_PAST_H

/* The path of the file: weft/cat_history below $XDG_STATE_HOME, or ~/.local/state without it. Its directories
 * are made, for the user alone.
 *
 * Returns  to be freed; NULL when there is no home, or it cannot be written to */
char *past_path(void);

#endif
