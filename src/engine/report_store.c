#include "engine/report_store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json_read.h"

#define SUFFIX ".json"

static char *directory_of(const char *state_directory)
{
	return xasprintf("%s/reports", state_directory);
}

/* Names that a rotation may have, and no path. */
static int path_of(const char *state_directory, const char *rotation, char **ret, struct error **err)
{
	bool good = isalnum((unsigned char)*rotation) && strlen(rotation) <= KEY_NAME_MAX - strlen(SUFFIX);
	for (const char *c = rotation; good && *c; c++)
		good = isalnum((unsigned char)*c) || strchr("-_.", *c);
	if (!good)
		return error_set(err, ERROR_USAGE, "\"%s\" is no name of a rotation", rotation);
	*ret = xasprintf("%s/reports/%s" SUFFIX, state_directory, rotation);
	return 0;
}

static int put(const char *path, const char *text, struct error **err)
{
	_cleanup_secret_ content = secret_from(text, strlen(text));
	_cleanup_free_ char *before = NULL;
	enum file_replaced replaced;
	int rc = 0;
	if (access(path, F_OK) == 0)
		rc = file_sha256(path, REPORT_JSON_MAX, &before, err);
	return rc < 0 ? rc : file_replace(path, content, before, 0600, &replaced, err);
}

int report_store_keep(const char *state_directory, const struct rotation_report *report, struct error **err)
{
	_cleanup_free_ char *directory = directory_of(state_directory);
	_cleanup_free_ char *path = NULL;
	struct json_writer w = JSON_WRITER_INIT(REPORT_JSON_MAX);
	int rc = path_of(state_directory, report->rotation, &path, err);
	if (rc == 0)
		rc = file_make_directory(directory, err);
	if (rc == 0)
		rc = file_remove_leftovers(directory, err);
	if (rc == 0) {
		rotation_report_write_json(report, &w);
		const char *text = json_text(&w);
		rc = text ? put(path, text, err)
			  : error_set(err, ERROR_LIMIT, "%s: larger than %u bytes", path, REPORT_JSON_MAX);
	}
	json_writer_free(&w);
	return rc;
}

int report_store_read(const char *state_directory, const char *rotation, struct rotation_report **ret,
		      struct error **err)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_secret_ content = NULL;
	_cleanup_json_ json = NULL;
	int rc = path_of(state_directory, rotation, &path, err);
	if (rc == 0)
		rc = file_read(path, REPORT_JSON_MAX, &content, err);
	if (rc == 0)
		rc = json_parse(secret_text(content), secret_len(content), path, &json, err);
	if (rc == 0) {
		rc = rotation_report_parse(json, ret, err);
		rc = rc < 0 ? error_wrap(err, rc, "%s", path) : 0;
	}
	return rc;
}

int report_store_list(const char *state_directory, struct strings *ret, struct error **err)
{
	_cleanup_free_ char *path = directory_of(state_directory);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	size_t seen = 0;
	if (!directory)
		return errno == ENOENT ? 0 : error_set_errno(err, ERROR_IO, errno, "%s", path);
	while (seen < REPORTS_MAX && (entry = readdir(directory))) {
		size_t len = strlen(entry->d_name);
		if (*entry->d_name == '.' || !text_ends(entry->d_name, SUFFIX))
			continue;
		strings_add_n(ret, entry->d_name, len - strlen(SUFFIX));
		seen++;
	}
	closedir(directory);
	strings_sort_unique(ret);
	return seen < REPORTS_MAX ? 0 : error_set(err, ERROR_LIMIT, "%s: more than %d reports", path, REPORTS_MAX);
}
