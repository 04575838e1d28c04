/* bbolt databases, whatever they are: each walk ends, reads nothing behind the end, and hands out keys in order. */
#include "format/bbolt.h"
#include "format_events.h"

struct source {
	const uint8_t *bytes;
	size_t len;
	uint64_t read; /* bytes so far */
};

static int read_bytes(void *arg, uint64_t at, uint8_t *to, size_t len, struct error **err)
{
	struct source *source = arg;
	(void)err;
	must(len > 0 && len <= source->len && at <= source->len - len);
	memcpy(to, source->bytes + at, len);
	source->read += len;
	return 0;
}

static int compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static void check_failure(int rc, struct error **err)
{
	must(rc == -ERROR_INPUT || rc == -ERROR_NOT_FOUND);
	must(-rc == (int)error_code(*err) && error_message(*err)[0] != '\0' && !strchr(error_message(*err), '\n'));
	error_clear(err);
}

/* The bytes of all values, or UINT64_MAX where the walk failed. */
static uint64_t walk(struct bbolt *bolt, const char *bucket, size_t size)
{
	struct bbolt_item item;
	struct error *err = NULL;
	uint8_t *key = NULL;
	size_t key_len = 0;
	uint64_t total = 0;
	int rc = bbolt_enter(bolt, bucket, &err);
	while (rc >= 0 && (rc = bbolt_prev(bolt, &item, &err)) > 0) {
		must(item.key_len > 0 && item.key_len <= BBOLT_KEY_MAX);
		must(!key || compare(item.key, item.key_len, key, key_len) < 0);
		free(key);
		key = xmemdup(item.key, item.key_len);
		key_len = item.key_len;
		const uint8_t *piece;
		size_t len;
		uint64_t value = 0;
		volatile uint8_t seen = 0;
		while ((rc = bbolt_value(bolt, &piece, &len, &err)) > 0) {
			must(len > 0);
			seen = seen ^ piece[0] ^ piece[len - 1];
			value += len;
		}
		must(value == item.value_len);
		total += item.key_len + value;
	}
	free(key);
	must(total <= size); /* no byte belongs to two items */
	if (rc < 0)
		check_failure(rc, &err);
	return rc < 0 ? UINT64_MAX : total;
}

/* Nobody guesses a checksum: those of the meta pages are made right. */
static void sum_meta(uint8_t *bytes, size_t size, size_t at)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	if (size < 80 || at > size - 80)
		return;
	for (size_t i = 0; i < 56; i++)
		hash = (hash ^ bytes[at + 16 + i]) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < 8; i++)
		bytes[at + 16 + 56 + i] = (uint8_t)(hash >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = size ? xmemdup(data, size) : NULL;
	/* The last byte says whether. */
	if (size > 0 && data[size - 1] % 2 == 0) {
		sum_meta(bytes, size, 0);
		sum_meta(bytes, size, BBOLT_PAGE_MIN);
		sum_meta(bytes, size, 4096);
	}
	struct source source = {bytes, size, 0};
	const struct bbolt_source from = {size, read_bytes, &source};
	struct bbolt *bolt = NULL;
	struct error *err = NULL;
	int rc = bbolt_open(&from, &bolt, &err);
	if (rc < 0) {
		check_failure(rc, &err);
	} else {
		uint64_t first = walk(bolt, "key", size);
		(void)walk(bolt, "meta", size);
		must(walk(bolt, "key", size) == first); /* nothing is left over */
	}
	/* Three walks with the search for the bucket before each; at most a window for each page and each element. */
	must(source.read <= 4096 + 6 * (uint64_t)(size / BBOLT_PAGE_MIN + size / 16 + 1) * 2 * BBOLT_WINDOW);
	bbolt_free(bolt);
	free(bytes);
	return 0;
}
