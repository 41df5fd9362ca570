/* SPDX-License-Identifier: BSD-2-Clause */
/* The version that configure was given. */
#include <waybill/base.h>

#include "config.h"

const char *wb_version(void)
{
	return PACKAGE_VERSION;
}
