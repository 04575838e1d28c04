/* A Lease as client-go's leader election uses it (k8s.io/client-go/tools/leaderelection): the record's times are
 * for people, expiry is judged by how long we have seen it unchanged. */
#include <unistd.h>
#include "client/kube/lock.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "base/secret.h"
#include "client/kube/kube_internal.h"

#define LEASE LOCK_LEASES "/" LOCK_NAME
#define LABEL "lease " LOCK_NAMESPACE "/" LOCK_NAME
#define RENEW_INTERVAL (2 * NS_PER_S)
#define RETRY_INTERVAL NS_PER_S
#define RENEW_DEADLINE (10 * NS_PER_S) /* without a renewal it is ours no longer; others wait LOCK_DURATION_S */
#define REQUEST_TIMEOUT (4 * NS_PER_S) /* so that a lost answer leaves time for another try */
#define RELEASE_TIME (2 * NS_PER_S)
#define TROUBLE_TIME (10 * NS_PER_S) /* how long a server may fail while we wait for the Lease */
#define FOREIGN_DURATION_MAX_S 60    /* a longer one is not waited out */

enum lock_state { LOCK_HELD, LOCK_LOST, LOCK_RELEASING, LOCK_RELEASED };

struct kube_lock {
	struct kube *kube;
	char *holder;
	cJSON *lease; /* as the server has it, we hope; resourceVersion included */
	enum lock_state state;
	char *lost_to;
	struct kube_json_call *call; /* under way, or NULL */
	bool reading;                /* it is the read after a conflict */
	bool giving_back;            /* it takes our name out */
	uint64_t sent, deadline;
	struct loop_timer timer;
};

/* --- requests --------------------------------------------------------------------------------------------------- */

static char *print(const cJSON *lease)
{
	char *text = cJSON_PrintUnformatted(lease);

	if (text == NULL)
		abort();
	return text;
}

/* PUT of a Lease that the server has, POST of one that it has not. */
static struct kube_json_request write_request(const cJSON *lease, const char *body)
{
	bool exists = json_at(lease, "metadata", "resourceVersion", NULL) != NULL;

	return (struct kube_json_request){.method = exists ? "PUT" : "POST",
					  .path = exists ? LEASE : LOCK_LEASES,
					  .body = body,
					  .object = LABEL,
					  .timeout = REQUEST_TIMEOUT};
}

/* --- taking it -------------------------------------------------------------------------------------------------- */

struct taking {
	struct kube *kube;
	const char *holder;
	char *record; /* as first seen under its present holder; NULL: nothing seen yet */
	uint64_t unchanged_since;
	uint64_t trouble_since; /* 0: the server answers */
	bool held;              /* by somebody who renews it */
};

/* The Lease, or a new one where there is none. */
static int read_lease(struct kube *kube, cJSON **ret, struct error **err)
{
	struct kube_json_request request = {
		.method = "GET", .path = LEASE, .object = LABEL, .timeout = REQUEST_TIMEOUT};
	_cleanup_error_ why = NULL;
	unsigned status = 0;
	int rc = kube_json_fetch(kube, &request, &status, ret, &why);

	if (rc == 0)
		return 0;
	if (rc == -ERROR_NOT_FOUND) {
		*ret = kube_lease_new();
		return 0;
	}
	if (err != NULL)
		*err = steal(why);
	return rc;
}

static int fail_held(struct taking *taking, const cJSON *lease, struct error **err)
{
	const char *renewed = json_text_at(json_at(lease, "spec", NULL), "renewTime");
	int rc = error_set(err, ERROR_BUSY, "another kube-rekey is at work: %s is held by \"%s\", renewed at %s", LABEL,
			   kube_lease_holder(lease), renewed ? renewed : "an unknown time");

	error_set_server(err, taking->kube->name);
	error_set_object(err, LABEL);
	error_set_hint(err,
		       "wait until it is done; a Lease whose holder is dead becomes free %d s after its last renewal",
		       LOCK_DURATION_S);
	taking->held = true;
	return rc;
}

/* 1: it may be taken; 0: wait for *ret_wait ns and look again; negative: it is held. */
static int judge(struct taking *taking, const cJSON *lease, uint64_t *ret_wait, struct error **err)
{
	_cleanup_free_ char *record = NULL;
	uint64_t now = loop_now(taking->kube->loop), duration = kube_lease_duration(lease), expiry;
	const char *holder = kube_lease_holder(lease);

	if (holder[0] == '\0' || strcmp(holder, taking->holder) == 0)
		return 1;
	record = kube_lease_record(lease);
	if (duration > FOREIGN_DURATION_MAX_S || (taking->record != NULL && strcmp(taking->record, record) != 0))
		return fail_held(taking, lease, err);
	if (taking->record == NULL) {
		taking->record = steal(record);
		taking->unchanged_since = now;
	}
	expiry = taking->unchanged_since + duration * NS_PER_S;
	if (now >= expiry)
		return 1;
	*ret_wait = expiry - now < RENEW_INTERVAL ? expiry - now : RENEW_INTERVAL;
	return 0;
}

/* Whether a failure is worth another try: not the first one, and not for long. */
static bool may_try_again(struct taking *taking, int rc)
{
	uint64_t now = loop_now(taking->kube->loop);

	if (rc != -ERROR_NETWORK && rc != -ERROR_BUSY && rc != -ERROR_CONFLICT && rc != -ERROR_AUTH)
		return false;
	if (taking->trouble_since == 0)
		taking->trouble_since = now;
	return now - taking->trouble_since < TROUBLE_TIME;
}

/* One look, and one try where it is free. 1: taken, *ret is what the server has; 0: *ret_wait. */
static int try_take(struct taking *taking, cJSON **ret, uint64_t *ret_sent, uint64_t *ret_wait, struct error **err)
{
	_cleanup_json_ lease = NULL;
	_cleanup_free_ char *body = NULL;
	struct kube_json_request request;
	int rc = read_lease(taking->kube, &lease, err);

	if (rc < 0)
		return rc;
	rc = judge(taking, lease, ret_wait, err);
	if (rc <= 0)
		return rc;
	kube_lease_claim(lease, taking->holder);
	body = print(lease);
	request = write_request(lease, body);
	*ret_sent = loop_now(taking->kube->loop);
	rc = kube_json_fetch(taking->kube, &request, NULL, ret, err);
	return rc < 0 ? rc : 1;
}

static int take(struct taking *taking, cJSON **ret, uint64_t *ret_sent, struct error **err)
{
	bool seen = false;

	for (;;) {
		_cleanup_error_ why = NULL;
		uint64_t wait = RETRY_INTERVAL;
		int rc = try_take(taking, ret, ret_sent, &wait, &why);

		if (rc > 0)
			return 0;
		seen = seen || rc == 0 || rc == -ERROR_CONFLICT || taking->record != NULL;
		/* A server that fails from the first is reported at once. */
		if (rc < 0 && (taking->held || !seen || !may_try_again(taking, rc))) {
			if (err != NULL)
				*err = steal(why);
			return rc;
		}
		if (rc == 0)
			taking->trouble_since = 0;
		rc = loop_pause(taking->kube->loop, wait, err);
		if (rc < 0)
			return rc;
	}
}

/* --- keeping it ------------------------------------------------------------------------------------------------- */

static void renew(void *arg);
static void read_again(struct kube_lock *lock);

static void again_at(struct kube_lock *lock, uint64_t due)
{
	loop_timer_set(lock->kube->loop, &lock->timer, due, renew, lock);
}

static void set_lease(struct kube_lock *lock, cJSON *lease)
{
	cJSON_Delete(lock->lease);
	lock->lease = lease;
}

static void lose(struct kube_lock *lock, const char *to)
{
	lock->state = LOCK_LOST;
	lock->deadline = 0;
	lock->lost_to = xstrdup(to);
}

/* Our own renewal may have landed though its answer was lost: then the Lease still names us. */
static void on_read_again(struct kube_lock *lock, int rc, cJSON **answer)
{
	if (rc == 0 && strcmp(kube_lease_holder(*answer), lock->holder) != 0) {
		lose(lock, kube_lease_holder(*answer));
		return;
	}
	if (rc == 0)
		set_lease(lock, steal(*answer));
	if (rc == -ERROR_NOT_FOUND)
		set_lease(lock, kube_lease_new());
	again_at(lock, loop_now(lock->kube->loop) + (rc == 0 || rc == -ERROR_NOT_FOUND ? 0 : RETRY_INTERVAL));
}

static void on_written(struct kube_lock *lock, int rc, cJSON **answer)
{
	if (rc == -ERROR_CONFLICT || rc == -ERROR_NOT_FOUND) {
		read_again(lock);
		return;
	}
	if (rc < 0) {
		again_at(lock, loop_now(lock->kube->loop) + RETRY_INTERVAL);
		return;
	}
	set_lease(lock, steal(*answer));
	if (lock->giving_back) {
		lock->state = LOCK_RELEASED;
		lock->deadline = 0;
		return;
	}
	if (lock->state == LOCK_RELEASING) {
		again_at(lock, loop_now(lock->kube->loop));
		return;
	}
	lock->deadline = lock->sent + RENEW_DEADLINE;
	again_at(lock, lock->sent + RENEW_INTERVAL);
}

static void on_answer(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct kube_lock *lock = arg;

	(void)status;
	(void)error;
	lock->call = NULL;
	if (lock->reading)
		on_read_again(lock, rc, answer);
	else
		on_written(lock, rc, answer);
}

static void start(struct kube_lock *lock, struct kube_json_request request, bool reading)
{
	request.on_done = on_answer;
	request.arg = lock;
	lock->reading = reading;
	lock->call = kube_json_start(lock->kube, &request);
}

static void read_again(struct kube_lock *lock)
{
	start(lock,
	      (struct kube_json_request){.method = "GET", .path = LEASE, .object = LABEL, .timeout = REQUEST_TIMEOUT},
	      true);
}

static void renew(void *arg)
{
	struct kube_lock *lock = arg;
	_cleanup_free_ char *body = NULL;

	lock->giving_back = lock->state == LOCK_RELEASING;
	kube_lease_claim(lock->lease, lock->giving_back ? "" : lock->holder);
	body = print(lock->lease);
	lock->sent = loop_now(lock->kube->loop);
	start(lock, write_request(lock->lease, body), false);
}

char *kube_lock_holder(void)
{
	char host[256] = "";
	_cleanup_secret_ random = secret_random(4);
	_cleanup_free_ char *nonce = text_hex(secret_data(random), secret_len(random));
	gethostname(host, sizeof(host) - 1);
	return xasprintf("%s-%ld-%s", host, (long)getpid(), nonce);
}

int kube_lock_take(struct kube *kube, const char *holder, struct kube_lock **ret, struct error **err)
{
	struct taking taking = {.kube = kube, .holder = holder};
	struct kube_lock *lock;
	cJSON *lease = NULL;
	uint64_t sent = 0;
	int rc = take(&taking, &lease, &sent, err);

	free(taking.record);
	if (rc < 0)
		return rc;
	lock = xcalloc(1, sizeof(*lock));
	lock->kube = kube;
	lock->holder = xstrdup(holder);
	lock->lease = lease;
	lock->deadline = sent + RENEW_DEADLINE;
	again_at(lock, sent + RENEW_INTERVAL);
	*ret = lock;
	return 0;
}

uint64_t kube_lock_deadline(const struct kube_lock *lock)
{
	return lock->deadline;
}

const char *kube_lock_lost_to(const struct kube_lock *lock)
{
	return lock->lost_to;
}

/* Within RELEASE_TIME, whatever signals come. What is under way goes first: two writes at once would only conflict. */
static void give_back(struct kube_lock *lock)
{
	struct loop *loop = lock->kube->loop;
	uint64_t until = loop_now(loop) + RELEASE_TIME;

	lock->state = LOCK_RELEASING;
	if (lock->call == NULL)
		again_at(lock, loop_now(loop));
	while (lock->state == LOCK_RELEASING && loop_now(loop) < until)
		loop_step(loop, until);
}

void kube_lock_release(struct kube_lock *lock)
{
	if (lock == NULL)
		return;
	if (lock->state == LOCK_HELD && !loop_in_callback(lock->kube->loop))
		give_back(lock);
	loop_timer_cancel(lock->kube->loop, &lock->timer);
	kube_json_cancel(lock->call);
	cJSON_Delete(lock->lease);
	free(lock->holder);
	free(lock->lost_to);
	free(lock);
}
