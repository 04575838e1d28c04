/* A file's text changed to mean another shape.
 *
 * The plan is made on the tree (config_plan.c) as edits of the text, which are then applied; the result is parsed again
 * and must mean exactly what was asked for. So a mistake in here shows as a refusal, never as another configuration.
 *
 * Whose is a comment? It goes with a rule, provider, key or resource (the item) when it
 *   - stands on a line of the item: behind its text, or between its lines;
 *   - is a comment line directly above it, without a blank line between, with '#' in the column of the item's '-';
 *   - is a comment line below it, indented deeper than its '-' (it stands inside the item).
 * In a flow list ([...]) a comment that begins on an item's last line is that item's, every other one between two items
 * is that of the item behind it, and one behind the opening bracket or after the last item's line is nobody's.
 * A comment goes where its item goes and leaves with it. All others, and blank lines, stay where they are.
 *
 * New text copies its neighbours: block or flow, indentation, blanks, quotes, the order of `name` and `secret`. */
#include <string.h>
#include "format/config_nonce.h"
#include "format/config_plan.h"
#include "format/config_span.h"

/* YAML ends lines at more characters than people and this program do. */
static int check_line_ends(const struct encryption_config *config, struct error **err)
{
	static const char *const others[] = {"\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
	const char *text = secret_text(config->text);
	bool found = false;
	for (size_t i = 0; i < ELEMENTS(others); i++)
		found |= strstr(text, others[i]) != NULL;
	for (const char *cr = strchr(text, '\r'); cr; cr = strchr(cr + 1, '\r'))
		found |= cr[1] != '\n';
	if (found)
		return error_set(err, ERROR_INPUT,
				 "%s:1:1: lines that end in CR alone, NEL, LS or PS; save the file with LF or CRLF",
				 config->name);
	return 0;
}

static int check_target(const struct encryption_config *config, const struct config_shape *to, struct error **err)
{
	if (to->rule_count == 0)
		return error_set(err, ERROR_INPUT, "%s: a target without rules; kube-apiserver refuses that",
				 config->name);
	for (size_t i = 0; i < to->rule_count; i++) {
		if (to->rules[i].key_count == 0 || to->rules[i].resource_count == 0)
			return error_set(err, ERROR_INPUT,
					 "%s: a target with an empty rule; kube-apiserver refuses that", config->name);
	}
	return 0;
}

/* The text must mean `to`, whatever was planned. */
static int verify(const struct encryption_config *config, const struct secret *text, const struct config_shape *to,
		  struct error **err)
{
	_cleanup_(encryption_config_freep) struct encryption_config *parsed = NULL;
	_cleanup_free_ char *name = xasprintf("%s, as changed", config->name);
	int rc = encryption_config_parse(name, text, &parsed, err);
	if (rc < 0)
		return rc;
	if (!config_shape_same(encryption_config_shape(parsed), to))
		return error_set(
			err, ERROR_INPUT,
			"%s: changing this text would not give what was asked for; write the file in a plainer form",
			config->name);
	return 0;
}

static int plan_and_apply(const struct encryption_config *config, const struct config_shape *to,
			  const struct keyring *extra, struct secret **ret, struct error **err)
{
	struct text_edits edits = {0};
	int rc = config_plan(config, to, extra, &edits, err);
	if (rc == 0)
		rc = text_edits_apply(config->text, 0, secret_len(config->text), &edits, CONFIG_CHANGED_MAX, ret, err);
	text_edits_free(&edits);
	return rc;
}

/* Whole lines move, so the last one gets its line end for as long as that goes on. */
static int edit_with_line_end(const struct encryption_config *config, const struct config_shape *to,
			      const struct keyring *extra, struct secret **ret, struct error **err)
{
	_cleanup_(encryption_config_freep) struct encryption_config *ended = NULL;
	_cleanup_secret_ text = secret_new(ENCRYPTION_CONFIG_MAX + 2);
	_cleanup_secret_ edited = NULL;
	const char *line_end = config_line_end(config);
	int rc = secret_append(text, secret_data(config->text), secret_len(config->text));
	if (rc == 0)
		rc = secret_append_text(text, line_end);
	if (rc == 0)
		rc = encryption_config_parse(config->name, text, &ended, err);
	if (rc == 0)
		rc = plan_and_apply(ended, to, extra, &edited, err);
	if (rc < 0)
		return rc;
	*ret = secret_from(secret_data(edited), secret_len(edited) - strlen(line_end));
	return 0;
}

static int edit_text(const struct encryption_config *config, const struct config_shape *to, const struct keyring *extra,
		     struct secret **ret, struct error **err)
{
	size_t len = secret_len(config->text);
	if (config_shape_same(config->shape, to)) {
		*ret = secret_from(secret_data(config->text), len);
		return 0;
	}
	int rc = check_line_ends(config, err);
	if (rc < 0)
		return rc;
	if (secret_data(config->text)[len - 1] == '\n')
		return plan_and_apply(config, to, extra, ret, err);
	return edit_with_line_end(config, to, extra, ret, err);
}

int encryption_config_edit(const struct encryption_config *config, const struct config_shape *to,
			   const struct keyring *extra, const char *nonce, struct secret **ret, struct error **err)
{
	_cleanup_secret_ edited = NULL;
	_cleanup_secret_ marked = NULL;
	if (!config_nonce_is_valid(nonce))
		return error_set(err, ERROR_INPUT, "a nonce that is not 1 to 64 printable characters");
	int rc = check_target(config, to, err);
	if (rc == 0)
		rc = edit_text(config, to, extra, &edited, err);
	if (rc == 0)
		rc = config_nonce_set(edited, nonce, &marked, err);
	if (rc == 0)
		rc = verify(config, marked, to, err);
	if (rc == 0)
		*ret = steal(marked);
	return rc;
}
