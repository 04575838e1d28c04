/* struct strings of text.h. */
#include "base/text.h"

void strings_add(struct strings *list, const char *text)
{
	strings_add_n(list, text, strlen(text));
}

void strings_add_n(struct strings *list, const char *text, size_t len)
{
	/* What is allocated is the power of two at or above count, so it needs no field of its own. */
	if ((list->count & (list->count - 1)) == 0)
		list->items = xreallocarray(list->items, list->count ? list->count * 2 : 1, sizeof(*list->items));
	list->items[list->count++] = xstrndup(text, len);
}

bool strings_has(const struct strings *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], text) == 0)
			return true;
	return false;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort_unique(struct strings *list)
{
	if (list->count == 0)
		return;
	qsort(list->items, list->count, sizeof(*list->items), compare);
	size_t kept = 1;
	for (size_t i = 1; i < list->count; i++)
		if (strcmp(list->items[i], list->items[kept - 1]) == 0)
			free(list->items[i]);
		else
			list->items[kept++] = list->items[i];
	list->count = kept;
}

char *strings_join(const struct strings *list, const char *separator)
{
	size_t size = 1, separator_len = strlen(separator);
	for (size_t i = 0; i < list->count; i++)
		size += strlen(list->items[i]) + (i ? separator_len : 0);
	char *joined = xmalloc(size), *to = joined;
	for (size_t i = 0; i < list->count; i++) {
		if (i)
			to = mempcpy(to, separator, separator_len);
		to = mempcpy(to, list->items[i], strlen(list->items[i]));
	}
	*to = '\0';
	return joined;
}

void strings_split(struct strings *list, const char *text, char separator)
{
	for (;;) {
		const char *end = strchrnul(text, separator);
		strings_add_n(list, text, (size_t)(end - text));
		if (!*end)
			return;
		text = end + 1;
	}
}

void strings_free(struct strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct strings){0};
}
