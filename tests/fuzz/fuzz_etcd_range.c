/* Answers of etcd. */
#include "format_events.h"

static int check_kv(void *arg, const struct etcd_kv *kv)
{
	struct etcd_value_reader *reader = arg;
	if (!kv->value || kv->key_len == ETCD_KEY_MAX) /* a longer key is unknown whatever its value */
		return 0;
	etcd_value_reader_start(reader);
	etcd_value_reader_feed(reader, kv->value, kv->value_len);
	const struct etcd_value_info *info = etcd_value_reader_end(reader);
	must(info->state == kv->info->state && strcmp(info->name, kv->info->name) == 0);
	must(strcmp(info->key_id, kv->info->key_id) == 0 && strcmp(info->dek_source, kv->info->dek_source) == 0);
	return 0;
}

/* The value that is kept is under what the stream said. */
static void check_kept(const uint8_t *data, size_t size)
{
	struct etcd_value_reader *value = etcd_value_reader_new();
	struct etcd_range_reader *range = etcd_range_reader_new(check_kv, value, true);
	if (etcd_range_feed(range, data, size) == 0)
		(void)!etcd_range_finish(range);
	etcd_range_reader_free(range);
	etcd_value_reader_free(value);
}

static void check_unary(const uint8_t *data, size_t size)
{
	struct etcd_members members;
	struct etcd_status status;
	struct etcd_header header;
	bool whole = etcd_header_parse(data, size, &header) == 0;
	if (etcd_members_parse(data, size, &members) == 0) {
		must(whole && memcmp(&header, &members.header, sizeof(header)) == 0);
		for (size_t i = 0; i < members.count; i++)
			must(strlen(members.items[i].name) <= ETCD_TEXT_MAX);
		etcd_members_free(&members);
	}
	if (etcd_status_parse(data, size, &status) == 0) {
		must(whole && strlen(status.version) <= ETCD_TEXT_MAX);
		etcd_status_free(&status);
	}
}

/* A prefix is before its end, and the longest key under it too. */
static void check_prefix_end(const uint8_t *data, size_t size)
{
	size_t len = size < 32 ? size : 32;
	uint8_t end[33], longest[40];
	size_t end_len = etcd_prefix_end(data, len, end);
	must(end_len >= 1 && end_len <= len + 1);
	if (end_len == 1 && end[0] == 0)
		return; /* to the end of the keyspace */
	memcpy(longest, data, len);
	memset(longest + len, 0xff, sizeof(longest) - len);
	size_t common = end_len < sizeof(longest) ? end_len : sizeof(longest);
	must(memcmp(longest, end, common) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t empty[1];
	data = size ? data : empty;
	must_not_depend_on_some_cuts(range_events, data, size);
	must_not_depend_on_some_cuts(range_unkept_events, data, size);
	check_kept(data, size);
	check_unary(data, size);
	check_prefix_end(data, size);
	return 0;
}
