/* SPDX-License-Identifier: BSD-2-Clause */
/* A producer that is not waybill: plain rabbitmq-c, which sends whatever a
 * table can hold. It waits for nothing but its connection. */
#ifndef TESTS_FOREIGN_PEER_H
#define TESTS_FOREIGN_PEER_H

typedef struct foreign_peer foreign_peer;

/* NULL: no connection. */
foreign_peer *foreign_peer_open(const char *uri);
void foreign_peer_close(foreign_peer *peer);

/* The number chooses what is odd about it; every tenth is an event. False: it
 * could not be sent. */
int foreign_peer_send(foreign_peer *peer, const char *exchange,
		      unsigned number);

#endif
