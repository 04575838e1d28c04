/* One list of the file brought into a new order, with items removed, moved and added: the edits for that. */
#pragma once
#include "format/config_model.h"
#include "format/text_edit.h"

/* One place of the new list: an item that the list has, with edits inside it, or something new. */
struct list_slot {
	size_t index; /* of the item; LIST_NEW for a new one */
	struct text_edits nested;
	struct model *item; /* of a new one */
};
#define LIST_NEW ((size_t)-1)

/* A growing list of slots; the text edits and models in it are its own. */
struct list_slots {
	struct list_slot *items;
	size_t count;
};
struct list_slot *list_slots_keep(struct list_slots *slots, size_t index);
void list_slots_add(struct list_slots *slots, struct model *item); /* takes the item */
void list_slots_free(struct list_slots *slots);

/* Whether the slots are the list's items in their order. */
bool list_is_unchanged(const struct tree_node *list, const struct list_slots *slots);
/* Adds to `edits` what makes the list's text be the slots'. At least one slot. Items that keep their order among each
 * other stay where they are. -ERROR_INPUT: the list is written in a way that cannot be edited. */
_must_check_ int config_list_plan(const struct encryption_config *config, const struct tree_node *list,
				  struct list_slots *slots, struct text_edits *edits, struct error **err);
/* Refuses a node that an edit would touch and that other parts of the file depend on or that depends on them: anchors,
 * aliases, tags, merge keys. `deep`: inside it as well. */
_must_check_ int config_touch(const struct encryption_config *config, const struct tree_node *node, bool deep,
			      struct error **err);
