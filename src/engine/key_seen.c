#include "engine/key_seen.h"

#include "base/clock.h"

static void add_census(struct key_seen *seen, const struct key_rotation_values *values)
{
	struct key_census census = {.whole = values->count < KEY_ROTATION_VALUES_MAX};
	if (!values->at || clock_parse(values->at, &census.at) < 0)
		return;
	for (size_t i = 0; i < values->count; i++) {
		const struct key_rotation_value *value = &values->items[i];
		if (value->values == 0 || !value->name || !text_equal(value->class, "known"))
			continue;
		_cleanup_free_ char *key = xasprintf("%s/%s", value->provider ? value->provider : "", value->name);
		if (!strings_has(&census.keys, key))
			strings_add(&census.keys, key);
	}
	seen->items = xreallocarray(seen->items, seen->count + 1, sizeof(*seen->items));
	seen->items[seen->count++] = census;
}

void key_seen_add(struct key_seen *seen, const struct key_rotation *rotation)
{
	add_census(seen, &rotation->status.before);
	add_census(seen, &rotation->status.after);
}

void key_seen_free(struct key_seen *seen)
{
	for (size_t i = 0; i < seen->count; i++)
		strings_free(&seen->items[i].keys);
	free(seen->items);
	*seen = (struct key_seen){0};
}

bool key_seen_since(const struct key_seen *seen, const char *key, uint64_t *ret_first, uint64_t *ret_before)
{
	uint64_t first = UINT64_MAX, last = 0;
	for (size_t i = 0; i < seen->count; i++)
		if (strings_has(&seen->items[i].keys, key) && seen->items[i].at < first)
			first = seen->items[i].at;
	if (first == UINT64_MAX)
		return false;
	for (size_t i = 0; i < seen->count; i++)
		if (seen->items[i].whole && seen->items[i].at < first && seen->items[i].at > last)
			last = seen->items[i].at;
	*ret_first = first;
	*ret_before = last;
	return true;
}
