/* CloudTrail's log files, in two pieces and whole: the same comes of both. */
#include "format_events.h"

#include "base/json_read.h"
#include "base/text.h"
#include "engine/cloudtrail.h"

static int feed(const char *bytes, size_t len, size_t cut, char **ret)
{
	struct cloudtrail *trail = cloudtrail_new("k");
	struct cloudtrail_reader *reader = cloudtrail_reader_new(trail, "fuzz");
	_cleanup_strings_ lines = {0};
	int rc = cloudtrail_reader_feed(reader, bytes, cut, NULL);
	if (rc == 0)
		rc = cloudtrail_reader_feed(reader, bytes + cut, len - cut, NULL);
	if (rc == 0)
		rc = cloudtrail_reader_end(reader, NULL);
	cloudtrail_tell(trail, &lines);
	*ret = strings_join(&lines, "\n");
	cloudtrail_reader_free(reader);
	cloudtrail_free(trail);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *whole = NULL, *parts = NULL;
	json_install_hooks();
	int rc = feed((const char *)data, size, size, &whole);
	must(feed((const char *)data, size, size / 2, &parts) == rc);
	must(strcmp(whole, parts) == 0);
	return 0;
}
