/* What AWS CloudTrail's log files say of the use of one KMS key: when it last encrypted and decrypted, and for whom. A
 * supporting fact for a report, and no more: kube-apiserver keeps data encryption keys in memory, so a key that is never asked
 * may be needed all the same.
 *
 * Format: docs.aws.amazon.com/awscloudtrail, "CloudTrail record contents": {"Records": [{"eventSource", "eventName", ...}]},
 * plain or in gzip as CloudTrail delivers it. Read record by record: memory does not depend on a file's size. */
#pragma once
#include <cjson/cJSON.h>
#include "base/error.h"
#include "base/json_writer.h"

#define CLOUDTRAIL_RECORD_MAX (1u << 20) /* CloudTrail's own cap is 256 KiB */
#define CLOUDTRAIL_FILE_MAX (2u << 30)   /* unpacked: a bomb is none of its files */

struct cloudtrail;
/* What is looked for: the key's ARN, as it stands in `resources` of a record, or its bare ID; no alias, which stands nowhere there.
 * Copied. */
struct cloudtrail *cloudtrail_new(const char *key);
void cloudtrail_free(struct cloudtrail *trail); /* NULL is fine */
/* One log file more. -ERROR_INPUT for what is none, or cut off: then nothing that was found counts. -ERROR_LIMIT,
 * -ERROR_NOT_FOUND, -ERROR_IO. */
_must_check_ int cloudtrail_read_file(struct cloudtrail *trail, const char *path, struct error **err);
/* A plain file's bytes, in pieces of any size, and its end. `name` is for messages. */
struct cloudtrail_reader;
struct cloudtrail_reader *cloudtrail_reader_new(struct cloudtrail *trail, const char *name);
_must_check_ int cloudtrail_reader_feed(struct cloudtrail_reader *reader, const char *bytes, size_t len,
					struct error **err);
_must_check_ int cloudtrail_reader_end(struct cloudtrail_reader *reader, struct error **err);
void cloudtrail_reader_free(struct cloudtrail_reader *reader);
/* Sentences for people. */
void cloudtrail_tell(const struct cloudtrail *trail, struct strings *ret);
/* Member "cloudtrail" of a report, and back: *ret NULL where there is none. -ERROR_INPUT, -ERROR_LIMIT. */
void cloudtrail_write_json(const struct cloudtrail *trail, struct json_writer *w);
_must_check_ int cloudtrail_parse(const cJSON *report, struct cloudtrail **ret, struct error **err);
