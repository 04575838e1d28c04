/* What was proved by a rotation, afterwards: found again, signed, checked. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_read.h"
#include "cmd/fleet_follow.h"
#include "engine/key_word.h"
#include "engine/report_store.h"
#include "engine/sign.h"

#define ARN_MAX 2048

static int check_options(const struct options *o, struct error **err)
{
	if (o->argument_count > 1)
		return error_set(err, ERROR_USAGE, "report takes the name of one rotation");
	if (!o->verify && (o->ca || o->signer))
		return error_set(err, ERROR_USAGE, "--ca and --signer are for --verify");
	if (!o->sign_key != !o->sign_cert)
		return error_set(err, ERROR_USAGE, "--sign-key and --sign-cert go together");
	if (o->kms_key_arn && o->cloudtrails.count == 0)
		return error_set(err, ERROR_USAGE, "--kms-key-arn is for --cloudtrail");
	if (o->kms_key_arn && strlen(o->kms_key_arn) > ARN_MAX)
		return error_set(err, ERROR_USAGE, "--kms-key-arn: longer than %d bytes", ARN_MAX);
	if (o->kms_key_arn && key_id_is_alias(o->kms_key_arn))
		return error_set(err, ERROR_USAGE,
				 "--kms-key-arn: CloudTrail names keys by their ARNs, and %s is an alias: say the ARN "
				 "of the key that it led to",
				 o->kms_key_arn);
	if (o->verify && (o->sign_key || o->cloudtrails.count > 0 || o->argument_count > 0))
		return error_set(err, ERROR_USAGE,
				 "--verify shows what is in its file: nothing is chosen, signed or "
				 "added");
	return 0;
}

/* --- finding it --- */

/* Of two reports the one that ended later; RFC 3339 in UTC sorts as text. */
static bool is_later(const struct rotation_report *a, const struct rotation_report *b)
{
	return !b || strcmp(a->finished, b->finished) > 0;
}

static void take_later(struct rotation_report **best, struct rotation_report *report)
{
	if (is_later(report, *best)) {
		rotation_report_free(*best);
		*best = report;
	} else {
		rotation_report_free(report);
	}
}

/* *best: the one that is named, or the last one; untouched where there is none here. */
static int find_here(const char *state_directory, const char *name, struct rotation_report **best, struct error **err)
{
	_cleanup_strings_ names = {0};
	int rc = report_store_list(state_directory, &names, err);
	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		struct rotation_report *report = NULL;
		if (name && !text_equal(name, names.items[i]))
			continue;
		rc = report_store_read(state_directory, names.items[i], &report, err);
		if (rc == 0)
			take_later(best, report);
	}
	return rc;
}

static int find_in_cluster(struct command_context *context, const char *name, struct rotation_report **best,
			   struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(rotations_free) struct rotations rotations = {0};
	_cleanup_(fleet_free) struct fleet fleet = {0};
	int rc = session_open(context, SESSION_API, &session, err);
	if (rc < 0)
		return rc;
	rc = rotations_read(&session.cluster->kube, &rotations, err);
	/* The definitions are not installed: then no agents ever rotated anything. */
	if (rc == -ERROR_NOT_FOUND)
		return error_forgive(err, rc, ERROR_NOT_FOUND);
	if (rc == 0)
		rc = fleet_read(&fleet, &session.cluster->kube, err);
	for (size_t i = 0; rc == 0 && i < rotations.count; i++)
		if (!name || text_equal(rotations.items[i]->meta.name, name))
			take_later(best, key_rotation_report(rotations.items[i], &fleet, clock_wall()));
	return rc;
}

static int find(struct command_context *context, struct rotation_report **ret, struct error **err)
{
	const struct options *o = &context->options;
	const char *name = o->argument_count ? o->arguments[0] : NULL;
	const char *directory = o->state_dir ? o->state_dir : DEFAULT_STATE_DIRECTORY;
	_cleanup_(rotation_report_freep) struct rotation_report *best = NULL;
	_cleanup_error_ failed = NULL;
	int rc = find_here(directory, name, &best, err);
	if (rc < 0)
		return rc;
	if (!best || !name)
		rc = find_in_cluster(context, name, &best, &failed);
	if (rc == -ERROR_INTERRUPTED || (rc < 0 && !best)) {
		*err = steal(failed);
		return error_wrap(err, rc, "no report%s%s in %s/reports; KeyRotations", name ? " of " : "",
				  name ? name : "", directory);
	}
	if (rc < 0)
		screen_line(&context->screen, "  note: only %s/reports was looked at, not KeyRotations: %s", directory,
			    error_message(failed));
	if (!best && name)
		return error_set(err, ERROR_NOT_FOUND,
				 "there is no report of rotation %s in %s/reports, and no KeyRotation", name,
				 directory);
	if (!best)
		return error_set(err, ERROR_NOT_FOUND, "there is no report in %s/reports, and no KeyRotation",
				 directory);
	*ret = steal(best);
	return 0;
}

/* --- what is added --- */

static bool in_use(const struct rotation_report *report, const char *key_id)
{
	for (size_t i = 0; i < report->key_id_count; i++)
		if (report->key_ids[i].objects > 0 && key_ids_compare(report->key_ids[i].key_id, key_id) == KEY_IDS_ONE)
			return true;
	return false;
}

/* The key ID that values were under and are no more. Before it is done that may be the new one, which has none yet. */
static int old_key_id(const struct rotation_report *report, const char **ret, struct error **err)
{
	const char *found = NULL;
	if (!text_equal(report->outcome, "Done"))
		return error_set(
			err, ERROR_USAGE,
			"the rotation is not done (%s), so its report has no key ID that left: say --kms-key-arn",
			report->outcome);
	for (size_t i = 0; i < report->key_id_count; i++) {
		if (in_use(report, report->key_ids[i].key_id))
			continue;
		if (found && key_ids_compare(found, report->key_ids[i].key_id) != KEY_IDS_ONE)
			return error_set(err, ERROR_USAGE,
					 "the report has several key IDs that left: say --kms-key-arn");
		found = report->key_ids[i].key_id;
	}
	if (!found)
		return error_set(err, ERROR_USAGE, "the report has no key ID that left: say --kms-key-arn");
	if (key_id_is_alias(found))
		return error_set(
			err, ERROR_USAGE,
			"the key ID that left is an alias (%.*s), and CloudTrail names keys by their ARNs: say "
			"--kms-key-arn",
			ARN_MAX, found);
	if (strlen(found) > ARN_MAX)
		return error_set(err, ERROR_LIMIT, "the old key's ID is longer than %d bytes", ARN_MAX);
	*ret = found;
	return 0;
}

static int add_cloudtrail(const struct options *o, struct rotation_report *report, struct error **err)
{
	const char *key = o->kms_key_arn;
	int rc = key || o->cloudtrails.count == 0 ? 0 : old_key_id(report, &key, err);
	if (rc < 0 || o->cloudtrails.count == 0)
		return rc;
	report->cloudtrail = cloudtrail_new(key);
	for (size_t i = 0; rc == 0 && i < o->cloudtrails.count; i++)
		rc = cloudtrail_read_file(report->cloudtrail, o->cloudtrails.items[i], err);
	return rc;
}

/* --- showing it --- */

static int write_json(const struct rotation_report *report, struct secret **ret, struct error **err)
{
	struct json_writer w = JSON_WRITER_INIT(REPORT_JSON_MAX);
	rotation_report_write_json(report, &w);
	const char *text = json_text(&w);
	int rc = text ? 0 : error_set(err, ERROR_LIMIT, "the report is larger than %u bytes", REPORT_JSON_MAX);
	if (rc == 0) {
		*ret = secret_new(REPORT_JSON_MAX + 1);
		if (secret_append_text(*ret, text) < 0 || secret_append_text(*ret, "\n") < 0)
			abort();
	}
	json_writer_free(&w);
	return rc;
}

static int print(struct command_context *context, const struct rotation_report *report, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_secret_ json = NULL;
	_cleanup_secret_ cms = NULL;
	int rc = o->json || o->sign_key ? write_json(report, &json, err) : 0;
	if (rc == 0 && o->sign_key)
		rc = sign_content(o->sign_cert, o->sign_key, json, &cms, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ char *text = json ? NULL : rotation_report_text(report, true);
	fputs(text ? text : secret_text(cms ? cms : json), stdout);
	context->printed_document = true;
	return 0;
}

/* With -o json, too: the certificates may vouch for many. Where nobody was named, that is a finding: a script that asks for
 * nothing but the exit status would take a report that anybody signed. */
static int tell_signer(const struct options *o, const char *signer, struct error **err)
{
	if (!o->signer && !o->ca)
		return error_set(err, ERROR_FINDING,
				 "the signature is whole, but the signer is not checked against anybody: anyone may "
				 "call themselves %s\n  say who must have signed: --signer CERT, or --ca FILE",
				 signer);
	fprintf(stderr, "signed by %s%s%s\n", signer, o->signer ? ", with the certificate of " : "",
		o->signer ? o->signer : "");
	return 0;
}

static int verify(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_secret_ cms = NULL;
	_cleanup_secret_ content = NULL;
	_cleanup_free_ char *signer = NULL;
	const struct sign_trust trust = {.ca = o->ca, .signer = o->signer};
	_cleanup_json_ json = NULL;
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	int rc = file_read(o->verify, 2 * REPORT_JSON_MAX, &cms, err);
	if (rc == 0)
		rc = sign_verify(o->verify, cms, &trust, &content, &signer, err);
	if (rc == 0)
		rc = json_parse(secret_text(content), secret_len(content), o->verify, &json, err);
	if (rc == 0)
		rc = rotation_report_parse(json, &report, err);
	if (rc < 0)
		return rc;
	screen_clear(&context->screen);
	if (context->options.json) {
		/* What was signed, and no more: nothing of it is left out, whatever this version knows. */
		fwrite(secret_data(content), 1, secret_len(content), stdout);
		context->printed_document = true;
	} else {
		rc = print(context, report, err);
	}
	return rc == 0 ? tell_signer(o, signer, err) : rc;
}

int cmd_report(struct command_context *context, struct error **err)
{
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	int rc = check_options(&context->options, err);
	if (rc == 0 && context->options.verify)
		return verify(context, err);
	if (rc == 0)
		rc = find(context, &report, err);
	if (rc == 0)
		rc = add_cloudtrail(&context->options, report, err);
	return rc == 0 ? print(context, report, err) : rc;
}
