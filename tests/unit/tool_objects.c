/* Our custom resources against real API servers, for tests/e2e/test_objects.py: one command, one line on stdout; a failure
 * is "error CODE: message (hint)" on stderr and exit 1. "-" stands for nothing; documents come on stdin.
 *
 * tool_objects fields                                  the tables of fields, as JSON
 * tool_objects body KIND spec|status                   an object in, the body that is written of it out
 * tool_objects call KUBECONFIG VERB COLLECTION NAME SUBRESOURCE UID    a body in, the answer out
 * tool_objects list KUBECONFIG COLLECTION              names
 * tool_objects event KUBECONFIG NAME UID */
#include <stdio.h>
#include "base/clock.h"
#include "base/json_read.h"
#include "client/kube/custom.h"
#include "client/kube/event.h"
#include "engine/key_rotation.h"
#include "engine/key_server.h"
#include "net/kubeconfig.h"

#define OUT_CAP (4u << 20)

static char input[4u << 20];

static int fail(struct error *err)
{
	const char *hint = error_hint(err);

	fprintf(stderr, "error %s: %s%s%s%s\n", error_code_name(error_code(err)), error_message(err), hint ? " (" : "",
		hint ? hint : "", hint ? ")" : "");
	error_free(err);
	return 1;
}

static const char *given(const char *argument)
{
	return strcmp(argument, "-") == 0 ? NULL : argument;
}

static void read_input(void)
{
	input[fread(input, 1, sizeof(input) - 1, stdin)] = '\0';
}

/* --- the tables ------------------------------------------------------------------------------------------------- */

static void print_fields(struct json_writer *w, const struct object_record *record)
{
	static const char *const kinds[] = {
		[FIELD_TEXT] = "text",     [FIELD_NUMBER] = "number", [FIELD_STEP] = "number",
		[FIELD_BOOL] = "bool",     [FIELD_TEXTS] = "texts",   [FIELD_SHAPE] = "shape",
		[FIELD_SHAPES] = "shapes", [FIELD_RECORD] = "record", [FIELD_LIST] = "list",
	};

	json_object_begin(w);
	for (size_t i = 0; i < record->count; i++) {
		const struct object_field *field = &record->fields[i];

		json_key(w, field->name);
		json_object_begin(w);
		json_member_string(w, "kind", kinds[field->kind]);
		json_member_u64(w, "max", field->max);
		json_member_u64(w, "textMax", field->text_max);
		json_member_u64(w, "absent", field->absent);
		json_member_string(w, "fallback", field->fallback);
		if (field->record != NULL) {
			json_key(w, "fields");
			print_fields(w, field->record);
		}
		json_object_end(w);
	}
	json_object_end(w);
}

static int run_fields(void)
{
	struct json_writer w = JSON_WRITER_INIT(OUT_CAP);

	json_object_begin(&w);
	json_key(&w, "KeyRotation.spec");
	print_fields(&w, &key_rotation_spec_record);
	json_key(&w, "KeyRotation.status");
	print_fields(&w, &key_rotation_status_record);
	json_key(&w, "KeyServer.spec");
	print_fields(&w, &key_server_spec_record);
	json_key(&w, "KeyServer.status");
	print_fields(&w, &key_server_status_record);
	json_object_end(&w);
	printf("%s\n", json_text(&w));
	json_writer_free(&w);
	return 0;
}

/* --- bodies ----------------------------------------------------------------------------------------------------- */

static int rotation_body(const cJSON *json, bool status, char **ret, struct error **err)
{
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = NULL;
	int rc = key_rotation_parse(json, &rotation, err);

	if (rc < 0)
		return rc;
	return status ? key_rotation_status_body(rotation, ret, err) : key_rotation_spec_body(rotation, ret, err);
}

static int server_body(const cJSON *json, bool status, char **ret, struct error **err)
{
	_cleanup_(key_server_freep) struct key_server *server = NULL;
	int rc = key_server_parse(json, &server, err);

	if (rc < 0)
		return rc;
	return status ? key_server_status_body(server, ret, err) : key_server_spec_body(server, ret, err);
}

static int run_body(const char *kind, bool status)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_json_ json = NULL;
	struct error *err = NULL;
	int rc;

	read_input();
	rc = json_parse(input, strlen(input), "stdin", &json, &err);
	if (rc == 0 && strcmp(kind, "KeyRotation") == 0)
		rc = rotation_body(json, status, &text, &err);
	else if (rc == 0)
		rc = server_body(json, status, &text, &err);
	if (rc < 0)
		return fail(err);
	printf("%s\n", text);
	return 0;
}

/* --- calls ------------------------------------------------------------------------------------------------------ */

static int run_call(struct kube *kube, char **argv)
{
	static const char *const verbs[] = {
		[CUSTOM_GET] = "get",     [CUSTOM_LIST] = "list",   [CUSTOM_CREATE] = "create",
		[CUSTOM_APPLY] = "apply", [CUSTOM_PATCH] = "patch", [CUSTOM_DELETE] = "delete",
	};
	_cleanup_json_ answer = NULL;
	struct error *err = NULL;
	size_t verb = 0;
	char *text;

	while (verb + 1 < ELEMENTS(verbs) && strcmp(verbs[verb], argv[0]) != 0)
		verb++;
	read_input();
	if (kube_custom_fetch(kube,
			      &(struct kube_custom_request){.verb = (enum kube_custom_verb)verb,
							    .collection = argv[1],
							    .name = given(argv[2]),
							    .subresource = given(argv[3]),
							    .uid = given(argv[4]),
							    .body = input[0] != '\0' ? input : NULL},
			      &answer, &err) < 0)
		return fail(err);
	text = cJSON_PrintUnformatted(answer);
	printf("%s\n", text);
	cJSON_free(text);
	return 0;
}

static int print_name(void *arg, const cJSON *item, struct error **err)
{
	(void)arg;
	(void)err;
	printf("%s\n", json_text_at(json_at(item, "metadata", NULL), "name"));
	return 0;
}

static int run_list(struct kube *kube, char **argv)
{
	_cleanup_free_ char *version = NULL;
	struct error *err = NULL;

	if (kube_custom_list(kube, argv[0], 1000, print_name, NULL, &version, &err) < 0)
		return fail(err);
	return 0;
}

struct told {
	bool done;
	int rc;
	struct error *error;
};

static void on_told(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	(void)status;
	(void)answer;
	*(struct told *)arg = (struct told){.done = true, .rc = rc, .error = steal(*error)};
}

static int run_event(struct kube *kube, char **argv)
{
	struct told told = {0};
	struct error *err = NULL;

	kube_event_start(kube,
			 &(struct kube_event){.api_version = KEY_API_VERSION,
					      .kind = "KeyRotation",
					      .name = argv[0],
					      .uid = argv[1],
					      .instance = "test",
					      .reason = "Promoted",
					      .action = "Promote",
					      .note = "the new key writes",
					      .wall_now = clock_wall()},
			 on_told, &told);
	if (loop_run_until(kube->loop, &told.done, 0, &err) < 0)
		return fail(err);
	return told.rc < 0 ? fail(told.error) : 0;
}

static int run_kube(const char *command, const char *path, char **argv)
{
	struct kubeconfig_options options = {.explicit_path = path};
	struct kube kube = {.name = "server"};
	struct kube_access *access = NULL;
	struct error *err = NULL;
	int rc;

	if (loop_new(&kube.loop, &err) < 0 || kube_access_load(&options, &access, &err) < 0 ||
	    kube_access_client(access, kube.loop, NULL, 2, &kube.http, &err) < 0)
		return fail(err);
	if (strcmp(command, "call") == 0)
		rc = run_call(&kube, argv);
	else if (strcmp(command, "list") == 0)
		rc = run_list(&kube, argv);
	else
		rc = run_event(&kube, argv);
	http_client_free(kube.http);
	kube_access_free(access);
	loop_free(kube.loop);
	return rc;
}

int main(int argc, char **argv)
{
	json_install_hooks();
	if (argc == 2 && strcmp(argv[1], "fields") == 0)
		return run_fields();
	if (argc == 4 && strcmp(argv[1], "body") == 0)
		return run_body(argv[2], strcmp(argv[3], "status") == 0);
	if ((argc == 8 && strcmp(argv[1], "call") == 0) || (argc == 4 && strcmp(argv[1], "list") == 0) ||
	    (argc == 5 && strcmp(argv[1], "event") == 0))
		return run_kube(argv[1], argv[2], argv + 3);
	return 64;
}
