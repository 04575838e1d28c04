/* A server that loads its file at start only is restarted by the kubelet, which does so when the server's manifest means
 * something else. The annotation names the process that shall go: written twice it changes nothing, whoever died in
 * between, and it tells by itself whether that process still answers. */
#include "engine/agent_internal.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "format/manifest_edit.h"

#define ANNOTATION "kube-rekey.dev/replaces-process" /* its start, ms since 1970 */

static int read_manifest(const struct agent *agent, struct secret **ret, char **ret_process, struct error **err)
{
	const char *manifest = agent->options->manifest;
	int rc = file_read(manifest, MANIFEST_MAX, ret, err);
	return rc == 0 ? manifest_annotation(manifest, *ret, ANNOTATION, ret_process, err) : rc;
}

int agent_restart(struct agent *agent, struct error **err)
{
	const struct server_observation *seen = &agent->node->seen.servers[0];
	const char *manifest = agent->options->manifest;
	_cleanup_free_ char *process = xasprintf("%llu", (unsigned long long)seen->process);
	_cleanup_secret_ text = NULL;
	_cleanup_secret_ changed = NULL;
	_cleanup_free_ char *present = NULL;
	enum file_replaced replaced;
	if (seen->process == 0)
		return error_set(err, ERROR_REFUSED, "its metrics do not say which process of the server answers");
	int rc = read_manifest(agent, &text, &present, err);
	if (rc < 0 || text_equal(present, process))
		return rc;
	rc = manifest_annotate(manifest, text, ANNOTATION, process, &changed, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ char *expect = text_sha256_tagged(secret_data(text), secret_len(text));
	agent_note(agent, "%s: the kubelet restarts the server, which then loads its file", manifest);
	return file_replace(manifest, changed, expect, 0600, &replaced, err);
}

static uint64_t asked_ago(const char *manifest)
{
	struct stat status;
	uint64_t now = clock_wall();
	if (stat(manifest, &status) < 0)
		return 0;
	uint64_t at = (uint64_t)status.st_mtim.tv_sec * NS_PER_S + (uint64_t)status.st_mtim.tv_nsec;
	return at < now ? now - at : 0;
}

void agent_see_restart(const struct agent *agent, struct server_observation *seen)
{
	_cleanup_secret_ text = NULL;
	_cleanup_free_ char *present = NULL, *process = xasprintf("%llu", (unsigned long long)seen->process);
	if (!agent->options->manifest || seen->process == 0 || read_manifest(agent, &text, &present, NULL) < 0 ||
	    !text_equal(present, process))
		return;
	seen->restarting = true;
	if (seen->why)
		return;
	_cleanup_free_ char *ago = text_human_duration(asked_ago(agent->options->manifest));
	seen->why =
		xasprintf("%s was changed %s ago, and its kubelet has not restarted it", agent->options->manifest, ago);
}

int agent_check_manifest(const struct agent *agent, struct error **err)
{
	_cleanup_secret_ text = NULL;
	_cleanup_secret_ changed = NULL;
	_cleanup_free_ char *present = NULL;
	const char *manifest = agent->options->manifest;
	int rc = manifest ? read_manifest(agent, &text, &present, err) : 0;
	if (rc < 0 || !manifest)
		return rc;
	rc = manifest_annotate(manifest, text, ANNOTATION, "0", &changed, err);
	if (rc == 0)
		return file_remove_leftover(manifest, err);
	_cleanup_error_ why = steal(*err);
	rc = error_set(err, ERROR_REFUSED, "%s cannot be changed faithfully: %s", manifest, error_message(why));
	if (error_hint(why))
		error_set_hint(err, "%s", error_hint(why));
	return rc;
}
