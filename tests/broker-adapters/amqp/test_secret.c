/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker-adapters/amqp/secret.h"
#include "lib/base/assert.h"

static char directory[] = "/tmp/waybill-secret-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/password", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void put(const void *bytes, size_t len, mode_t mode)
{
	FILE *file;

	unlink(path);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void the_first_line_is_the_password(void **state)
{
	static const char *texts[] = {"open sesame", "open sesame\n",
				      "open sesame\r\n",
				      "open sesame\nsecond line\n"};
	wb_error err = WB_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(texts); i++) {
		char *secret = NULL;

		put(texts[i], strlen(texts[i]), 0600);
		assert_ok(wbi_secret_read(path, &secret, &err), err);
		assert_string_equal(secret, "open sesame");
		wbi_secret_free(secret);
	}
}

static void a_file_others_can_open_is_refused_with_the_cure(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601};
	wb_error err = WB_ERROR_INIT;
	char *secret = NULL;

	(void)state;
	for (size_t i = 0; i < WBI_COUNT(modes); i++) {
		put("sesame", 6, modes[i]);
		assert_int_equal(wbi_secret_read(path, &secret, &err),
				 WB_EACCESS);
		assert_non_null(strstr(err.text, "chmod 600"));
		assert_non_null(strstr(err.text, path));
		assert_null(strstr(err.text, "sesame"));
		assert_null(secret);
		wb_error_clear(&err);
	}
	put("sesame", 6, 0400);
	assert_ok(wbi_secret_read(path, &secret, &err), err);
	wbi_secret_free(secret);
}

static void what_is_no_password_file_is_refused(void **state)
{
	char big[WBI_SECRET_MAX + 10];
	wb_error err = WB_ERROR_INIT;
	char *secret = NULL;

	(void)state;
	unlink(path);
	assert_code(wbi_secret_read(path, &secret, &err), WB_ENOTFOUND, err);
	assert_code(wbi_secret_read(directory, &secret, &err), WB_EINVAL, err);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_code(wbi_secret_read(path, &secret, &err), WB_EINVAL, err);
	put("", 0, 0600);
	assert_code(wbi_secret_read(path, &secret, &err), WB_EINVAL, err);
	put("\nx", 2, 0600);
	assert_code(wbi_secret_read(path, &secret, &err), WB_EINVAL, err);
	put("a\0b\n", 4, 0600);
	assert_code(wbi_secret_read(path, &secret, &err), WB_EINVAL, err);
	memset(big, 'a', sizeof(big));
	put(big, WBI_SECRET_MAX + 1, 0600);
	assert_code(wbi_secret_read(path, &secret, &err), WB_ELIMIT, err);
	big[WBI_SECRET_MAX] = '\n';
	put(big, sizeof(big), 0600);
	assert_ok(wbi_secret_read(path, &secret, &err), err);
	assert_int_equal(strlen(secret), WBI_SECRET_MAX);
	wbi_secret_free(secret);
	wbi_secret_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_line_is_the_password),
		cmocka_unit_test(
			a_file_others_can_open_is_refused_with_the_cure),
		cmocka_unit_test(what_is_no_password_file_is_refused),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
