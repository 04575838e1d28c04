/* The memory of retired keys, whatever stands in its file: it is understood as a whole, or nothing is said and the file stays
 * as it is. Whatever it names is refused as a new key; what is added reads back, and nothing is lost by it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <curl/curl.h>
#include "base/file.h"
#include "engine/retired.h"

#define INPUT_MAX 2048 /* bytes: fewer lines than an agent may report */
#define FINGERPRINT_LEN 12
#define HEX "0123456789abcdef"
#define NODE "cp 2"
#define REPORTED " reported by cp%202"

static char folder[64], file[96];

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* --- the file --- */

static void remove_folder(void)
{
	(void)unlink(file);
	(void)rmdir(folder);
}

/* In memory where there is room for it: else nearly all the time goes by in syncs. */
static void make_folder(void)
{
	const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(folder, sizeof(folder), "%s/kube-rekey-fuzz.XXXXXX", parent);
	must(mkdtemp(folder) != NULL);
	snprintf(file, sizeof(file), "%s/retired-keys", folder);
	must(atexit(remove_folder) == 0);
}

static void put_file(const void *bytes, size_t len)
{
	FILE *to = fopen(file, "we");
	must(to && fwrite(bytes, 1, len, to) == len && fclose(to) == 0);
}

static void expect_file(const void *bytes, size_t len)
{
	_cleanup_secret_ content = NULL;
	must(file_read(file, RETIRED_MAX, &content, NULL) == 0);
	must(secret_len(content) == len && memcmp(secret_data(content), bytes, len) == 0);
}

static void expect_lines(const struct strings *lines)
{
	_cleanup_free_ char *joined = strings_join(lines, "\n"), *text = xasprintf("%s\n", joined);
	expect_file(text, strlen(text));
}

/* What our writer can have written, in other words than the reader's: its lines. */
static bool is_ours(const char *text, size_t size, struct strings *ret_lines)
{
	size_t at = 0;
	while (at < size) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t len = end ? (size_t)(end - text) - at : 0;
		if (len <= FINGERPRINT_LEN || text[at + FINGERPRINT_LEN] != ' ' || memchr(text + at, '\0', len))
			return false;
		for (size_t i = 0; i < FINGERPRINT_LEN; i++)
			if (!strchr(HEX, text[at + i]))
				return false;
		strings_add_n(ret_lines, text + at, len);
		at += len + 1;
	}
	return size > 0;
}

/* --- asking and telling --- */

/* Which of the two questions it is asked by makes no difference. */
static int check(const char *fingerprint, struct error **err)
{
	char name[] = "again", resource[] = "secrets", *resources[] = {resource};
	struct config_key key = {.type = PROVIDER_SECRETBOX, .name = name};
	struct config_rule rule = {.resources = resources, .resource_count = 1, .keys = &key, .key_count = 1};
	struct config_shape nothing = {0}, shape = {.rules = &rule, .rule_count = 1};
	memcpy(key.fingerprint, fingerprint, FINGERPRINT_LEN);
	int rc = retired_check_key(folder, &key, err);
	must(retired_check(folder, &nothing, &shape, NULL) == rc);
	/* What is there already is no new key, if only the file can be read. */
	must(retired_check(folder, &shape, &shape, NULL) == (rc == -ERROR_REFUSED ? 0 : rc));
	return rc;
}

static int remember(const char *fingerprint, char *name)
{
	char resource[] = "secrets", *resources[] = {resource};
	struct config_key key = {.type = PROVIDER_AESCBC, .name = name};
	struct config_rule rule = {.resources = resources, .resource_count = 1, .keys = &key, .key_count = 1};
	struct config_shape shape = {.rules = &rule, .rule_count = 1}, *steps[] = {&shape};
	struct path path = {.steps = steps, .count = 1};
	_cleanup_strings_ labels = {0};
	_cleanup_free_ char *label = config_key_label(&key);
	memcpy(key.fingerprint, fingerprint, FINGERPRINT_LEN);
	strings_add(&labels, label);
	return retired_remember(folder, &path, &labels, NULL);
}

static char **place_of(const struct strings *lines, const char *fingerprint)
{
	for (size_t i = 0; i < lines->count; i++)
		if (strncmp(lines->items[i], fingerprint, FINGERPRINT_LEN) == 0)
			return &lines->items[i];
	return NULL;
}

static bool is_heard(const char *line)
{
	return text_starts(line + FINGERPRINT_LEN, " reported by ");
}

/* --- what has to hold --- */

/* It is no memory: then no key is new, none is added, and nothing becomes of the file. */
static void expect_nothing(const uint8_t *data, size_t size)
{
	char name[] = "key1";
	_cleanup_strings_ lines = {0}, reported = {0};
	_cleanup_error_ err = NULL;
	strings_add(&reported, "0123456789ab");
	must(retired_list(folder, SIZE_MAX, &lines, &err) == -ERROR_INPUT && lines.count == 0);
	must(strstr(error_message(err), file) && error_hint(err));
	must(check("0123456789ab", NULL) == -ERROR_INPUT);
	must(remember("0123456789ab", name) == -ERROR_INPUT);
	must(retired_merge(folder, NODE, &reported, NULL) == -ERROR_INPUT);
	expect_file(data, size);
}

/* Some of many, since each question reads the file. */
static void expect_refused(const struct strings *lines)
{
	for (size_t i = 0; i < lines->count; i += 1 + lines->count / 8) {
		_cleanup_error_ err = NULL;
		_cleanup_free_ char *fingerprint = xstrndup(lines->items[i], FINGERPRINT_LEN);
		must(check(fingerprint, &err) == -ERROR_REFUSED && strstr(error_message(err), "is no new key"));
	}
}

/* What others report comes first and is the first to go. */
static void expect_list(const struct strings *lines, size_t max)
{
	_cleanup_strings_ listed = {0}, expected = {0};
	must(retired_list(folder, max, &listed, NULL) == 0);
	for (size_t i = 0; i < lines->count; i++)
		if (is_heard(lines->items[i]))
			strings_add_n(&expected, lines->items[i], FINGERPRINT_LEN);
	for (size_t i = 0; i < lines->count; i++)
		if (!is_heard(lines->items[i]))
			strings_add_n(&expected, lines->items[i], FINGERPRINT_LEN);
	size_t first = expected.count > max ? expected.count - max : 0;
	must(listed.count == expected.count - first);
	for (size_t i = 0; i < listed.count; i++)
		must(text_equal(listed.items[i], expected.items[first + i]));
}

/* The name in the line is the key's, whatever it is made of. */
static void expect_label(const char *line, const char *name)
{
	static const char before[] = " aescbc/";
	int len;
	must(text_starts(line + FINGERPRINT_LEN, before));
	char *plain = curl_easy_unescape(NULL, line + FINGERPRINT_LEN + strlen(before), 0, &len);
	must(plain && (size_t)len == strlen(name) && text_equal(plain, name));
	curl_free(plain);
}

static void add_ours(struct strings *lines, const char *fingerprint, char *name)
{
	_cleanup_free_ char *escaped = text_url_escape(name);
	_cleanup_free_ char *line = xasprintf("%.*s aescbc/%s", FINGERPRINT_LEN, fingerprint, escaped);
	char **known = place_of(lines, fingerprint);
	bool is_new = !known || is_heard(*known);
	if (!known) {
		strings_add(lines, line);
	} else if (is_new) {
		free(*known);
		*known = xstrdup(line);
	}
	for (int again = 0; again < 2; again++) {
		must(remember(fingerprint, name) == 0);
		expect_lines(lines);
	}
	if (is_new)
		expect_label(*place_of(lines, fingerprint), name);
}

/* Reports: all lines of the input, most of which are no fingerprints, and fingerprints made of them. */
static void add_reported(struct strings *lines, const char *text)
{
	_cleanup_strings_ reported = {0};
	strings_split(&reported, text, '\n');
	for (size_t i = 0, count = lines->count; i < count; i++) {
		char made[FINGERPRINT_LEN + 1] = "";
		for (size_t k = 0; k < FINGERPRINT_LEN; k++)
			made[k] = lines->items[i][FINGERPRINT_LEN - 1 - k];
		strings_add(&reported, made);
	}
	for (size_t i = 0; i < reported.count; i++) {
		const char *each = reported.items[i];
		if (strlen(each) != FINGERPRINT_LEN || strspn(each, HEX) != FINGERPRINT_LEN || place_of(lines, each))
			continue;
		_cleanup_free_ char *line = xasprintf("%s%s", each, REPORTED);
		strings_add(lines, line);
	}
	for (int again = 0; again < 2; again++) {
		must(retired_merge(folder, NODE, &reported, NULL) == 0);
		expect_lines(lines);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!folder[0])
		make_folder();
	if (size > INPUT_MAX)
		size = INPUT_MAX;
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	_cleanup_strings_ lines = {0};
	put_file(data, size);
	if (!is_ours((const char *)data, size, &lines)) {
		expect_nothing(data, size);
		return 0;
	}
	/* Anybody's name for a key: the whole file, line ends and all. */
	_cleanup_free_ char *last = xstrdup(lines.items[lines.count - 1]);
	const char *fresh = place_of(&lines, "fedcba987654") ? "fedcba987655" : "fedcba987654";
	expect_refused(&lines);
	must(check(fresh, NULL) == (place_of(&lines, fresh) ? -ERROR_REFUSED : 0));
	expect_list(&lines, SIZE_MAX);
	expect_list(&lines, lines.count / 2);
	expect_file(data, size);
	add_ours(&lines, last, text);
	add_ours(&lines, fresh, text);
	add_reported(&lines, text);
	expect_refused(&lines);
	expect_list(&lines, SIZE_MAX);
	return 0;
}
