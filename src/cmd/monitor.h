/* What monitoring asks of a command that runs for long (--listen): started with it, ended with it. */
#pragma once
#include "cmd/options.h"
#include "net/web.h"
#include "serve/engine_metrics.h"

struct monitor;
/* *ret is NULL without --listen. Errors as serve_start's. Waits until it listens; says where. */
_must_check_ int monitor_open(const struct options *options, struct web *web, struct monitor **ret, struct error **err);
/* Takes the text's bytes. `not_ready`: why it cannot do its work; NULL: it can. */
void monitor_publish(struct monitor *monitor, struct metrics_text *text, const char *not_ready);
void monitor_close(struct monitor *monitor); /* NULL is fine */
void monitor_closep(struct monitor **monitor);
