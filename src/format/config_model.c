#include "format/config_model.h"
#include <string.h>

static struct model *model_new(enum model_kind kind, const struct tree_node *sample)
{
	struct model *model = xcalloc(1, sizeof(*model));
	model->kind = kind;
	/* An alias stands elsewhere than what it names: its columns tell nothing. */
	model->sample = sample && !sample->alias ? sample : NULL;
	return model;
}

struct model *model_scalar(const char *text, const struct tree_node *sample)
{
	struct model *model = model_new(MODEL_SCALAR, sample);
	model->text = secret_from(text, strlen(text));
	return model;
}

struct model *model_mapping(const struct tree_node *sample)
{
	return model_new(MODEL_MAPPING, sample);
}

struct model *model_list(const struct tree_node *sample)
{
	return model_new(MODEL_LIST, sample);
}

struct model *model_taken(const struct tree_node *list, size_t index)
{
	struct model *model = model_new(MODEL_TAKEN, NULL);
	model->taken_list = list;
	model->taken_index = index;
	return model;
}

void model_add(struct model *mapping, const char *field, struct model *value)
{
	mapping->items = xreallocarray(mapping->items, mapping->count + 1, sizeof(*mapping->items));
	mapping->items[mapping->count++] = (struct model_item){field, value};
}

void model_push(struct model *list, struct model *item)
{
	model_add(list, NULL, item);
}

/* The field's place in the sample; one that the sample lacks comes last. */
static size_t sample_rank(const struct tree_node *sample, const char *field)
{
	for (size_t i = 0; i + 1 < sample->count; i += 2) {
		if (strcmp(tree_text(sample->items[i]), field) == 0)
			return i;
	}
	return sample->count;
}

void model_order(struct model *mapping)
{
	if (!mapping->sample)
		return;
	for (size_t i = 1; i < mapping->count; i++) {
		struct model_item item = mapping->items[i];
		size_t at = i, rank = sample_rank(mapping->sample, item.field);
		while (at > 0 && sample_rank(mapping->sample, mapping->items[at - 1].field) > rank) {
			mapping->items[at] = mapping->items[at - 1];
			at--;
		}
		mapping->items[at] = item;
	}
}

void model_free(struct model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->count; i++)
		model_free(model->items[i].value);
	free(model->items);
	secret_free(model->text);
	free(model);
}

void model_freep(struct model **model)
{
	model_free(*model);
}
