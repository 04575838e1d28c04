/* A temporary folder per test (cmocka setup and teardown), and small files in it. */
#pragma once
#include "test_support.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_PATH_MAX 256
static char folder[64];

static inline int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/kube-rekey-test.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
	(void)info;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int remove_folder(void **state)
{
	(void)state;
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
#define folder_test(fn) cmocka_unit_test_setup_teardown(fn, make_folder, remove_folder)

/* Valid until called eight times more. */
static inline const char *in_folder(const char *name)
{
	static char paths[8][FOLDER_PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % ELEMENTS(paths)];
	snprintf(path, FOLDER_PATH_MAX, "%s/%s", folder, name);
	return path;
}

static inline void put_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static inline bool path_exists(const char *path)
{
	struct stat info;
	return lstat(path, &info) == 0;
}

static inline void assert_file(const char *path, const char *expected)
{
	char text[1000] = "";
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	assert_string_equal(text, expected);
}

/* As assert_error; `message` has the path of `name` in the folder for its "%s". */
#define assert_error_at(rc, err, code, message, name)                                \
	do {                                                                         \
		_cleanup_free_ char *message_ = xasprintf(message, in_folder(name)); \
		assert_error(rc, err, code, message_);                               \
	} while (0)
