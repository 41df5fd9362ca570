/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Damage that no checksum tells: a row is gone, stands under another key, or
 * has another byte in it, and is whole all the same.
 */
#ifndef TESTS_ROW_DAMAGE_H
#define TESTS_ROW_DAMAGE_H

/*
 * Do that to every row of a copy of a sound store that nobody has open, one at a
 * time, and let fsck walk it in this process. It must come to an end; what it
 * finds has a code and a text; a store with nothing found can be restored, and
 * is sound then. Of the changes of bytes only every `each` is made, or as many
 * as WAYBILL_DAMAGE_EACH says. Fails the test by itself.
 */
void test_damage_rows(const char *dir, unsigned each);

#endif
