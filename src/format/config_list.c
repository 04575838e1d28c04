#include "format/config_list.h"
#include <string.h>
#include "format/config_flow.h"
#include "format/config_render.h"

static struct list_slot *slot_new(struct list_slots *slots, size_t index, struct model *item)
{
	slots->items = xreallocarray(slots->items, slots->count + 1, sizeof(*slots->items));
	struct list_slot *slot = &slots->items[slots->count++];
	*slot = (struct list_slot){.index = index, .item = item};
	return slot;
}

struct list_slot *list_slots_keep(struct list_slots *slots, size_t index)
{
	return slot_new(slots, index, NULL);
}

void list_slots_add(struct list_slots *slots, struct model *item)
{
	slot_new(slots, LIST_NEW, item);
}

void list_slots_free(struct list_slots *slots)
{
	for (size_t i = 0; i < slots->count; i++) {
		text_edits_free(&slots->items[i].nested);
		model_free(slots->items[i].item);
	}
	free(slots->items);
	*slots = (struct list_slots){0};
}

bool list_is_unchanged(const struct tree_node *list, const struct list_slots *slots)
{
	for (size_t i = 0; i < slots->count; i++) {
		if (slots->items[i].index != i)
			return false;
	}
	return slots->count == list->count;
}

int config_touch(const struct encryption_config *config, const struct tree_node *node, bool deep, struct error **err)
{
	const char *what = node->anchored ? "an anchor" : node->alias ? "an alias" : node->tag[0] ? "a tag" : NULL;
	if (what)
		return config_error(config, node, err,
				    "%s on a part that has to change; write the values out without it", what);
	for (size_t i = 0; i < node->count; i++) {
		if (node->items[i]->merge)
			return config_error(config, node->items[i], err,
					    "a merge key on a part that has to change; write the fields out");
		int rc = deep ? config_touch(config, node->items[i], true, err) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Marks the slots of a longest run of items that stand in the new order already: those stay in place. */
static void mark_staying(const struct list_slots *slots, bool *staying)
{
	size_t *length = xcalloc(slots->count, sizeof(*length)), *before = xcalloc(slots->count, sizeof(*before));
	size_t best = LIST_NEW;
	for (size_t i = 0; i < slots->count; i++) {
		if (slots->items[i].index == LIST_NEW)
			continue;
		length[i] = 1;
		before[i] = LIST_NEW;
		for (size_t j = 0; j < i; j++) {
			if (length[j] >= length[i] && slots->items[j].index < slots->items[i].index) {
				length[i] = length[j] + 1;
				before[i] = j;
			}
		}
		if (best == LIST_NEW || length[i] > length[best])
			best = i;
	}
	for (; best != LIST_NEW; best = before[best])
		staying[best] = true;
	free(length);
	free(before);
}

/* Removes what does not stay: items without a slot, and the old places of those that move. */
static int plan_removals(const struct encryption_config *config, const struct tree_node *list,
			 const struct list_slots *slots, const bool *staying, struct text_edits *edits,
			 struct error **err)
{
	bool *stays = xcalloc(list->count, sizeof(*stays));
	int rc = 0;
	for (size_t i = 0; i < slots->count; i++) {
		if (staying[i])
			stays[slots->items[i].index] = true;
	}
	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		struct text_span span;
		if (stays[i])
			continue;
		rc = config_touch(config, list->items[i], true, err);
		if (rc == 0)
			rc = config_block_span(config, list, i, &span, err);
		if (rc == 0)
			text_edits_add(edits, span.begin, span.end - span.begin, NULL);
	}
	free(stays);
	return rc;
}

static int slot_lines(const struct encryption_config *config, const struct tree_node *list, struct list_slot *slot,
		      struct secret **ret, struct error **err)
{
	struct text_span span;
	if (slot->item)
		return config_render_lines(config, list, slot->item, ret, err);
	int rc = config_block_span(config, list, slot->index, &span, err);
	if (rc < 0)
		return rc;
	return text_edits_apply(config->text, span.begin, span.end, &slot->nested, CONFIG_CHANGED_MAX, ret, err);
}

/* Where things go that come before every item that stays. */
static int first_place(const struct encryption_config *config, const struct tree_node *list,
		       const struct list_slots *slots, const bool *staying, size_t *ret, struct error **err)
{
	struct text_span span;
	size_t index = 0;
	for (size_t i = slots->count; i > 0; i--) {
		if (staying[i - 1])
			index = slots->items[i - 1].index;
	}
	int rc = config_block_span(config, list, index, &span, err);
	if (rc == 0)
		*ret = span.begin;
	return rc;
}

static int plan_block(const struct encryption_config *config, const struct tree_node *list, struct list_slots *slots,
		      struct text_edits *edits, struct error **err)
{
	bool *staying = xcalloc(slots->count, sizeof(*staying));
	size_t place = 0;
	mark_staying(slots, staying);
	int rc = first_place(config, list, slots, staying, &place, err);
	for (size_t i = 0; rc == 0 && i < slots->count; i++) {
		struct list_slot *slot = &slots->items[i];
		struct secret *lines;
		struct text_span span;
		if (staying[i]) {
			rc = config_block_span(config, list, slot->index, &span, err);
			if (rc == 0)
				text_edits_move(edits, &slot->nested);
			place = span.end;
			continue;
		}
		rc = slot_lines(config, list, slot, &lines, err);
		if (rc == 0)
			text_edits_add(edits, place, 0, lines);
	}
	if (rc == 0)
		rc = plan_removals(config, list, slots, staying, edits, err);
	free(staying);
	return rc;
}

/* The white space of a list's gaps, as strings. */
struct flow_blanks {
	char *first, *between, *indent;
};

static void flow_blanks_clear(struct flow_blanks *blanks)
{
	free(blanks->first);
	free(blanks->between);
	free(blanks->indent);
}

/* Of white space and comments, the white space behind the last comment. New string. */
static char *last_blanks(const struct encryption_config *config, struct text_span span)
{
	const char *text = secret_text(config->text);
	size_t begin = span.begin;
	if (config_span_has_comment(config, span)) {
		for (begin = span.end; begin > span.begin && text[begin - 1] != '\n';)
			begin--;
		begin -= begin > span.begin;
		begin -= begin > span.begin && text[begin - 1] == '\r';
	}
	return xstrndup(text + begin, span.end - begin);
}

static struct flow_blanks flow_blanks(const struct encryption_config *config, const struct tree_node *list,
				      const struct flow_list *found)
{
	const char *text = secret_text(config->text);
	struct flow_blanks blanks = {.first = last_blanks(config, found->items[0].before)};
	const char *line = text + config_line_begin(config, list->items[0]->begin);
	const struct tree_node *root = yaml_tree_root(config->tree);
	bool compact = root->flow && root->items[0]->end + 1 == root->items[1]->begin;
	if (found->count > 1)
		blanks.between = last_blanks(config, found->items[1].before);
	else
		blanks.between = xstrdup(strchr(blanks.first, '\n') ? blanks.first : compact ? "" : " ");
	blanks.indent = xstrndup(line, strspn(line, " \t"));
	return blanks;
}

static int flow_part_make(const struct encryption_config *config, const struct flow_list *found, struct list_slot *slot,
			  const char *indent, struct flow_part *ret, struct error **err)
{
	struct flow_list other;
	struct text_edits none = {0};
	if (!slot->item)
		return flow_part_take(config, found, slot->index, &slot->nested, ret, err);
	if (slot->item->kind != MODEL_TAKEN)
		return config_render_flow(config, slot->item, indent, &ret->core, err);
	int rc = config_flow_list(config, slot->item->taken_list, &other, err);
	if (rc < 0)
		return rc;
	rc = flow_part_take(config, &other, slot->item->taken_index, &none, ret, err);
	config_flow_list_free(&other);
	return rc;
}

/* The new inner text, as an edit of only what differs. */
static void add_difference(const struct encryption_config *config, struct text_span inner, struct secret *text,
			   struct text_edits *edits)
{
	const uint8_t *old = secret_data(config->text) + inner.begin, *new = secret_data(text);
	size_t old_len = inner.end - inner.begin, new_len = secret_len(text), head = 0, tail = 0;
	while (head < old_len && head < new_len && old[head] == new[head])
		head++;
	while (tail < old_len - head && tail < new_len - head && old[old_len - 1 - tail] == new[new_len - 1 - tail])
		tail++;
	text_edits_add(edits, inner.begin + head, old_len - head - tail,
		       secret_from(new + head, new_len - head - tail));
	secret_free(text);
}

static int join_parts(const struct encryption_config *config, const struct tree_node *list,
		      const struct flow_list *found, const struct flow_part *parts, size_t count,
		      struct text_edits *edits, struct error **err)
{
	struct flow_blanks blanks = flow_blanks(config, list, found);
	_cleanup_free_ char *indent = xasprintf("%s  ", blanks.indent);
	const char *behind = secret_text(config->text) + found->inner.end;
	struct flow_gaps gaps = {.first = blanks.first,
				 .between = blanks.between,
				 .indent = indent,
				 .line_end = config_line_end(config),
				 .trailing_comma = found->trailing_comma,
				 .line_end_follows = *behind == '\n' || *behind == '\r'};
	struct secret *text = secret_new(2 * CONFIG_CHANGED_MAX);
	int rc = flow_parts_write(parts, count, &gaps, text);
	flow_blanks_clear(&blanks);
	if (rc == 0) {
		add_difference(config, found->inner, text, edits);
		return 0;
	}
	secret_free(text);
	return error_set(err, ERROR_INPUT, "%s: the changed file would be larger than 4 MiB", config->name);
}

/* What a removed or moved item may not hold. Flow items are all written anew, but only these lose or change something. */
static int touch_flow_items(const struct encryption_config *config, const struct tree_node *list,
			    const struct list_slots *slots, struct error **err)
{
	for (size_t i = 0; i < list->count; i++) {
		int rc = i < slots->count && slots->items[i].index == i
				 ? 0
				 : config_touch(config, list->items[i], true, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int plan_flow(const struct encryption_config *config, const struct tree_node *list, struct list_slots *slots,
		     struct text_edits *edits, struct error **err)
{
	struct flow_list found = {0};
	int rc = config_flow_list(config, list, &found, err);
	if (rc == 0)
		rc = touch_flow_items(config, list, slots, err);
	if (rc < 0) {
		config_flow_list_free(&found);
		return rc;
	}
	struct flow_part *parts = xcalloc(slots->count, sizeof(*parts));
	struct flow_blanks blanks = flow_blanks(config, list, &found);
	for (size_t i = 0; rc == 0 && i < slots->count; i++)
		rc = flow_part_make(config, &found, &slots->items[i], blanks.indent, &parts[i], err);
	if (rc == 0)
		rc = join_parts(config, list, &found, parts, slots->count, edits, err);
	for (size_t i = 0; i < slots->count; i++)
		flow_part_clear(&parts[i]);
	free(parts);
	flow_blanks_clear(&blanks);
	config_flow_list_free(&found);
	return rc;
}

int config_list_plan(const struct encryption_config *config, const struct tree_node *list, struct list_slots *slots,
		     struct text_edits *edits, struct error **err)
{
	if (list_is_unchanged(list, slots)) {
		for (size_t i = 0; i < slots->count; i++)
			text_edits_move(edits, &slots->items[i].nested);
		return 0;
	}
	int rc = config_touch(config, list, false, err);
	if (rc < 0)
		return rc;
	return list->flow ? plan_flow(config, list, slots, edits, err) : plan_block(config, list, slots, edits, err);
}
