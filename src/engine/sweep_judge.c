/* What an answer to one object's request means. Words: k8s.io/apiserver's admission/plugin/webhook/errors and
 * storage/value (see kubernetes-facts.md, sections 3 and 9). */
#include "engine/sweep_internal.h"

/* A 500 that neither load nor time explains: tried a few times, since a webhook's server may be restarting. */
static const char *const faults_of_one[] = {
	"failed calling webhook", "no matching key was found",     "identity transformer tried to read encrypted data",
	"invalid padding",        "message authentication failed", "request is too large",
};

static bool says(const struct sweep_answer *answer, const char *words)
{
	return strstr(answer->message, words) != NULL;
}

static enum sweep_verdict judge_500(const struct sweep_answer *answer)
{
	for (size_t i = 0; i < ELEMENTS(faults_of_one); i++)
		if (says(answer, faults_of_one[i]))
			return SWEEP_FAULT;
	/* No leader, no room, no time: of all objects. */
	return says(answer, "etcdserver: ") ? SWEEP_AWAY : SWEEP_ERROR;
}

/* "namespaces "team-a" not found": admission refuses to write into a namespace that is not there, whether or not the object is. */
static bool has_no_namespace(const struct sweep_answer *answer)
{
	return answer->sent && says(answer, "namespaces \"");
}

static enum sweep_verdict judge_status(const struct sweep_answer *answer)
{
	/* A webhook chooses its own status, 429 and 500 too. */
	if (says(answer, "admission webhook ") && says(answer, " denied the request"))
		return SWEEP_REFUSED;
	if (answer->just_back && (answer->status == 401 || answer->status == 403))
		return SWEEP_AWAY;
	switch (answer->status) {
	case 401:
		return SWEEP_FATAL;
	case 404:
		return has_no_namespace(answer) ? SWEEP_FAULT : SWEEP_GONE;
	case 409:
		return SWEEP_CONFLICT;
	case 429:
		return SWEEP_LOAD;
	case 500:
		return judge_500(answer);
	default:
		return answer->status > 500 ? SWEEP_AWAY : SWEEP_REFUSED;
	}
}

enum sweep_verdict sweep_judge(const struct sweep_answer *answer)
{
	if (answer->rc == 0)
		return SWEEP_DONE;
	if (answer->rc == -ERROR_NETWORK)
		return SWEEP_AWAY;
	if (answer->status >= 400)
		return judge_status(answer);
	/* No answer at all: a certificate, a token, an exec plugin. */
	if (answer->rc == -ERROR_AUTH)
		return SWEEP_FATAL;
	/* A success that cannot be understood. */
	return SWEEP_FAULT;
}

const char *sweep_words(const char *message)
{
	const char *colon = strstr(message, ": ");

	return colon != NULL && colon[2] != '\0' ? colon + 2 : message;
}
