#include "engine/retired.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define FINGERPRINT_LEN 12
#define REPORTED_BY " reported by "

static char *file_of(const char *state_directory)
{
	return xasprintf("%s/retired-keys", state_directory);
}

/* --- the file --- */

static bool is_line(const char *line)
{
	return strspn(line, "0123456789abcdef") == FINGERPRINT_LEN && line[FINGERPRINT_LEN] == ' ';
}

/* Each is written whole, and never without a line: what was cut short has lost some. */
static int parse_lines(const char *path, const struct secret *content, struct strings *ret, struct error **err)
{
	_cleanup_strings_ lines = {0};
	if (strlen(secret_text(content)) != secret_len(content))
		return error_set(err, ERROR_INPUT, "%s: not a text", path);
	if (!text_ends(secret_text(content), "\n"))
		return error_set(err, ERROR_INPUT, "%s: cut short: it has no last line that ends", path);
	strings_split(&lines, secret_text(content), '\n');
	for (size_t i = 0; i + 1 < lines.count; i++)
		if (!is_line(lines.items[i]))
			return error_set(err, ERROR_INPUT, "%s:%zu: not a fingerprint and a key's name", path, i + 1);
	for (size_t i = 0; i + 1 < lines.count; i++)
		strings_add(ret, lines.items[i]);
	return 0;
}

/* Its lines, and its hash: NULL where there is none yet. */
static int read_lines(const char *path, struct strings *ret, char **ret_sha256, struct error **err)
{
	_cleanup_secret_ content = NULL;
	*ret_sha256 = NULL;
	if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	int rc = file_read(path, RETIRED_MAX, &content, err);
	if (rc < 0)
		return rc;
	rc = parse_lines(path, content, ret, err);
	if (rc < 0) {
		error_set_hint(err,
			       "put it back from a backup. Without one remove it: then keys that were retired before "
			       "pass for new ones");
		return rc;
	}
	*ret_sha256 = text_sha256_tagged(secret_data(content), secret_len(content));
	return 0;
}

static char **find_place(const struct strings *lines, const char *fingerprint)
{
	for (size_t i = 0; i < lines->count; i++)
		if (text_starts(lines->items[i], fingerprint))
			return &lines->items[i];
	return NULL;
}

static const char *find_line(const struct strings *lines, const char *fingerprint)
{
	char **place = find_place(lines, fingerprint);
	return place ? *place : NULL;
}

static bool is_heard(const char *line)
{
	return text_starts(line + FINGERPRINT_LEN, REPORTED_BY);
}

static int write_lines(const char *path, const struct strings *lines, const char *before, struct error **err)
{
	_cleanup_free_ char *joined = strings_join(lines, "\n");
	_cleanup_free_ char *text = xasprintf("%s\n", joined);
	if (strlen(text) > RETIRED_MAX) /* what cannot be read again says nothing any more */
		return error_set(err, ERROR_LIMIT, "%s: more than %u bytes", path, RETIRED_MAX);
	_cleanup_secret_ content = secret_from(text, strlen(text));
	enum file_replaced replaced;
	return file_replace(path, content, before, 0600, &replaced, err);
}

/* --- remembering --- */

/* Whether it adds a line. What others were quicker to report is one's own from now on. */
static bool add_key(const struct config_key *key, const struct strings *labels, struct strings *lines)
{
	_cleanup_free_ char *label = config_key_label(key);
	char **known = key->fingerprint[0] ? find_place(lines, key->fingerprint) : NULL;
	if (!key->fingerprint[0] || !strings_has(labels, label) || (known && !is_heard(*known)))
		return false;
	_cleanup_free_ char *name = text_url_escape(key->name);
	char *line = xasprintf("%s %s/%s", key->fingerprint, provider_name(key->type), name);
	if (known) {
		free(*known);
		*known = line;
	} else {
		strings_add(lines, line);
		free(line);
	}
	return true;
}

int retired_remember(const char *state_directory, const struct path *path, const struct strings *labels,
		     struct error **err)
{
	_cleanup_free_ char *file = file_of(state_directory), *before = NULL;
	_cleanup_strings_ lines = {0};
	int rc = file_make_directory(state_directory, err);
	if (rc == 0)
		rc = read_lines(file, &lines, &before, err);
	if (rc < 0)
		return error_wrap(err, rc, "remembering the retired keys");
	bool more = false;
	for (size_t i = 0; i < path->count; i++)
		for (size_t r = 0; r < path->steps[i]->rule_count; r++)
			for (size_t k = 0; k < path->steps[i]->rules[r].key_count; k++)
				more |= add_key(&path->steps[i]->rules[r].keys[k], labels, &lines);
	rc = more ? write_lines(file, &lines, before, err) : 0;
	return rc < 0 ? error_wrap(err, rc, "remembering the retired keys") : 0;
}

/* --- what agents tell one another --- */

static size_t count_of(const struct strings *lines, const char *said)
{
	size_t count = 0;
	for (size_t i = 0; i < lines->count; i++)
		count += text_equal(lines->items[i] + FINGERPRINT_LEN, said);
	return count;
}

int retired_list(const char *state_directory, size_t max, struct strings *ret, struct error **err)
{
	_cleanup_free_ char *file = file_of(state_directory), *sha256 = NULL;
	_cleanup_strings_ lines = {0};
	int rc = read_lines(file, &lines, &sha256, err);
	if (rc < 0)
		return error_wrap(err, rc, "which keys were retired");
	size_t over = lines.count > max ? lines.count - max : 0;
	for (size_t pass = 0, at = 0; pass < 2; pass++)
		for (size_t i = 0; i < lines.count; i++)
			if (is_heard(lines.items[i]) == (pass == 0) && at++ >= over)
				strings_add_n(ret, lines.items[i], FINGERPRINT_LEN);
	return 0;
}

static bool is_fingerprint(const char *text)
{
	return strlen(text) == FINGERPRINT_LEN && strspn(text, "0123456789abcdef") == FINGERPRINT_LEN;
}

int retired_merge(const char *state_directory, const char *node, const struct strings *fingerprints, struct error **err)
{
	_cleanup_free_ char *file = file_of(state_directory), *before = NULL, *who = text_url_escape(node),
			    *said = xasprintf(REPORTED_BY "%s", who);
	_cleanup_strings_ lines = {0};
	int rc = file_make_directory(state_directory, err);
	if (rc == 0)
		rc = read_lines(file, &lines, &before, err);
	size_t known = lines.count;
	size_t of_one = count_of(&lines, said);
	for (size_t i = 0; i < fingerprints->count && lines.count < RETIRED_HEARD_MAX && of_one < RETIRED_HEARD_OF_ONE;
	     i++) {
		const char *fingerprint = fingerprints->items[i];
		if (!is_fingerprint(fingerprint) || find_line(&lines, fingerprint))
			continue;
		_cleanup_free_ char *line = xasprintf("%s%s", fingerprint, said);
		strings_add(&lines, line);
		of_one++;
	}
	if (rc == 0 && lines.count > known)
		rc = write_lines(file, &lines, before, err);
	return rc < 0 ? error_wrap(err, rc, "remembering what the agent of %s retired", node) : 0;
}

/* --- refusing --- */

static bool has_bytes(const struct config_shape *shape, const char *fingerprint)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (text_equal(shape->rules[r].keys[k].fingerprint, fingerprint))
				return true;
	return false;
}

static int refuse(const struct config_key *key, const char *line, const char *file, struct error **err)
{
	_cleanup_free_ char *label = config_key_label(key);
	int rc = error_set(err, ERROR_REFUSED, "%s is no new key: its bytes were retired by an earlier rotation (%s)",
			   label, line + FINGERPRINT_LEN + 1);
	error_set_hint(err,
		       "choose another key. If old backups need it, put it into the present configuration as a "
		       "read key by hand, and take it out when they were read (%s remembers retired keys)",
		       file);
	return rc;
}

int retired_check_key(const char *state_directory, const struct config_key *key, struct error **err)
{
	_cleanup_free_ char *file = file_of(state_directory), *sha256 = NULL;
	_cleanup_strings_ lines = {0};
	int rc = read_lines(file, &lines, &sha256, err);
	if (rc < 0)
		return error_wrap(err, rc, "which keys were retired");
	const char *line = key->fingerprint[0] ? find_line(&lines, key->fingerprint) : NULL;
	return line ? refuse(key, line, file, err) : 0;
}

int retired_check(const char *state_directory, const struct config_shape *from, const struct config_shape *to,
		  struct error **err)
{
	_cleanup_free_ char *file = file_of(state_directory), *sha256 = NULL;
	_cleanup_strings_ lines = {0};
	int rc = read_lines(file, &lines, &sha256, err);
	if (rc < 0)
		return error_wrap(err, rc, "which keys were retired");
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++) {
			const struct config_key *key = &to->rules[r].keys[k];
			const char *line = key->fingerprint[0] ? find_line(&lines, key->fingerprint) : NULL;
			if (line && !has_bytes(from, key->fingerprint))
				return refuse(key, line, file, err);
		}
	return 0;
}
