/* Errors: one code that decides the exit status, one line for the person, context added on the way up.
 *
 * A function that can fail returns 0 or a negative error code and takes `struct error **err` last. On success
 * *err is untouched; on failure it is set once, at the place that knows what went wrong, and wrapped by callers
 * that know more ("reading secrets: page 3: ..."). Passing NULL for err drops the text and keeps the code.
 * Nothing below src/cmd prints an error or ends the process. */
#pragma once
#include <stdbool.h>

enum error_code {
	ERROR_NONE = 0,
	ERROR_INPUT,       /* a file, flag value or answer that a person gave is broken         exit 2 */
	ERROR_IO,          /* the operating system refused: file, socket, process               exit 2 */
	ERROR_NETWORK,     /* no connection, TLS failure, time-out, reset: may pass             exit 2 */
	ERROR_PROTOCOL,    /* the other side answered with something that its protocol forbids  exit 2 */
	ERROR_LIMIT,       /* something from outside is larger than its named cap               exit 2 */
	ERROR_AUTH,        /* 401 or 403, a certificate refused, an exec plugin that failed      exit 2 */
	ERROR_NOT_FOUND,   /* 404, ENOENT                                                       exit 2 */
	ERROR_CONFLICT,    /* 409, or a file that changed under us                              exit 2 */
	ERROR_EXPIRED,     /* 410, or an etcd revision that was compacted                       exit 2 */
	ERROR_BUSY,        /* 429, 5xx, or another kube-rekey is at work: try again later       exit 2 */
	ERROR_FINDING,     /* stale objects, quarantine: done, but not clean                    exit 1 */
	ERROR_REFUSED,     /* a safety rule is not met                                          exit 3 */
	ERROR_DEADLINE,    /* the person's deadline passed; the same command goes on            exit 4 */
	ERROR_USAGE,       /* the command line itself                                           exit 64 */
	ERROR_INTERRUPTED, /* SIGTERM or SIGINT; the same command goes on                 exit 143 or 130 */
};

#define ERROR_TEXT_MAX 2048

struct error; /* opaque; holds code, message, and optionally server, object and hint */

/* Sets *err (which must be NULL or point to NULL) and returns -code, so that failing is one line. The message is
 * one line without a full stop, says what was attempted, on what, and what came instead. Never a secret.
 * Here and in error_wrap and error_set_hint: a server's words may be part of it, so what could steer a terminal becomes
 * '?' and what is longer than ERROR_TEXT_MAX bytes ends in "...". */
int error_set(struct error **err, enum error_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* As error_set, and appends ": " and the text of errno_value. */
int error_set_errno(struct error **err, enum error_code code, int errno_value, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Puts "text: " before the message of *err, keeps its code, and returns -code. With err NULL returns rc as given;
 * with *err NULL (a callee that had no words) the text becomes the message of a new error with code -rc. */
int error_wrap(struct error **err, int rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A failure that is none here: where rc is -code, clears *err and returns 0. Otherwise returns rc. */
int error_forgive(struct error **err, int rc, enum error_code code);
/* Says what to do, which server, which object; printed after the message and as fields in JSON. Last call wins.
 * Nothing happens where err or *err is NULL. */
void error_set_hint(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void error_set_server(struct error **err, const char *server);
void error_set_object(struct error **err, const char *object);

enum error_code error_code(const struct error *err); /* ERROR_NONE for NULL */
const char *error_message(const struct error *err);  /* "" for NULL; owned by err */
const char *error_hint(const struct error *err);     /* NULL when none; likewise */
/* "MESSAGE; HINT" where there is one line for both, as in a log or a condition. New string; "" for NULL. */
char *error_with_hint(const struct error *err);
const char *error_server(const struct error *err);
const char *error_object(const struct error *err);
const char *error_code_name(enum error_code code); /* "refused": stable, for JSON */
int error_exit_status(enum error_code code);       /* 0, 1, 2, 3, 4, 64 or 143 (see the list above) */

/* Frees; NULL is fine. error_clear also sets *err to NULL. steal() (alloc.h) gives ownership away. */
void error_free(struct error *err);
void error_clear(struct error **err);
void error_freep(struct error **err);
#define _cleanup_error_ __attribute__((cleanup(error_freep))) struct error *

#if defined(__clang_analyzer__) || defined(KR_ANALYZER)
/* Analyzers look at one file at a time; without this they follow paths on which a failure is 0. */
#define error_set(err, code, ...) ((error_set)(err, code, __VA_ARGS__), -(int)(code))
#define error_set_errno(err, code, ...) ((error_set_errno)(err, code, __VA_ARGS__), -(int)(code))
#define error_wrap(err, rc, ...) ((error_wrap)(err, rc, __VA_ARGS__), rc)
#endif
