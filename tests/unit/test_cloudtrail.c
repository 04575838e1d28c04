/* CloudTrail's log files: what counts, in pieces of any size, and what is none. */
#include "test_folder.h"

#include <zlib.h>

#include "base/json_read.h"
#include "base/text.h"
#include "engine/cloudtrail.h"

#define ARN "arn:aws:kms:eu-west-1:111122223333:key/k1"
#define RECORD(time, name, arn, more)                                                             \
	"{\"eventTime\":\"" time "\",\"eventSource\":\"kms.amazonaws.com\",\"eventName\":\"" name \
	"\",\"userIdentity\":{\"arn\":\"arn:aws:sts::1:x\"},\"resources\":[{\"ARN\":\"" arn "\"}]" more "}"
#define LOG                                                                                                            \
	"{\"Records\": [" RECORD("2026-11-20T10:00:00Z", "Encrypt", ARN, ",\"x\":\"]}\\\"{[\"") ",\n" RECORD(          \
		"2026-11-22T10:00:00Z", "Decrypt", ARN,                                                                \
		"") "," RECORD("2026-11-21T10:00:00Z", "Decrypt", ARN,                                                 \
			       "") "," RECORD("2026-11-25T10:00:00Z", "Decrypt", ARN "2",                              \
					      "") "," RECORD("2026-11-24T10:00:00Z", "Decrypt", ARN,                   \
							     ",\"errorCode\":\"AccessDenied\"") ","                    \
												"{\"eventTime\":"      \
												"\"2026-11-19T00:00:"  \
												"00Z\","               \
												"\"eventSource\":"     \
												"\"kms.amazonaws."     \
												"com\",\"eventName\":" \
												"\"Decrypt\","         \
												"\"requestParameters"  \
												"\":{\"keyId\":\"" ARN \
												"\"}},"                \
												"{\"eventTime\":"      \
												"\"2026-11-26T00:00:"  \
												"00Z\","               \
												"\"eventSource\":"     \
												"\"s3.amazonaws."      \
												"com\",\"eventName\":" \
												"\"Decrypt\","         \
												"\"resources\":[{"     \
												"\"ARN\":\"" ARN       \
												"\"}]}]}\n"
/* Whatever is told, as text. */
#define WANTED                                                                                                         \
	"of " ARN ", in 7 records from 2026-11-19T00:00:00Z to 2026-11-26T00:00:00Z: 4 uses, 1 refused\n"              \
	"last Encrypt at 2026-11-20T10:00:00Z, by arn:aws:sts::1:x\n"                                                  \
	"last Decrypt at 2026-11-22T10:00:00Z, by arn:aws:sts::1:x\n"                                                  \
	"the DEK cache hides use: kube-apiserver keeps data encryption keys in memory, so a key may be needed though " \
	"nobody asks for it; the census tells, not this"

static char *told(const struct cloudtrail *trail)
{
	_cleanup_strings_ lines = {0};
	cloudtrail_tell(trail, &lines);
	return strings_join(&lines, "\n");
}

static int feed_for(const char *key, const char *text, size_t piece, char **ret, struct error **err)
{
	struct cloudtrail *trail = cloudtrail_new(key);
	struct cloudtrail_reader *reader = cloudtrail_reader_new(trail, "log");
	int rc = 0;
	for (size_t at = 0, len = strlen(text); rc == 0 && at < len; at += piece)
		rc = cloudtrail_reader_feed(reader, text + at, len - at < piece ? len - at : piece, err);
	if (rc == 0)
		rc = cloudtrail_reader_end(reader, err);
	if (rc == 0)
		*ret = told(trail);
	cloudtrail_reader_free(reader);
	cloudtrail_free(trail);
	return rc;
}

static int feed(const char *text, size_t piece, char **ret, struct error **err)
{
	return feed_for(ARN, text, piece, ret, err);
}

static void in_pieces_of_any_size(void **state)
{
	struct error *err = NULL;
	(void)state;
	for (size_t piece = 1; piece < 40; piece++) {
		_cleanup_free_ char *text = NULL;
		assert_ok(feed(LOG, piece, &text, &err), err);
		assert_string_equal(text, WANTED);
	}
}

static void nothing_of_the_key(void **state)
{
	_cleanup_free_ char *text = NULL, *empty = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(feed("{\"Records\":[" RECORD("2026-11-20T10:00:00Z", "Decrypt", "other", "") "]}", 9, &text, &err),
		  err);
	assert_non_null(strstr(text, "no Decrypt from 2026-11-20T10:00:00Z to 2026-11-20T10:00:00Z"));
	assert_ok(feed("{\"Records\":[]}", 9, &empty, &err), err);
	assert_non_null(strstr(empty, "the files have no records"));
}

/* A plugin may name the key by its bare ID, and records have the ARN; or the other way round. */
static void the_key_by_its_other_name(void **state)
{
	_cleanup_free_ char *bare = NULL, *of_bare = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(feed_for("k1", LOG, 9, &bare, &err), err);
	assert_non_null(
		strstr(bare, "to 2026-11-26T00:00:00Z: 4 uses, 1 refused\nlast Encrypt at 2026-11-20T10:00:00Z"));
	assert_ok(feed("{\"Records\":[{\"eventTime\":\"2026-11-19T00:00:00Z\",\"eventSource\":\"kms.amazonaws.com\","
		       "\"eventName\":\"Decrypt\",\"requestParameters\":{\"keyId\":\"k1\"}}]}",
		       9, &of_bare, &err),
		  err);
	assert_non_null(strstr(of_bare, "1 uses"));
}

struct bad {
	const char *name, *text, *words;
};
static const struct bad bad[] = {
	{"empty", "", "it is empty"},
	{"white space", " \n", "it is empty"},
	{"a list", "[]", "it is not {"},
	{"a list of lists", "{\"Records\":[[]]}", "it is not {"},
	{"an object of objects", "{\"Records\":{}}", "it is not {"},
	{"text", "hello", "it is no JSON object"},
	{"cut off in a record", "{\"Records\":[{\"eventTime\":\"", "it is cut off"},
	{"cut off after one", "{\"Records\":[" RECORD("2026-11-20T10:00:00Z", "Decrypt", ARN, ""), "it is cut off"},
	{"brackets", "{\"Records\":[{\"a\":[}]}", "brackets do not match"},
	{"more behind it", "{\"Records\":[]}{", "it is not {"},
	{"text behind it", "{\"Records\":[]} x", "something comes after its end"},
	{"no time", "{\"Records\":[{\"eventName\":\"Decrypt\"}]}", "record 1 has no eventTime"},
	{"no such time", "{\"Records\":[{\"eventName\":\"Decrypt\",\"eventTime\":\"yesterday\"}]}",
	 "record 1 has no eventTime"},
	{"no JSON in a record", "{\"Records\":[{eventName}]}", "log"},
};

static void no_log_file(void **state)
{
	const struct bad *row = *state;
	struct error *err = NULL;
	char *text = NULL;
	assert_int_equal(feed(row->text, 3, &text, &err), -ERROR_INPUT);
	if (!strstr(error_message(err), row->words))
		fail_msg("%s", error_message(err));
	error_clear(&err);
	assert_null(text);
}

static void a_record_has_a_cap(void **state)
{
	_cleanup_free_ char *text = NULL, *told_text = NULL;
	struct error *err = NULL;
	(void)state;
	text = xasprintf("{\"Records\":[{\"x\":\"%*s\"}]}", (int)CLOUDTRAIL_RECORD_MAX, "");
	assert_int_equal(feed(text, 65536, &told_text, &err), -ERROR_LIMIT);
	error_clear(&err);
}

static void files_plain_and_packed(void **state)
{
	static const char *const names[] = {"log.json", "log.json.gz"};
	struct error *err = NULL;
	(void)state;
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		gzFile file = gzopen(in_folder(names[i]), i == 0 ? "wbT" : "wb");
		assert_int_equal(gzwrite(file, LOG, strlen(LOG)), strlen(LOG));
		assert_int_equal(gzclose(file), Z_OK);
		struct cloudtrail *trail = cloudtrail_new(ARN);
		assert_ok(cloudtrail_read_file(trail, in_folder(names[i]), &err), err);
		_cleanup_free_ char *text = told(trail);
		assert_string_equal(text, WANTED);
		cloudtrail_free(trail);
	}
	/* Each cut of what is packed is seen. */
	struct stat info;
	assert_int_equal(stat(in_folder("log.json.gz"), &info), 0);
	for (off_t len = info.st_size - 1; len > 0; len -= 7) {
		struct cloudtrail *trail = cloudtrail_new(ARN);
		assert_int_equal(truncate(in_folder("log.json.gz"), len), 0);
		assert_true(cloudtrail_read_file(trail, in_folder("log.json.gz"), &err) < 0);
		error_clear(&err);
		cloudtrail_free(trail);
	}
	struct cloudtrail *trail = cloudtrail_new(ARN);
	assert_int_equal(cloudtrail_read_file(trail, in_folder("none"), &err), -ERROR_NOT_FOUND);
	error_clear(&err);
	cloudtrail_free(trail);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_pieces_of_any_size),     cmocka_unit_test(nothing_of_the_key),
		cmocka_unit_test(the_key_by_its_other_name), cmocka_unit_test(a_record_has_a_cap),
		folder_test(files_plain_and_packed),
	};
	json_install_hooks();
	return RUN_ROWS(no_log_file, bad) + cmocka_run_group_tests(tests, NULL, NULL);
}
