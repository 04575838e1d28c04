#include "engine/cloudtrail.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "engine/key_word.h"
#include "engine/object_fields.h"

#define DEPTH_MAX 100
#define RECORD_DEPTH 2 /* an object in the array of the file's object */
#define CHUNK (64u << 10)
#define KEY_MAX 2048
#define WHO_MAX 2048

struct cloudtrail {
	char *key, *from, *to; /* from, to: of all records, whatever they are about; NULL: there is none */
	uint64_t from_wall, to_wall;
	uint64_t records, uses, denied; /* uses, denied: of this key */
	char *encrypt_at, *encrypt_by, *decrypt_at, *decrypt_by;
	uint64_t encrypt_wall, decrypt_wall;
};

#define TRAIL struct cloudtrail
static const struct object_field encrypt_fields[] = {
	OBJECT_TEXT(TRAIL, encrypt_at, "at", 64),
	OBJECT_TEXT(TRAIL, encrypt_by, "by", WHO_MAX),
};
static const struct object_record encrypt_record = {encrypt_fields, ELEMENTS(encrypt_fields), 0};
static const struct object_field decrypt_fields[] = {
	OBJECT_TEXT(TRAIL, decrypt_at, "at", 64),
	OBJECT_TEXT(TRAIL, decrypt_by, "by", WHO_MAX),
};
static const struct object_record decrypt_record = {decrypt_fields, ELEMENTS(decrypt_fields), 0};
static const struct object_field fields[] = {
	OBJECT_TEXT(TRAIL, key, "key", KEY_MAX),
	OBJECT_TEXT(TRAIL, from, "from", 64),
	OBJECT_TEXT(TRAIL, to, "to", 64),
	OBJECT_NUMBER(TRAIL, records, "records", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(TRAIL, uses, "uses", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(TRAIL, denied, "denied", OBJECT_NUMBER_MAX, 0),
	OBJECT_WITHIN("lastEncrypt", &encrypt_record),
	OBJECT_WITHIN("lastDecrypt", &decrypt_record),
};
#undef TRAIL
static const struct object_record trail_record = {fields, ELEMENTS(fields), sizeof(struct cloudtrail)};

struct cloudtrail *cloudtrail_new(const char *key)
{
	struct cloudtrail *trail = xcalloc(1, sizeof(*trail));
	trail->key = xstrdup(key);
	return trail;
}

void cloudtrail_free(struct cloudtrail *trail)
{
	if (!trail)
		return;
	object_release(&trail_record, trail);
	free(trail);
}

/* --- one record --- */

static void keep(char **text, const char *by)
{
	free(*text);
	*text = xstrdup(by);
}

/* It may be configured as the bare ID of the ARN that records have. */
static bool is_key(const struct cloudtrail *trail, const char *id)
{
	return id && key_ids_compare(id, trail->key) == KEY_IDS_ONE;
}

static bool is_about(const struct cloudtrail *trail, const cJSON *record)
{
	const cJSON *resources = cJSON_GetObjectItemCaseSensitive(record, "resources"), *resource;
	cJSON_ArrayForEach(resource, resources)
	{
		if (is_key(trail, json_text_at(resource, "ARN")))
			return true;
	}
	return is_key(trail, json_text_at(json_at(record, "requestParameters", NULL), "keyId"));
}

static void take_use(const cJSON *record, const char *at, uint64_t wall, char **ret_at, char **ret_by,
		     uint64_t *ret_wall)
{
	const char *by = json_text_at(json_at(record, "userIdentity", NULL), "arn");
	if (*ret_at && wall < *ret_wall)
		return;
	keep(ret_at, at);
	keep(ret_by, by && strlen(by) <= WHO_MAX ? by : "?");
	*ret_wall = wall;
}

static void take_span(struct cloudtrail *trail, const char *at, uint64_t wall)
{
	if (!trail->from || wall < trail->from_wall) {
		keep(&trail->from, at);
		trail->from_wall = wall;
	}
	if (!trail->to || wall > trail->to_wall) {
		keep(&trail->to, at);
		trail->to_wall = wall;
	}
}

static int take_record(struct cloudtrail *trail, const char *name, const cJSON *record, struct error **err)
{
	const char *at = json_text_at(record, "eventTime"), *event = json_text_at(record, "eventName");
	uint64_t wall;
	if (!at || strlen(at) >= 64 || clock_parse(at, &wall) < 0 || !event)
		return error_set(err, ERROR_INPUT, "%s: record %llu has no eventTime or no eventName", name,
				 (unsigned long long)trail->records + 1);
	trail->records++;
	take_span(trail, at, wall);
	bool encrypt = text_equal(event, "Encrypt"), decrypt = text_equal(event, "Decrypt");
	if (!text_equal(json_text_at(record, "eventSource"), "kms.amazonaws.com") || !(encrypt || decrypt) ||
	    !is_about(trail, record))
		return 0;
	if (json_text_at(record, "errorCode")) {
		trail->denied++;
		return 0;
	}
	trail->uses++;
	if (encrypt)
		take_use(record, at, wall, &trail->encrypt_at, &trail->encrypt_by, &trail->encrypt_wall);
	else
		take_use(record, at, wall, &trail->decrypt_at, &trail->decrypt_by, &trail->decrypt_wall);
	return 0;
}

/* --- a file, record by record --- */

/* Knows strings and brackets alone: what is between them is judged record by record. */
struct cloudtrail_reader {
	struct cloudtrail *trail;
	char *name;
	struct buf record;
	char open[DEPTH_MAX]; /* the brackets that are open: '{', '[' */
	unsigned depth;
	bool in_string, escaped, begun, ended;
};

struct cloudtrail_reader *cloudtrail_reader_new(struct cloudtrail *trail, const char *name)
{
	struct cloudtrail_reader *reader = xcalloc(1, sizeof(*reader));
	reader->trail = trail;
	reader->name = xstrdup(name);
	reader->record = BUF_INIT(CLOUDTRAIL_RECORD_MAX);
	return reader;
}

void cloudtrail_reader_free(struct cloudtrail_reader *reader)
{
	if (!reader)
		return;
	buf_free(&reader->record);
	free(reader->name);
	free(reader);
}

static void reader_freep(struct cloudtrail_reader **reader)
{
	cloudtrail_reader_free(*reader);
}

static int no_log(const struct cloudtrail_reader *reader, const char *why, struct error **err)
{
	return error_set(err, ERROR_INPUT, "%s is no CloudTrail log file: %s", reader->name, why);
}

static bool in_record(const struct cloudtrail_reader *reader)
{
	return reader->depth > RECORD_DEPTH;
}

static int end_of_record(struct cloudtrail_reader *reader, struct error **err)
{
	_cleanup_json_ record = NULL;
	int rc = json_parse(buf_text(&reader->record), reader->record.len, reader->name, &record, err);
	buf_reset(&reader->record);
	return rc < 0 ? rc : take_record(reader->trail, reader->name, record, err);
}

static int open_bracket(struct cloudtrail_reader *reader, char bracket, struct error **err)
{
	static const char outer[RECORD_DEPTH + 1] = {'{', '[', '{'};
	if (reader->ended || reader->depth == DEPTH_MAX ||
	    (reader->depth <= RECORD_DEPTH && bracket != outer[reader->depth]))
		return no_log(reader, "it is not {\"Records\": [{...}, ...]}", err);
	reader->begun = true;
	reader->open[reader->depth++] = bracket;
	return 0;
}

static int close_bracket(struct cloudtrail_reader *reader, char bracket, struct error **err)
{
	if (reader->depth == 0 || reader->open[reader->depth - 1] != (bracket == '}' ? '{' : '['))
		return no_log(reader, "its brackets do not match", err);
	reader->ended = --reader->depth == 0;
	return 0;
}

static int take_byte(struct cloudtrail_reader *reader, char c, struct error **err)
{
	int rc = 0;
	bool was_in_record = in_record(reader);
	if (reader->in_string) {
		reader->in_string = reader->escaped || c != '"';
		reader->escaped = !reader->escaped && c == '\\';
	} else if (c == '"') {
		reader->in_string = true;
	} else if (c == '{' || c == '[') {
		rc = open_bracket(reader, c, err);
	} else if (c == '}' || c == ']') {
		rc = close_bracket(reader, c, err);
	}
	if (rc == 0 && (reader->depth == 0) && !reader->ended && !strchr(" \t\r\n", c))
		rc = no_log(reader, "it is no JSON object", err);
	if (rc == 0 && reader->ended && c != '}' && !strchr(" \t\r\n", c))
		rc = no_log(reader, "something comes after its end", err);
	if (rc < 0 || !(was_in_record || in_record(reader)))
		return rc;
	if (buf_append(&reader->record, &c, 1) < 0)
		return error_set(err, ERROR_LIMIT, "%s: a record is larger than %u bytes", reader->name,
				 CLOUDTRAIL_RECORD_MAX);
	return in_record(reader) ? 0 : end_of_record(reader, err);
}

int cloudtrail_reader_feed(struct cloudtrail_reader *reader, const char *bytes, size_t len, struct error **err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < len; i++)
		rc = take_byte(reader, bytes[i], err);
	return rc;
}

int cloudtrail_reader_end(struct cloudtrail_reader *reader, struct error **err)
{
	return reader->ended ? 0 : no_log(reader, reader->begun ? "it is cut off" : "it is empty", err);
}

static int gz_failed(gzFile file, const char *path, struct error **err)
{
	int code = Z_OK;
	const char *words = gzerror(file, &code);
	return error_set(err, code == Z_ERRNO ? ERROR_IO : ERROR_INPUT, "%s: %s", path, words);
}

/* gzip or plain: zlib tells by the first bytes. */
static int read_all(gzFile file, struct cloudtrail_reader *reader, const char *path, struct error **err)
{
	_cleanup_free_ char *chunk = xmalloc(CHUNK);
	uint64_t total = 0;
	int got, rc = 0;
	while (rc == 0 && (got = gzread(file, chunk, CHUNK)) > 0) {
		total += (uint64_t)got;
		rc = total > CLOUDTRAIL_FILE_MAX
			     ? error_set(err, ERROR_LIMIT, "%s: more than %u bytes unpacked", path, CLOUDTRAIL_FILE_MAX)
			     : cloudtrail_reader_feed(reader, chunk, (size_t)got, err);
	}
	if (rc < 0)
		return rc;
	/* A stream that is cut off shows only when it is closed. */
	return got < 0 ? gz_failed(file, path, err) : cloudtrail_reader_end(reader, err);
}

int cloudtrail_read_file(struct cloudtrail *trail, const char *path, struct error **err)
{
	_cleanup_(reader_freep) struct cloudtrail_reader *reader = cloudtrail_reader_new(trail, path);
	gzFile file = gzopen(path, "rbe");
	if (!file)
		return error_set(err, ERROR_NOT_FOUND, "%s cannot be opened", path);
	int rc = read_all(file, reader, path, err);
	if (gzclose_r(file) != Z_OK && rc == 0)
		rc = error_set(err, ERROR_INPUT, "%s: the gzip stream is cut off", path);
	return rc;
}

/* --- telling --- */

static void tell_use(const struct cloudtrail *trail, const char *verb, const char *at, const char *by,
		     struct strings *ret)
{
	_cleanup_free_ char *line =
		at ? xasprintf("last %s at %s, by %s", verb, at, by ? by : "?")
		   : xasprintf("no %s%s%s%s%s", verb, trail->from ? " from " : "", trail->from ? trail->from : "",
			       trail->to ? " to " : "", trail->to ? trail->to : "");
	strings_add(ret, line);
}

void cloudtrail_tell(const struct cloudtrail *trail, struct strings *ret)
{
	_cleanup_free_ char *head =
		trail->records ? xasprintf("of %s, in %llu records from %s to %s: %llu uses, %llu refused", trail->key,
					   (unsigned long long)trail->records, trail->from ? trail->from : "?",
					   trail->to ? trail->to : "?", (unsigned long long)trail->uses,
					   (unsigned long long)trail->denied)
			       : xasprintf("of %s: the files have no records", trail->key);
	strings_add(ret, head);
	tell_use(trail, "Encrypt", trail->encrypt_at, trail->encrypt_by, ret);
	tell_use(trail, "Decrypt", trail->decrypt_at, trail->decrypt_by, ret);
	strings_add(ret,
		    "the DEK cache hides use: kube-apiserver keeps data encryption keys in memory, so a key may be "
		    "needed though nobody asks for it; the census tells, not this");
}

void cloudtrail_write_json(const struct cloudtrail *trail, struct json_writer *w)
{
	_cleanup_error_ failed = NULL;
	json_key(w, "cloudtrail");
	/* Nothing here is longer than its cap: it was read within it. */
	if (object_write(&trail_record, trail, w, &failed) < 0)
		abort();
}

int cloudtrail_parse(const cJSON *report, struct cloudtrail **ret, struct error **err)
{
	const cJSON *json = cJSON_GetObjectItemCaseSensitive(report, "cloudtrail");
	struct cloudtrail *trail;
	if (!json || cJSON_IsNull(json))
		return 0;
	trail = xcalloc(1, sizeof(*trail));
	int rc = object_read(&trail_record, json, trail, err);
	if (rc == 0 && !trail->key)
		rc = error_set(err, ERROR_INPUT, "cloudtrail: no key");
	if (rc < 0)
		cloudtrail_free(trail);
	else
		*ret = trail;
	return rc;
}
