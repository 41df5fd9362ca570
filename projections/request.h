/* SPDX-License-Identifier: BSD-2-Clause */
/* Small files by which an operator, a projector and its successor agree. */
#ifndef WBI_REQUEST_H
#define WBI_REQUEST_H

#include <waybill/projector.h>

#include "projections/home.h"

/* What is being filled: the file `building`, there from before the generation's
 * directory is made until it is promoted or discarded. */
typedef struct wbi_building {
	uint32_t generation; /* 0: none */
	uint32_t version;    /* of the declaration it is filled by */
	uint32_t rate;       /* events/s; 0: as the projector says */
	bool promote;
	bool ready;          /* its commits are synced: it may be flipped to */
	char boot[40];       /* until then: only in this boot of the machine
				may it be gone on with */
} wbi_building;

/* No file is {0}. One that is damaged counts as none: what it spoke of is
 * removed and begun again. */
wb_code wbi_building_read(const wbi_home *home, wbi_building *ret,
			  wb_error *err);
wb_code wbi_building_write(const wbi_home *home, const wbi_building *building,
			   wb_error *err);
/* Which boot of the machine this is; "" if it cannot be told. */
void wbi_boot_id(char ret[40]);

/* The oldest kind of request that is there; *ret_any false: none. It stays
 * until it is done. */
typedef struct wbi_request {
	wb_projection_verb verb;
	bool promote;
	uint32_t rate;
	char key[256];
	size_t key_len;
} wbi_request;

wb_code wbi_request_next(const wbi_home *home, wbi_request *ret, bool *ret_any,
			 wb_error *err);
wb_code wbi_request_done(const wbi_home *home, wb_projection_verb verb,
			 wb_error *err);


/* wb_projection_ask() where the home is open. */
wb_code wbi_home_ask(const wbi_home *home, const wb_projection_request *request,
		     wb_error *err);

#endif
