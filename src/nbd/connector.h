/*
 * How a confined process gets connections to an NBD server: it asks a process that may make them
 * (posada-nbd, posada-rbd), over a SOCK_SEQPACKET socket that was all it got.
 *
 *     question    LETTERNUMBER [' ' REST]
 *     answer      '+' or '-', what the question began with, ' ' REST
 *
 *     C             a connection       +CNUMBER EXPORT, with a stream socket on which the server speaks first
 *     R             another size: REST is bytes; +RNUMBER
 *
 * '-' is no, and REST the sentence that says why. Questions are answered in their order. Who asks numbers
 * them, and uses no number twice; so the answer to a question that was given up, or that somebody asked who
 * had the socket before, is known for what it is.
 *
 * Both sides take what comes as hostile.
 */
#ifndef NBD_CONNECTOR_H
#define NBD_CONNECTOR_H

#include "base/base.h"

#define CONNECTOR_CONNECT      'C'
#define CONNECTOR_RESIZE       'R'
#define CONNECTOR_YES          '+'
#define CONNECTOR_NO           '-'
#define CONNECTOR_MAX_EXPORT   4096 /* NBD's limit of strings */
#define CONNECTOR_MAX_QUESTION 64
#define CONNECTOR_MAX_ANSWER   (CONNECTOR_MAX_EXPORT + 32)

/* What a question is, or what an answer is the answer to. */
struct connector_head {
	char letter;
	u64 number;
	const char *rest; /* in the text; "" if there is none */
};

/* Of an answer it is what stands behind the sign. */
bool connector_parse(const char *text, struct connector_head *out);

#endif
