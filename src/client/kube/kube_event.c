/* events.k8s.io/v1, Event. Validation: pkg/apis/core/validation/events.go of kube-apiserver. */
#include "base/clock.h"
#include "base/json_writer.h"
#include "client/kube/event.h"
#include "client/kube/kube_internal.h"

/* Events about cluster-scoped objects live here. */
#define EVENT_NAMESPACE "default"
#define EVENTS "/apis/events.k8s.io/v1/namespaces/" EVENT_NAMESPACE "/events"
#define REPORTING_CONTROLLER "kube-rekey.dev/controller"
#define WORD_MAX 128
#define NOTE_MAX 1024
#define EVENT_CAP 16384

static void write_cut(struct json_writer *w, const char *key, const char *text, size_t max)
{
	_cleanup_free_ char *cut = text_printable(text, strlen(text), strlen(text) > max ? max - 3 : max);

	json_member_string(w, key, cut);
}

static void write_regarding(struct json_writer *w, const struct kube_event *event)
{
	json_key(w, "regarding");
	json_object_begin(w);
	json_member_string(w, "apiVersion", event->api_version);
	json_member_string(w, "kind", event->kind);
	json_member_string(w, "name", event->name);
	if (!text_empty(event->uid))
		json_member_string(w, "uid", event->uid);
	json_object_end(w);
}

static void write_event(struct json_writer *w, const struct kube_event *event)
{
	_cleanup_free_ char *prefix = xasprintf("%s-", event->name);
	char now[28];

	clock_format(event->wall_now, 1, now);
	json_object_begin(w);
	json_member_string(w, "apiVersion", "events.k8s.io/v1");
	json_member_string(w, "kind", "Event");
	json_key(w, "metadata");
	json_object_begin(w);
	json_member_string(w, "generateName", prefix);
	json_member_string(w, "namespace", EVENT_NAMESPACE);
	json_object_end(w);
	write_regarding(w, event);
	json_member_string(w, "eventTime", now);
	json_member_string(w, "reportingController", REPORTING_CONTROLLER);
	write_cut(w, "reportingInstance", event->instance, WORD_MAX);
	write_cut(w, "reason", event->reason, WORD_MAX);
	write_cut(w, "action", event->action, WORD_MAX);
	write_cut(w, "note", event->note, NOTE_MAX);
	json_member_string(w, "type", event->warning ? "Warning" : "Normal");
	json_object_end(w);
}

static void on_told(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	(void)arg;
	(void)rc;
	(void)status;
	(void)answer;
	(void)error;
}

struct kube_json_call *
kube_event_start(struct kube *kube, const struct kube_event *event,
		 void (*on_done)(void *arg, int rc, unsigned status, cJSON **answer, struct error **error), void *arg)
{
	struct json_writer w = JSON_WRITER_INIT(EVENT_CAP);
	struct kube_json_call *call;

	write_event(&w, event);
	if (json_text(&w) == NULL) /* every part is capped */
		abort();
	call = kube_json_start(kube, &(struct kube_json_request){.method = "POST",
								 .path = EVENTS,
								 .body = json_text(&w),
								 .object = "event",
								 .on_done = on_done ? on_done : on_told,
								 .arg = arg});
	json_writer_free(&w);
	return call;
}
