/* What shall be written anew: a small tree, each part with a sample from the file whose style (block or flow,
 * indentation, quotes, blanks, order of fields) its text takes. Made by the planner, written by config_render.c. */
#pragma once
#include "format/config_internal.h"

enum model_kind { MODEL_SCALAR, MODEL_MAPPING, MODEL_LIST, MODEL_TAKEN };

struct model_item {
	const char *field; /* of a mapping; a static text */
	struct model *value;
};

struct model {
	enum model_kind kind;
	const struct tree_node *sample; /* NULL for the usual style */
	struct secret *text;            /* of a scalar; it may be a key */
	struct model_item *items;
	size_t count;
	const struct tree_node
		*taken_list; /* of MODEL_TAKEN: an item of the file whose text is taken with its comments */
	size_t taken_index;
};

struct model *model_scalar(const char *text, const struct tree_node *sample);
struct model *model_mapping(const struct tree_node *sample);
struct model *model_list(const struct tree_node *sample);
struct model *model_taken(const struct tree_node *list, size_t index);
void model_add(struct model *mapping, const char *field, struct model *value); /* takes the value */
void model_push(struct model *list, struct model *item);                       /* takes the item */
void model_order(struct model *mapping);                                       /* its fields in the sample's order */
void model_free(struct model *model);                                          /* wipes; NULL is fine */
void model_freep(struct model **model);
