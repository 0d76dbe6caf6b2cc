/*
 * How a confined process gets connections to an NBD server: it asks a process that may make them
 * (posada-nbd, posada-rbd), over a SOCK_SEQPACKET socket that was all it got.
 *
 * A question is one letter, and what belongs to it. Each is answered, in their order, by a message that
 * begins with '+', or by '-' and a sentence that says why not.
 *
 *     C             a connection       +EXPORT, with a stream socket on which the server speaks first
 *     R BYTES       another size       +
 *     S             snapshots          +JSON, as `posada image info` has them
 *
 * Both sides take what comes as hostile.
 */
#ifndef NBD_CONNECTOR_H
#define NBD_CONNECTOR_H

#define CONNECTOR_CONNECT     'C'
#define CONNECTOR_RESIZE      'R'
#define CONNECTOR_SNAPSHOTS   'S'
#define CONNECTOR_YES         '+'
#define CONNECTOR_NO          '-'
#define CONNECTOR_MAX_MESSAGE (64 * 1024)
#define CONNECTOR_MAX_EXPORT  4096 /* NBD's limit of strings */

#endif
