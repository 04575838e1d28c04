#include "cmd/monitor.h"

#include <stdio.h>

#include "base/clock.h"
#include "serve/serve.h"

/* It is published each second: an engine that does not is beyond any wait of its own. */
#define ALIVE_WITHIN (30 * NS_PER_S)

struct monitor {
	struct serve *serve;
	char *problem; /* that was told */
};

int monitor_open(const struct options *o, struct web *web, struct monitor **ret, struct error **err)
{
	const struct serve_options options = {
		.listen = o->listen, .cert_file = o->tls_cert, .key_file = o->tls_key, .alive_within = ALIVE_WITHIN};
	if (!o->listen)
		return 0;
	struct monitor *monitor = xcalloc(1, sizeof(*monitor));
	int rc = serve_start(web, &options, &monitor->serve, err);
	if (rc < 0) {
		monitor_close(monitor);
		return rc;
	}
	fprintf(stderr, "serving /metrics, /healthz and /readyz at port %u\n", serve_port(monitor->serve));
	*ret = monitor;
	return 0;
}

static void tell_problem(struct monitor *monitor)
{
	const char *problem = serve_problem(monitor->serve);
	if (problem && !text_equal(problem, monitor->problem))
		fprintf(stderr, "the certificate is served as it was: %s\n", problem);
	free(monitor->problem);
	monitor->problem = problem ? xstrdup(problem) : NULL;
}

void monitor_publish(struct monitor *monitor, struct metrics_text *text, const char *not_ready)
{
	tell_problem(monitor);
	/* Without a text /healthz soon says so. */
	if (metrics_text(text))
		serve_publish(monitor->serve, &text->out, !not_ready, not_ready);
}

void monitor_close(struct monitor *monitor)
{
	if (!monitor)
		return;
	serve_stop(monitor->serve);
	free(monitor->problem);
	free(monitor);
}

void monitor_closep(struct monitor **monitor)
{
	monitor_close(*monitor);
}
