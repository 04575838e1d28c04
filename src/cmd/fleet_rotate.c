#include "cmd/fleet_rotate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "client/kube/custom.h"
#include "cmd/fleet_follow.h"
#include "cmd/rotating.h"
#include "engine/asked.h"
#include "engine/key_rotation_fetch.h"

#define CERT_MAX 16384
#define SPEC_JSON_MAX (256u << 10)
#define NAME_RANDOM 3 /* bytes */

/* --- what is asked --- */

/* Options of rotate that a controller and its agents have no use for. */
static const struct {
	const char *option, *why;
} of_one_server[] = {
	{"--new-key-copy", "each node has the new key"},
	{"--out", "agents write the files"},
	{"--out-seal", "agents write the files"},
	{"--as-deployed", "agents write the files"},
	{"--apply", "each agent has its own --apply"},
	{"--state-dir", "each agent has its own --state-dir"},
	{"--record", "the controller has its own --record"},
	{"--encryption-config", "agents know their own files"},
	{"--apiserver-manifest", "agents know their own servers"},
	{"--apiserver-request-timeout", "the controller has its own"},
	{"--etcd-endpoints", "agents know their own etcd"},
	{"--etcd-cacert", "agents know their own etcd"},
	{"--etcd-cert", "agents know their own etcd"},
	{"--etcd-key", "agents know their own etcd"},
	{"--etcd-prefix", "agents know their own etcd"},
};

static int check_options(const struct options *o, struct error **err)
{
	for (size_t i = 0; i < ELEMENTS(of_one_server); i++) {
		if (!options_given(o, of_one_server[i].option))
			continue;
		int rc = error_set(err, ERROR_USAGE, "%s says nothing to --target agents: %s", of_one_server[i].option,
				   of_one_server[i].why);
		error_set_hint(err,
			       "the target is agents since KeyServers exist; leave the option out, or say --target "
			       "file for an API server that they do not name");
		return rc;
	}
	return 0;
}

/* What the definition of KeyRotations would refuse, in the words of the command line. */
static int check_kms_options(const struct options *o, struct error **err)
{
	bool to_kms = text_equal(o->provider, "kms"), named = o->kms_name && o->kms_endpoint;
	if (o->follow_kms && (o->to || o->provider || o->renew_dek || o->drop_keys.count > 0 || o->drop_identity))
		return error_set(err, ERROR_USAGE,
				 "--follow-kms changes no configuration: it excludes --to, --provider, --renew-dek, "
				 "--drop-key and --drop-identity");
	if (o->renew_dek && (o->provider || o->drop_keys.count > 0 || o->drop_identity))
		return error_set(
			err, ERROR_USAGE,
			"--renew-dek with several servers excludes --provider, --drop-key and --drop-identity");
	if (to_kms && !named)
		return error_set(err, ERROR_USAGE, "--provider kms needs --kms-name and --kms-endpoint");
	if (!to_kms && (o->kms_name || o->kms_endpoint || o->kms_timeout))
		return error_set(err, ERROR_USAGE,
				 "--kms-name, --kms-endpoint and --kms-timeout go with --provider kms");
	return 0;
}

static int take_old_key(const struct options *o, struct key_rotation_spec *ret, struct error **err)
{
	_cleanup_secret_ pem = NULL;
	const char *old_key = o->old_key ? o->old_key : "keep";
	free(ret->old_key);
	ret->old_key = NULL;
	if (!text_starts(old_key, "seal:")) {
		if (!text_equal(old_key, "keep") && !text_equal(old_key, "destroy"))
			return error_set(err, ERROR_USAGE, "--old-key %s: it is one of keep, seal:CERT, destroy",
					 old_key);
		ret->old_key = xstrdup(old_key);
		return 0;
	}
	int rc = file_read(old_key + strlen("seal:"), CERT_MAX, &pem, err);
	if (rc < 0)
		return error_wrap(err, rc, "--old-key");
	if (memchr(secret_text(pem), '\0', secret_len(pem)))
		return error_set(err, ERROR_INPUT, "--old-key %s: no PEM file", old_key);
	const char *begin = strstr(secret_text(pem), "-----BEGIN CERTIFICATE-----");
	ret->old_key = xstrdup("seal");
	ret->old_key_cert = xstrdup(begin ? begin : secret_text(pem)); /* without the words before it */
	/* It goes into an object that many may read. */
	if (strstr(secret_text(pem), "PRIVATE KEY"))
		return error_set(err, ERROR_REFUSED,
				 "--old-key %s: the file has a private key in it; give the certificate "
				 "alone",
				 old_key);
	return 0;
}

/* Names and fingerprints: what bytes the file has stay here. */
static int take_target(const struct options *o, struct key_rotation_spec *ret, struct error **err)
{
	_cleanup_secret_ text = NULL;
	_cleanup_(config_shape_freep) struct config_shape *shape = NULL;
	if (!o->to)
		return 0;
	if (o->provider || o->renew_dek || o->drop_keys.count > 0 || o->drop_identity)
		return error_set(err, ERROR_USAGE,
				 "--to FILE says all: it excludes --provider, --drop-key and --drop-identity");
	int rc = file_read(o->to, ENCRYPTION_CONFIG_MAX, &text, err);
	if (rc == 0)
		rc = encryption_config_parse_names(o->to, text, &shape, err);
	if (rc == 0)
		asked_take_shape(shape, ret);
	return rc < 0 ? error_wrap(err, rc, "--to") : 0;
}

static void take_kms(const struct options *o, struct key_rotation_spec *ret)
{
	ret->kms.name = o->kms_name ? xstrdup(o->kms_name) : NULL;
	ret->kms.endpoint = o->kms_endpoint ? xstrdup(o->kms_endpoint) : NULL;
	ret->kms.timeout = o->kms_timeout;
}

static void copy_list(struct strings *to, const struct strings *from)
{
	for (size_t i = 0; i < from->count; i++)
		strings_add(to, from->items[i]);
}

/* Whole seconds, never fewer than were said. */
static uint64_t seconds(uint64_t ns)
{
	return ns / NS_PER_S + (ns % NS_PER_S != 0);
}

int fleet_rotate_spec(const struct options *o, struct key_rotation_spec *ret, struct error **err)
{
	struct key_rotation_spec spec = {0};
	int rc = check_options(o, err);
	if (rc < 0)
		return rc;
	object_defaults(&key_rotation_spec_record, &spec);
	rc = check_kms_options(o, err);
	if (rc == 0)
		rc = take_old_key(o, &spec, err);
	if (rc == 0)
		rc = take_target(o, &spec, err);
	if (rc < 0) {
		object_release(&key_rotation_spec_record, &spec);
		return rc;
	}
	spec.renew_dek = o->renew_dek;
	spec.follow_kms = o->follow_kms;
	if (!o->to && !o->renew_dek && !o->follow_kms)
		spec.provider = xstrdup(o->provider ? o->provider : "same");
	take_kms(o, &spec);
	if (o->mode) {
		free(spec.mode);
		spec.mode = xstrdup(o->mode);
	}
	copy_list(&spec.drop_keys, &o->drop_keys);
	copy_list(&spec.foreign_prefixes, &o->foreign_prefixes);
	spec.drop_identity = o->drop_identity;
	spec.compact = o->compact;
	spec.allow_aesgcm = o->allow_aesgcm;
	spec.settle_seconds = seconds(o->settle);
	spec.deadline_seconds = seconds(o->deadline);
	spec.servers = o->servers;
	spec.qps = o->qps;
	if (options_given(o, "--concurrency"))
		spec.concurrency = o->concurrency;
	*ret = spec;
	return 0;
}

/* The spec as JSON, but for what may be changed at any time, and for how long somebody will wait. New string, NULL where it
 * is not within the caps. */
static char *what_is_asked(const struct key_rotation_spec *spec)
{
	struct json_writer w = JSON_WRITER_INIT(SPEC_JSON_MAX);
	struct key_rotation_spec asked = *spec;
	char *text = NULL;
	asked.qps = asked.concurrency = asked.deadline_seconds = 0;
	asked.paused = asked.aborted = false;
	if (object_write(&key_rotation_spec_record, &asked, &w, NULL) == 0 && json_text(&w))
		text = xstrdup(json_text(&w));
	json_writer_free(&w);
	return text;
}

bool fleet_rotate_asks_same(const struct key_rotation_spec *a, const struct key_rotation_spec *b)
{
	_cleanup_free_ char *text_a = what_is_asked(a), *text_b = what_is_asked(b);
	return text_a && text_equal(text_a, text_b);
}

/* --- a rotation that goes on already --- */

static int change_once(const struct options *o, struct kube *kube, const struct key_rotation *rotation,
		       struct error **err)
{
	const struct key_rotation_spec *spec = &rotation->spec;
	uint64_t qps = options_given(o, "--qps") ? o->qps : spec->qps;
	uint64_t concurrency = options_given(o, "--concurrency") ? o->concurrency : spec->concurrency;
	uint64_t deadline = options_given(o, "--deadline") ? seconds(o->deadline) : spec->deadline_seconds;
	_cleanup_free_ char *change =
		xasprintf("{\"qps\":%llu,\"concurrency\":%llu,\"deadlineSeconds\":%llu}", (unsigned long long)qps,
			  (unsigned long long)concurrency, (unsigned long long)deadline);
	if (qps == spec->qps && concurrency == spec->concurrency && deadline == spec->deadline_seconds)
		return 0;
	return rotations_patch(kube, rotation, change, err);
}

/* Options that may be said again, later and otherwise: its speed, and its time. */
static int change_again(const struct options *o, struct kube *kube, const struct key_rotation *rotation,
			struct error **err)
{
	int rc = change_once(o, kube, rotation, err);
	for (unsigned try = 0; rc == -ERROR_CONFLICT && try < ROTATION_TRIES; try++) {
		_cleanup_(key_rotation_freep) struct key_rotation *now = NULL;
		error_clear(err);
		rc = key_rotation_fetch(kube, rotation->meta.name, 0, &now, err);
		if (rc == 0)
			rc = change_once(o, kube, now, err);
	}
	return rc < 0 ? error_wrap(err, rc, "its speed and deadline were not changed") : 0;
}

static int refuse_another(const struct command_context *context, const struct key_rotation *rotation,
			  struct error **err)
{
	_cleanup_free_ char *words = rotation_words(rotation);
	int rc = error_set(err, ERROR_REFUSED, "KeyRotation %s is under way (%s), and asks for something else",
			   rotation->meta.name, words);
	error_set_hint(err,
		       "follow it with the options that began it, or have another one begin after it: %s rotate "
		       "--name NEW-NAME",
		       context->invoked_as);
	return rc;
}

/* The same command goes on: what asks for the same and is not over is followed, and nothing else is begun. *ret stays NULL
 * where a new one is to be made. Lent. */
static int find_begun(struct command_context *context, const struct rotations *rotations,
		      const struct key_rotation_spec *asked, const struct key_rotation **ret, struct error **err)
{
	const struct options *o = &context->options;
	const struct key_rotation *other = NULL;
	for (size_t i = 0; i < rotations->count; i++) {
		const struct key_rotation *rotation = rotations->items[i];
		if (o->name && !text_equal(rotation->meta.name, o->name))
			continue;
		if (rotation_is_over(rotation) && !o->name)
			continue;
		if (rotation_is_over(rotation)) {
			_cleanup_free_ char *words = rotation_words(rotation);
			return error_set(err, ERROR_INPUT, "KeyRotation %s is over (%s): take another name", o->name,
					 words);
		}
		if (fleet_rotate_asks_same(&rotation->spec, asked)) {
			*ret = rotation;
			return 0;
		}
		other = rotation;
	}
	return other ? refuse_another(context, other, err) : 0;
}

/* --- a new one --- */

static char *new_name(void)
{
	char time[16];
	_cleanup_secret_ random = secret_random(NAME_RANDOM);
	_cleanup_free_ char *hex = text_hex(secret_data(random), NAME_RANDOM);
	clock_format_compact(clock_wall(), time);
	char *name = xasprintf("rekey-%s-%s", time, hex);
	for (char *c = name; *c; c++) /* an object's name has small letters only */
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return name;
}

static int confirm(const struct command_context *context, struct session *session, const struct key_rotation *rotation,
		   struct error **err)
{
	const struct key_rotation_spec *spec = &rotation->spec;
	if (context->options.yes)
		return 0;
	_cleanup_free_ char *what = spec->follow_kms  ? xstrdup("no new configuration, but the KMS's next key")
				    : spec->renew_dek ? xstrdup("the same KMS plugin under a new name")
				    : spec->kms.name  ? xasprintf("KMS plugin %s", spec->kms.name)
				    : !spec->provider ? xasprintf("the configuration of %s", context->options.to)
				    : text_equal(spec->provider, "same")
					    ? xstrdup("a new key of the same kind")
					    : xasprintf("a new key of kind %s", spec->provider);
	fprintf(stderr, "KeyRotation %s: %s on every API server; old key: %s. ", rotation->meta.name, what,
		spec->old_key);
	return rotating_ask(session->cluster->loop, err);
}

static int create(struct session *session, const struct key_rotation *rotation, struct error **err)
{
	_cleanup_free_ char *body = NULL;
	int rc = key_rotation_spec_body(rotation, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {
		.verb = CUSTOM_CREATE, .collection = KEY_ROTATIONS_PATH, .body = body};
	return kube_custom_fetch(&session->cluster->kube, &request, NULL, err);
}

/* Named as kubectl names what it made. */
static void print_begun(struct command_context *context, const struct key_rotation *rotation, bool made)
{
	const struct fleet none = {0};
	if (context->options.json) {
		_cleanup_(rotation_report_freep) struct rotation_report *report =
			key_rotation_report(rotation, &none, clock_wall());
		rotating_print_report(context, report, 0);
		return;
	}
	printf("keyrotation.kube-rekey.dev/%s %s\n", rotation->meta.name, made ? "created" : "goes on");
	fflush(stdout);
}

/* What the controller would refuse once it is there, by the first server that reports: better known before. */
static int check_target(struct session *session, const struct key_rotation_spec *spec, struct error **err)
{
	struct fleet fleet = {0};
	const struct config_shape *from = NULL;
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_(path_freep) struct path *path = NULL;
	_cleanup_strings_ new_keys = {0};
	int rc = fleet_read(&fleet, &session->cluster->kube, err);
	for (size_t i = 0; rc == 0 && !from && i < fleet.count; i++)
		from = fleet.servers[i].last->status.configuration;
	if (rc == 0 && from)
		rc = asked_target(spec, clock_wall(), from, &to, &new_keys, err);
	if (rc == 0 && from)
		rc = asked_path(from, to, &path, err);
	fleet_free(&fleet);
	return rc;
}

static int begin_or_find(struct command_context *context, struct session *session, struct key_rotation *asked,
			 struct error **err)
{
	const struct key_rotation *begun = NULL;
	struct rotations rotations = {0};
	int rc = rotations_read(&session->cluster->kube, &rotations, err);
	if (rc < 0)
		return rc;
	rc = find_begun(context, &rotations, &asked->spec, &begun, err);
	if (rc == 0 && begun) {
		free(asked->meta.name);
		asked->meta.name = xstrdup(begun->meta.name);
		screen_line(&context->screen, "KeyRotation %s asks for this already", begun->meta.name);
		rc = change_again(&context->options, &session->cluster->kube, begun, err);
	} else if (rc == 0) {
		rc = check_target(session, &asked->spec, err);
		if (rc == 0)
			rc = confirm(context, session, asked, err);
		if (rc == 0)
			rc = create(session, asked, err);
	}
	if (rc == 0 && context->options.no_wait)
		print_begun(context, begun ? begun : asked, !begun);
	else if (rc == 0 && !begun)
		screen_line(&context->screen, "KeyRotation %s created; Ctrl-C leaves it running", asked->meta.name);
	rotations_free(&rotations);
	return rc;
}

int fleet_rotate(struct command_context *context, struct session *session, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_free_ char *made_name = o->name ? NULL : new_name();
	_cleanup_(key_rotation_freep) struct key_rotation *asked = key_rotation_new(o->name ? o->name : made_name);
	session_tell_target(session);
	object_release(&key_rotation_spec_record, &asked->spec);
	int rc = fleet_rotate_spec(o, &asked->spec, err);
	if (rc == 0)
		rc = asked_check(&asked->spec, err);
	if (rc == 0)
		rc = begin_or_find(context, session, asked, err);
	if (rc < 0 || o->no_wait)
		return rc;
	return fleet_follow(context, session, asked->meta.name, err);
}
