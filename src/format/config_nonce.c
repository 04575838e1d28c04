#include "format/config_nonce.h"
#include <string.h>
#include "base/error.h"
#include "base/secret.h"
#include "format/config_internal.h"

#define NONCE_MAX 64
#define FRAME 96 /* blanks; more than any printable character is behind ' ' */

static const char comment[] = "# kube-rekey nonce ";

bool config_nonce_is_valid(const char *nonce)
{
	size_t len = nonce ? strlen(nonce) : 0;
	for (size_t i = 0; i < len; i++) {
		if (nonce[i] <= ' ' || nonce[i] > '~')
			return false;
	}
	return len >= 1 && len <= NONCE_MAX;
}

static const char *line_end_of(const char *text)
{
	const char *end = strchr(text, '\n');
	return end && end > text && end[-1] == '\r' ? "\r\n" : "\n";
}

/* The number of blanks if the line that ends before `end` (at its '\n') has nothing else, or -1; *begin is its start. */
static int blank_line(const char *text, size_t end, size_t *begin)
{
	size_t at = end;
	if (at == 0 || text[at - 1] != '\n')
		return -1;
	at--;
	if (at > 0 && text[at - 1] == '\r')
		at--;
	size_t last = at;
	while (at > 0 && text[at - 1] == ' ')
		at--;
	if (at == 0 || text[at - 1] != '\n' || last - at > FRAME)
		return -1;
	*begin = at;
	return (int)(last - at);
}

/* The text's length without an older nonce at its end. */
static size_t without_frame(const char *text, size_t len)
{
	size_t at, next;
	if (blank_line(text, len, &at) != FRAME)
		return len;
	for (unsigned lines = 0; lines <= NONCE_MAX; lines++) {
		int blanks = blank_line(text, at, &next);
		if (blanks == FRAME)
			return next;
		if (blanks < 1)
			return len;
		at = next;
	}
	return len;
}

static int append_blanks(struct secret *out, size_t count, const char *line_end)
{
	char blanks[FRAME];
	memset(blanks, ' ', sizeof(blanks));
	int rc = secret_append(out, blanks, count);
	return rc < 0 ? rc : secret_append_text(out, line_end);
}

static int set_in_json(const struct secret *text, const char *nonce, struct secret *out)
{
	const char *data = secret_text(text), *line_end = line_end_of(data);
	size_t len = without_frame(data, secret_len(text));
	int rc = secret_append(out, data, len);
	if (rc == 0 && len > 0 && data[len - 1] != '\n')
		rc = secret_append_text(out, line_end);
	if (rc == 0)
		rc = append_blanks(out, FRAME, line_end);
	for (; rc == 0 && *nonce; nonce++)
		rc = append_blanks(out, (size_t)(*nonce - ' '), line_end);
	return rc < 0 ? rc : append_blanks(out, FRAME, line_end);
}

static bool is_comment(const char *line)
{
	line += strspn(line, " \t");
	return strncmp(line, comment, strlen(comment)) == 0;
}

static int set_in_yaml(const struct secret *text, const char *nonce, size_t start, struct secret *out)
{
	const char *data = secret_text(text), *line_end = line_end_of(data), *line = data + start;
	bool first = true;
	int rc = secret_append(out, data, start);
	bool fresh = true; /* no older one anywhere: the first line it is */
	for (const char *at = line; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		fresh = fresh && !is_comment(at);
	while (rc == 0 && (*line || fresh)) {
		size_t len = strcspn(line, "\n"), whole = len + (line[len] == '\n');
		bool older = is_comment(line);
		if (fresh || (older && first)) {
			rc = secret_append(out, line, fresh ? 0 : strspn(line, " \t"));
			if (rc == 0)
				rc = secret_append_text(out, comment);
			if (rc == 0)
				rc = secret_append_text(out, nonce);
			if (rc == 0)
				rc = secret_append_text(out, line_end);
			first = false;
		}
		fresh = false;
		if (rc == 0 && !older)
			rc = secret_append(out, line, whole);
		line += whole;
	}
	return rc;
}

int config_nonce_set(const struct secret *text, const char *nonce, struct secret **ret, struct error **err)
{
	_cleanup_secret_ out = secret_new(CONFIG_CHANGED_MAX);
	const char *data = secret_text(text);
	size_t start = strncmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	const char *first = data + start + strspn(data + start, " \t\r\n");
	int rc = *first == '{' || *first == '[' ? set_in_json(text, nonce, out) : set_in_yaml(text, nonce, start, out);
	if (rc < 0)
		return error_set(err, ERROR_INPUT, "the changed file would be larger than 2 MiB");
	*ret = steal(out);
	return 0;
}
