/* What the peers of a script's connections do, and the network between: commands of script.h for one place of the
 * stage. A server's peer asks and sends masked frames, a client's answers and sends plain ones. */
#ifndef WEFT_TESTS_FUZZ_PEER_H
#define WEFT_TESTS_FUZZ_PEER_H

#include "fuzz.h"
#include "stage.h"

#define PEER_COMMANDS 16 /* 1 to 15 */

void peer_act(unsigned what, struct stage_socket *s, struct fuzz_input *in);

/* The peer of a client answers what it has read. */
void peer_answer(struct stage_socket *s, struct fuzz_input *in);

/* What no other command sends, and what the network tells of bytes that it holds. */
void peer_act_oddly(struct stage_socket *s, struct fuzz_input *in);

#endif
