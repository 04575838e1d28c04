#include "base/error.h"
#include "base/alloc.h"
#include "base/text.h"
#include <assert.h>
#include <stdint.h>

struct error {
	enum error_code code;
	char *message;
	char *hint;
	char *server;
	char *object;
};

static const struct {
	const char *name;
	int exit_status;
} codes[] = {
	[ERROR_NONE] = {"none", 0},
	[ERROR_INPUT] = {"input", 2},
	[ERROR_IO] = {"io", 2},
	[ERROR_NETWORK] = {"network", 2},
	[ERROR_PROTOCOL] = {"protocol", 2},
	[ERROR_LIMIT] = {"limit", 2},
	[ERROR_AUTH] = {"auth", 2},
	[ERROR_NOT_FOUND] = {"not-found", 2},
	[ERROR_CONFLICT] = {"conflict", 2},
	[ERROR_EXPIRED] = {"expired", 2},
	[ERROR_BUSY] = {"busy", 2},
	[ERROR_FINDING] = {"finding", 1},
	[ERROR_REFUSED] = {"refused", 3},
	[ERROR_DEADLINE] = {"deadline", 4},
	[ERROR_USAGE] = {"usage", 64},
	[ERROR_INTERRUPTED] = {"interrupted", 143},
};

/* Takes `text` and gives back one line that is safe on a terminal. */
static char *one_line(char *text)
{
	char *line = text_printable(text, strlen(text), ERROR_TEXT_MAX);
	free(text);
	return line;
}

__attribute__((format(printf, 1, 0))) static char *format_line(const char *fmt, va_list args)
{
	return one_line(xvasprintf(fmt, args));
}

/* Takes `message`, which nobody wants where err is NULL. */
static int set(struct error **err, enum error_code code, char *message)
{
	if (!err) {
		free(message);
		return -(int)code;
	}
	assert(!*err);
	*err = xcalloc(1, sizeof(**err));
	(*err)->code = code;
	(*err)->message = message;
	return -(int)code;
}

int(error_set)(struct error **err, enum error_code code, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *message = format_line(fmt, args);
	va_end(args);
	return set(err, code, message);
}

int(error_set_errno)(struct error **err, enum error_code code, int errno_value, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *what = format_line(fmt, args);
	va_end(args);
	char reason[128];
	return set(err, code, one_line(xasprintf("%s: %s", what, strerror_r(errno_value, reason, sizeof(reason)))));
}

int(error_wrap)(struct error **err, int rc, const char *fmt, ...)
{
	if (!err)
		return rc;
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *context = format_line(fmt, args);
	va_end(args);
	if (!*err)
		return set(err, (enum error_code) - rc, steal(context));
	char *message = one_line(xasprintf("%s: %s", context, (*err)->message));
	free((*err)->message);
	(*err)->message = message;
	return -(int)(*err)->code;
}

int error_forgive(struct error **err, int rc, enum error_code code)
{
	if (rc != -(int)code)
		return rc;
	if (err)
		error_clear(err);
	return 0;
}

static void replace(char **place, char *text)
{
	free(*place);
	*place = text;
}

void error_set_hint(struct error **err, const char *fmt, ...)
{
	if (!err || !*err)
		return;
	va_list args;
	va_start(args, fmt);
	replace(&(*err)->hint, format_line(fmt, args));
	va_end(args);
}

void error_set_server(struct error **err, const char *server)
{
	if (err && *err)
		replace(&(*err)->server, one_line(xstrdup(server)));
}

void error_set_object(struct error **err, const char *object)
{
	if (err && *err)
		replace(&(*err)->object, one_line(xstrdup(object)));
}

enum error_code error_code(const struct error *err)
{
	return err ? err->code : ERROR_NONE;
}

const char *error_message(const struct error *err)
{
	return err ? err->message : "";
}

const char *error_hint(const struct error *err)
{
	return err ? err->hint : NULL;
}

char *error_with_hint(const struct error *err)
{
	const char *hint = error_hint(err);
	return xasprintf("%s%s%s", error_message(err), hint ? "; " : "", hint ? hint : "");
}

const char *error_server(const struct error *err)
{
	return err ? err->server : NULL;
}

const char *error_object(const struct error *err)
{
	return err ? err->object : NULL;
}

const char *error_code_name(enum error_code code)
{
	assert((size_t)code < ELEMENTS(codes));
	return codes[code].name;
}

int error_exit_status(enum error_code code)
{
	assert((size_t)code < ELEMENTS(codes));
	return codes[code].exit_status;
}

void error_free(struct error *err)
{
	if (!err)
		return;
	free(err->message);
	free(err->hint);
	free(err->server);
	free(err->object);
	free(err);
}

void error_clear(struct error **err)
{
	error_free(*err);
	*err = NULL;
}

void error_freep(struct error **err)
{
	error_free(*err);
}
