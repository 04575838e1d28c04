#include "format/config_scalar.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/secret.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Whether every YAML reader takes it for the same text: letters decide that it is no number, date or duration in any
 * of the schemas about. Narrower than YAML allows. */
static bool is_plain(const char *text, bool flow)
{
	size_t len = strlen(text);
	if (len == 0 || strspn(text, LETTERS "0123456789_./+=-:") != len || !yaml_plain_is_string(text))
		return false;
	if (!strchr(LETTERS "/", text[0]) && strcspn(text, "ghijklmnpqrstuvwyzGHIJKLMNPQRSTUVWYZ/=") == len)
		return false;
	if (strchr("+-.=:", text[0]) && text[0] != '+')
		return false;
	/* "unix:///run/x" is plain where it always was; a ':' before a blank or an end is not. */
	for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':')) {
		if (flow || colon[1] != '/')
			return false;
	}
	return true;
}

static int write_single(const char *text, struct secret *out)
{
	int rc = secret_append_text(out, "'");
	while (rc == 0 && *text) {
		size_t len = strcspn(text, "'");
		rc = secret_append(out, text, len);
		text += len;
		if (rc == 0 && *text) {
			rc = secret_append_text(out, "''");
			text++;
		}
	}
	return rc < 0 ? rc : secret_append_text(out, "'");
}

static int write_escape(unsigned char c, struct secret *out)
{
	char escape[8];
	if (c == '"' || c == '\\')
		snprintf(escape, sizeof(escape), "\\%c", c);
	else
		snprintf(escape, sizeof(escape), "\\u%04x", c);
	return secret_append_text(out, escape);
}

static int write_double(const char *text, struct secret *out)
{
	int rc = secret_append_text(out, "\"");
	for (; rc == 0 && *text; text++) {
		unsigned char c = (unsigned char)*text;
		rc = c < 0x20 || c == 0x7f || c == '"' || c == '\\' ? write_escape(c, out)
								    : secret_append(out, text, 1);
	}
	return rc < 0 ? rc : secret_append_text(out, "\"");
}

static bool is_printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

int scalar_write(const char *text, enum tree_style style, bool flow, struct secret *out)
{
	if ((style == TREE_PLAIN || style == TREE_BLOCK_SCALAR) && is_plain(text, flow))
		return secret_append_text(out, text);
	if (style == TREE_DOUBLE_QUOTED || !is_printable(text))
		return write_double(text, out);
	return write_single(text, out);
}
